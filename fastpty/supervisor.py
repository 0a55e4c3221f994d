"""The process that looks after the workers: as many as wanted, replaced when they die or are stuck, and reloaded."""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from fastpty import log, worker
from fastpty.config import Config
from fastpty.errors import FastptyError
from fastpty.gateway import Gateway
from fastpty.listeners import Listeners
from fastpty.log import logger, signal_name
from fastpty.signals import SI_KERNEL, SignalQueue
from fastpty.stats import StatsServer
from fastpty.watch import LOOKS, Idleness, Stuckness

_PR_SET_PDEATHSIG = 1

# A worker that ends sooner than this after its start would end again at once; its successor waits so long.
_HASTY_SECONDS = 1.0

# epoll_wait(2) takes 24 days at the most.
_PATIENCE_MOST_SECONDS = 86400.0

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(eq=False)
class Worker:
    """A worker as its supervisor knows it. `report` is what it last said of itself."""

    pid: int
    link: worker.Link
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    shares: bool = False  # has the shared terminal, which can be in one process only
    stuckness: Stuckness = field(default_factory=Stuckness)

    def send(self, number: int) -> None:
        """Sends a signal; the pid is ours until we have reaped it."""
        os.kill(self.pid, number)


class Supervisor:
    """Keeps `config.processes` workers on `listeners` until a signal stops it; `work` is what each does (worker.run).

    SIGTERM, SIGINT and SIGQUIT are passed on; SIGHUP reloads: `reread` gives the new configuration, or raises
    FastptyError, and then the old one goes on. Workers are in process groups of their own, so that a terminal's ^C
    reaches them once, from here. As process 1 of a container it reaps orphans too. worker_ended: called with the pid
    of each worker that has been reaped. gateways: further children, which end after the last worker.
    """

    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        reread: Callable[[Config], Config],
        work: Callable[[Config, Listeners, worker.Link, bool], None],
        worker_ended: Callable[[int], None] | None = None,
        gateways: Sequence[Gateway] = (),
    ) -> None:
        self.config = config
        self.listeners = listeners
        self.workers: dict[int, Worker] = {}
        self._reread = reread
        self._work = work
        self._worker_ended = worker_ended
        self._gateways = gateways
        self._has_started = config.cheap
        self._stopping = False
        self._asleep = config.cheap
        self._not_before = 0.0
        self._reloads: list[tuple[Config, set[Worker]]] = []  # done but for these, which may still accept
        self._idleness = Idleness()
        self._selector = selectors.DefaultSelector()
        self._stats = StatsServer(self, self._selector)
        reloading = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        watched = [*worker.stop_signals(), *reloading, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2]
        self._signals = SignalQueue(watched)

    @property
    def active(self) -> list[Worker]:
        """The workers that accept."""
        return [each for each in self.workers.values() if not each.draining]

    @property
    def is_asleep(self) -> bool:
        """Whether there is no worker until somebody connects."""
        return self._asleep

    def run(self) -> None:
        """Returns when all workers and gateways have ended after a stop signal."""
        self._selector.register(self._signals, selectors.EVENT_READ, self._take_signals)
        self._stats.listen(self.listeners.for_stats)
        gc.freeze()  # a worker's collections would touch, and so copy, what it shares with this process
        if self._asleep:
            self._sleep()
        while self._wants_gateways or any(each.is_running for each in self._gateways):
            self._tend_gateways()
            self._keep_up_the_number()
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._look_at_the_workers()
            self._stats.look_at_the_clock()

    # -- signals --

    def _take_signals(self) -> None:
        for number, code in self._signals:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGUSR1:
                self._log_statistics()
            elif number == signal.SIGHUP and code != SI_KERNEL:
                self.reload()
            elif number != signal.SIGUSR2:
                self._stop(number)

    def _stop(self, number: int) -> None:
        logger.info("%s: stopping", signal_name(number))
        if self._asleep:
            self._watch_listeners(False)
        self._asleep = False
        # Another one the second time: two of the same that are not taken yet are one.
        passed_on = signal.SIGINT if self._stopping else signal.SIGTERM
        self._stopping = True
        for each in self.workers.values():
            each.send(passed_on)

    def _log_statistics(self) -> None:
        sessions = sum(each.link.pulse()[1] for each in self.workers.values())
        draining = len(self.workers) - len(self.active)
        logger.info("statistics: %d workers, %d draining, %d sessions", len(self.active), draining, sessions)
        for each in self.workers.values():
            each.send(worker.LOG_SIGNAL)

    # -- starting and ending workers and gateways --

    @property
    def _wants_gateways(self) -> bool:
        return bool(self.workers) or not self._stopping

    def _tend_gateways(self) -> None:
        for each in self._gateways:
            each.tend(self._close_what_is_the_supervisor_s, wanted=self._wants_gateways)

    def _keep_up_the_number(self) -> None:
        if self._stopping or self._asleep or time.monotonic() < self._not_before:
            return
        try:
            while len(self.active) < self.config.processes:
                self._start(self.config, self.listeners, shares=not any(each.shares for each in self.active))
        except OSError as error:
            if not self._has_started:
                raise FastptyError(f"cannot start a worker: {error.strerror}") from error
            self._not_before = time.monotonic() + _HASTY_SECONDS
            logger.error("cannot start a worker: %s; trying again", error.strerror)
        self._has_started = True

    def _start(self, config: Config, listeners: Listeners, *, shares: bool) -> Worker:
        link = worker.Link()
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            link.keep_side(worker=False)
            link.close()
            raise
        if pid == 0:
            self._be_a_worker(config, listeners, link, shares, supervisor)
        link.keep_side(worker=False)
        started = self.workers[pid] = Worker(pid, link, shares=shares)
        self._selector.register(link.news, selectors.EVENT_READ, lambda: self._hear(started))
        return started

    def _hear(self, speaker: Worker) -> None:
        if self.workers.get(speaker.pid) is not speaker:
            return  # it was reaped after this was found readable
        news = speaker.link.hear()
        if not news:  # it has closed its side, and will soon be reaped
            self._selector.unregister(speaker.link.news)
        if worker.REPORTED in news:
            self._stats.answered(speaker)
        if worker.DRAINED in news or not news:
            self._accepts_no_more(speaker)

    def _be_a_worker(
        self, config: Config, listeners: Listeners, link: worker.Link, shares: bool, supervisor: int
    ) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it logs to a terminal whose foreground group it has left
            _libc.prctl(_PR_SET_PDEATHSIG, worker.DRAIN_SIGNAL, 0, 0, 0)
            if os.getppid() == supervisor:  # it may have ended before the line above
                link.keep_side(worker=True)
                self._close_what_is_the_supervisor_s()
                for each in self._gateways:
                    each.let_go()
                self._work(config, listeners, link, shares)
                status = 0
        except BaseException:
            logger.exception("worker failed")
        finally:
            os._exit(status)  # what the supervisor would clean up is not this process's

    def _close_what_is_the_supervisor_s(self) -> None:
        self._stats.close()
        for each in self.workers.values():
            each.link.close()
        self._selector.close()
        self._signals.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self.workers.pop(pid, None)
            if ended is not None:
                self._bury(ended, os.waitstatus_to_exitcode(status))
            for each in self._gateways:
                each.bury(pid, os.waitstatus_to_exitcode(status))

    def _bury(self, ended: Worker, status: int) -> None:
        if ended.link.news in self._selector.get_map():
            self._selector.unregister(ended.link.news)
        self._stats.lost(ended)
        self._accepts_no_more(ended)
        ended.link.close()
        if self._worker_ended is not None:
            self._worker_ended(ended.pid)
        if self._stopping or (ended.draining and status == 0):
            return
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
        logger.error("worker %d has ended (%s)%s", ended.pid, how, "" if ended.draining else "; another one starts")
        if time.monotonic() - ended.started < _HASTY_SECONDS:
            self._not_before = time.monotonic() + _HASTY_SECONDS

    @staticmethod
    def _drain(workers: Iterable[Worker]) -> None:
        for each in workers:
            each.draining = True
            each.send(worker.DRAIN_SIGNAL)

    # -- reload --

    def reload(self) -> None:
        """New sessions get the new configuration, those that there are go on to their end in the workers they are in.

        The new workers start before the old ones stop to accept, and the sockets stay open here.
        """
        if self._stopping:
            return
        log.reopen()
        old = self.active
        try:
            config = self._reread(self.config)
            listeners = Listeners(config, self.listeners)
        except FastptyError as error:
            logger.error("not reloaded, the old configuration goes on: %s", error)
            return
        except Exception:
            logger.exception("not reloaded, the old configuration goes on: internal error")
            return
        fresh: list[Worker] = []
        try:
            count = 0 if self._asleep else config.processes
            fresh += [self._start(config, listeners, shares=index == 0) for index in range(count)]
        except OSError as error:
            logger.error("not reloaded, no new worker can start: %s", error.strerror)
            self._drain(set(self.active) - set(old))
            listeners.close(keep=self.listeners)
            return
        self._drain(old)
        self._change_to(config, listeners)
        self._reloads.append((config, set(old)))
        self._tell_of_reloads()

    def _accepts_no_more(self, drained: Worker) -> None:
        for _, workers in self._reloads:
            workers.discard(drained)
        self._tell_of_reloads()

    def _tell_of_reloads(self) -> None:
        """Logs a reload when no connection can get the configuration before it any more."""
        while self._reloads and not self._reloads[0][1]:
            config, _ = self._reloads.pop(0)
            logger.info("reloaded, for: %s", config.command)

    def _change_to(self, config: Config, listeners: Listeners) -> None:
        if self._asleep:
            self._watch_listeners(False)
        self._stats.listen(())
        self.config = config
        self.listeners.become(listeners)
        self._stats.listen(self.listeners.for_stats)
        if self._asleep:
            self._watch_listeners(True)
        for place in self.listeners:
            logger.info("listening on %s", place.name)

    # -- cheap, idle, harakiri --

    def _sleep(self) -> None:
        self._asleep = True
        self._drain(self.active)
        self._watch_listeners(True)
        logger.info("no worker until somebody connects: ready")

    def _wake(self) -> None:
        if self._asleep:
            self._watch_listeners(False)
            self._asleep = False
            self._idleness = Idleness()

    def _watch_listeners(self, wanted: bool) -> None:
        for place in self.listeners.for_sessions:
            if wanted:
                self._selector.register(place.listener.socket, selectors.EVENT_READ, self._wake)
            else:
                self._selector.unregister(place.listener.socket)

    def _look_at_the_workers(self) -> None:
        harakiri, idle = self.config.harakiri_seconds, self.config.cheap_idle_seconds
        now = time.monotonic()
        if harakiri is not None:
            for each in self.workers.values():
                if each.stuckness.look(now, each.link.pulse()[0], harakiri):
                    logger.error("worker %d is stuck for %g s: killed", each.pid, harakiri)
                    each.send(signal.SIGKILL)
        if idle is not None and not self._asleep and not self._stopping:
            pulses = [each.link.pulse() for each in self.active]
            sessions = sum(pulse[1] for pulse in pulses)
            if self._idleness.look(now, sessions, sum(pulse[2] for pulse in pulses), idle):
                self._sleep()

    def _patience(self) -> float | None:
        """How long nothing needs to be looked at unless something comes; None: for ever."""
        waits = [self._stats.patience()]
        waits += [each.patience(wanted=self._wants_gateways) for each in self._gateways]
        if not self._asleep and not self._stopping:
            if len(self.active) < self.config.processes:
                waits.append(max(0.0, self._not_before - time.monotonic()))
            if self.config.cheap_idle_seconds is not None:
                waits.append(self.config.cheap_idle_seconds / LOOKS)
        if self.workers and self.config.harakiri_seconds is not None:
            waits.append(self.config.harakiri_seconds / LOOKS)
        wait = min((wait for wait in waits if wait is not None), default=None)
        return None if wait is None else min(wait, _PATIENCE_MOST_SECONDS)
