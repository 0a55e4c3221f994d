"""The process that looks after the workers: as many as wanted, replaced when they die or are stuck, and reloaded."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import selectors
import signal
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.gateways.gateway import Gateway
from fastpty.listening.places import Listeners
from fastpty.log import logger, signal_name
from fastpty.supervision import worker
from fastpty.supervision.forked_worker import Worker, fork
from fastpty.supervision.heartbeat import LOOKS, Idleness
from fastpty.supervision.reload import Reload
from fastpty.supervision.statistics import StatsServer
from fastpty.system.signals import SI_KERNEL, SignalQueue, stop_signals

# A worker that ends within this time after its start would probably end again at once: its successor waits as long.
_HASTY_SECONDS = 1.0

# A worker that stops takes a few seconds at most when its sessions' time is over.
_STOPPED_SECONDS = 10.0

# epoll_wait(2) takes 24 days at the most.
_PATIENCE_MOST_SECONDS = 86400.0


class Supervisor:
    """Keeps `config.processes` workers on `listeners` until a signal stops it; `work` is what each does (worker.run).

    SIGTERM, SIGINT and SIGQUIT are passed on; SIGHUP reloads: `reread` gives the new configuration, or raises
    FastptyError, and then the old one goes on. Workers are in process groups of their own, so that a terminal's ^C
    reaches them once, from here. As process 1 of a container it reaps orphans too. on_ready: called once, when clients
    are served. worker_ended: called with the pid of each worker that has been reaped. gateways: further children, which
    end after the last worker.
    """

    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        reread: Callable[[Config], Config],
        work: Callable[[Config, Listeners, worker.Link, bool], None],
        on_ready: Callable[[], None] = lambda: None,
        worker_ended: Callable[[int], None] | None = None,
        gateways: Sequence[Gateway] = (),
    ) -> None:
        self.config = config
        self.listeners = listeners
        self.workers: dict[int, Worker] = {}
        self._work = work
        self._on_ready = on_ready
        self._worker_ended = worker_ended
        self._gateways = gateways
        self._has_started = False
        self._stopping = False
        self._stopped_by = math.inf  # workers that are there then are killed
        self._asleep = config.cheap
        self._not_before = 0.0
        self._reloaded: list[tuple[Config, set[Worker]]] = []  # done but for these, which may still accept
        self._idleness = Idleness()
        self._selector = selectors.DefaultSelector()
        self._stats = StatsServer(self, self._selector)
        self._reload = Reload(self, self._selector, reread)
        reloading = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        watched = [*stop_signals(), *reloading, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2]
        self._signals = SignalQueue(watched)

    @property
    def active(self) -> list[Worker]:
        """The workers of the configuration that is in force, which accept."""
        return [each for each in self.workers.values() if not (each.draining or each.on_trial)]

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
            self._begin_to_serve()
        while self._wants_gateways or any(each.is_running for each in self._gateways):
            self._tend_gateways()
            self._keep_up_the_number()
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._look_at_the_workers()
            self._reload.look_at_the_clock()
            self._stats.look_at_the_clock()

    # -- signals --

    def _take_signals(self) -> None:
        for number, code in self._signals:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGUSR1:
                self._log_statistics()
            elif number == signal.SIGHUP and code != SI_KERNEL:
                self._take_reload()
            elif number != signal.SIGUSR2:
                self._stop(number)

    def _stop(self, number: int) -> None:
        logger.info("%s: stopping", signal_name(number))
        if self._asleep:
            self._watch_listeners(False)
        self._asleep = False
        self._reload.cancel()
        # Another one the second time: two of the same that are not taken yet are one.
        passed_on = signal.SIGINT if self._stopping else signal.SIGTERM
        for each in self.workers.values():
            # One that is not ready takes no signals yet, and has no session.
            each.send(signal.SIGKILL if self._stopping and not each.is_ready else passed_on)
        if not self._stopping:
            self._stopped_by = time.monotonic() + self.config.stop_timeout_seconds + _STOPPED_SECONDS
        self._stopping = True

    def _log_statistics(self) -> None:
        sessions = sum(each.link.pulse()[1] for each in self.workers.values())
        draining = sum(each.draining for each in self.workers.values())
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
                self.start(self.config, self.listeners, shares=not any(each.shares for each in self.active))
        except OSError as error:
            if not self._has_started:
                raise FastptyError(f"cannot start a worker: {error.strerror}") from error
            self._not_before = time.monotonic() + _HASTY_SECONDS
            logger.error("cannot start a worker: %s; trying again", error.strerror)

    def start(self, config: Config, listeners: Listeners, *, shares: bool, on_trial: bool = False) -> Worker:
        """A new worker; raises OSError. One that is on trial does not count before change_to() is called with it."""

        def work(link: worker.Link) -> None:
            self._work(config, listeners, link, shares)

        started = fork(work, self._let_go_in_worker, on_trial=on_trial, shares=shares)
        self.workers[started.pid] = started
        self._selector.register(started.link.news, selectors.EVENT_READ, partial(self._hear, started))
        return started

    def _begin_to_serve(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._on_ready()

    def _hear(self, speaker: Worker) -> None:
        if self.workers.get(speaker.pid) is not speaker:
            return  # it was reaped after this was found readable
        news = speaker.link.hear()
        if not news:  # it has closed its side, and will soon be reaped
            self._listen_no_more_to(speaker)
        if worker.READY in news:
            speaker.is_ready = True
            self._begin_to_serve()
            self._reload.is_ready(speaker)
        if worker.REPORTED in news:
            self._stats.answered(speaker)
        if worker.DRAINED in news or not news:
            self._accepts_no_more(speaker)

    def _listen_no_more_to(self, speaker: Worker) -> None:
        if speaker.link.news in self._selector.get_map():
            self._selector.unregister(speaker.link.news)

    def _let_go_in_worker(self) -> None:
        self._close_what_is_the_supervisor_s()
        for each in self._gateways:
            each.let_go()

    def _close_what_is_the_supervisor_s(self) -> None:
        self._stats.close()
        self._reload.let_go()
        for each in self.workers.values():
            each.link.close()
        self._selector.close()
        self._signals.close()

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            ended = self.workers.get(found.si_pid)
            if ended is not None:
                with contextlib.suppress(BlockingIOError):
                    self._hear(ended)  # what it said last; until it is reaped the pid still is its own
            _, status = os.waitpid(found.si_pid, 0)
            if ended is not None:
                code = os.waitstatus_to_exitcode(status)
                how = f"exit status {code}" if code >= 0 else f"killed by {signal_name(-code)}"
                self._bury(ended, how, as_wanted=ended.draining and code == 0)
            for each in self._gateways:
                each.bury(found.si_pid, os.waitstatus_to_exitcode(status))

    def _bury(self, ended: Worker, how: str, *, as_wanted: bool = False) -> None:
        del self.workers[ended.pid]
        self._listen_no_more_to(ended)
        self._stats.lost(ended)
        self._accepts_no_more(ended)
        ended.link.close()
        if self._worker_ended is not None:
            self._worker_ended(ended.pid)
        if self._stopping or as_wanted:
            return
        if not (self._has_started or self.workers):
            raise FastptyError(f"no worker can start ({how})")
        is_replaced = not (ended.draining or ended.on_trial)
        logger.error("worker %d has ended (%s)%s", ended.pid, how, "; another one starts" if is_replaced else "")
        self._reload.has_ended(ended, how)
        if time.monotonic() - ended.started < _HASTY_SECONDS:
            self._not_before = time.monotonic() + _HASTY_SECONDS

    # -- reload --

    def _take_reload(self) -> None:
        """New sessions get the new configuration, those that there are go on to their end in the workers they are in.

        The new workers start before the old ones stop to accept, and the sockets stay open here.
        """
        if not self._stopping:
            self._reload.begin()

    def change_to(self, config: Config, listeners: Listeners, workers: Collection[Worker]) -> None:
        """Puts a configuration into force, with these workers, which were on trial. The others drain."""
        old = self.active
        for each in workers:
            each.on_trial = False
        for each in [*old, *(workers if self._asleep else ())]:
            each.drain()
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
        self._reloaded.append((config, set(old)))
        self._tell_of_reloads()

    def _accepts_no_more(self, drained: Worker) -> None:
        for _, workers in self._reloaded:
            workers.discard(drained)
        self._tell_of_reloads()

    def _tell_of_reloads(self) -> None:
        """Logs a reload when no connection can get the configuration before it any more."""
        while self._reloaded and not self._reloaded[0][1]:
            config, _ = self._reloaded.pop(0)
            logger.info("reloaded, for: %s", config.command)

    # -- cheap, idle, harakiri --

    def _sleep(self) -> None:
        self._asleep = True
        for each in self.active:
            each.drain()
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
        for each in [*self.workers.values()]:
            if each.gone_within(now) == 0:
                # Its end waits in the kernel. It stays a child, so its pid is no other's; SIGKILL is all there is.
                logger.error("worker %d was killed and does not end: no longer waited for", each.pid)
                self._bury(each, "killed")
                continue
            if now >= self._stopped_by and not each.given_up:
                each.give_up("does not stop")
            if harakiri is not None and each.stuckness.look(now, each.link.pulse()[0], harakiri):
                each.give_up(f"is stuck for {harakiri:g} s")
            each.check_ready(now)
        if idle is not None and not self._asleep and not self._stopping:
            pulses = [each.link.pulse() for each in self.active]
            sessions = sum(pulse[1] for pulse in pulses)
            if self._idleness.look(now, sessions, sum(pulse[2] for pulse in pulses), idle):
                self._sleep()

    def _patience(self) -> float | None:
        """How long nothing needs to be looked at unless something comes; None: for ever."""
        now = time.monotonic()
        waits = [self._stats.patience(), self._reload.patience()]
        waits += [each.patience(wanted=self._wants_gateways) for each in self._gateways]
        for each in self.workers.values():
            waits.append(each.gone_within(now) if each.given_up else each.ready_within(now))
            if self._stopping and not each.given_up:
                waits.append(max(0.0, self._stopped_by - now))
        if not self._asleep and not self._stopping:
            if len(self.active) < self.config.processes:
                waits.append(max(0.0, self._not_before - now))
            if self.config.cheap_idle_seconds is not None:
                waits.append(self.config.cheap_idle_seconds / LOOKS)
        if self.workers and self.config.harakiri_seconds is not None:
            waits.append(self.config.harakiri_seconds / LOOKS)
        wait = min((wait for wait in waits if wait is not None), default=None)
        return None if wait is None else min(wait, _PATIENCE_MOST_SECONDS)
