"""The process that starts the workers and gateways, replaces those that die or are stuck, and reloads."""

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

from fastpty.access import lookups
from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.gateways.gateway import Gateway
from fastpty.listening.places import Listeners
from fastpty.log import logger
from fastpty.service.control import ControlSocket
from fastpty.supervision import worker
from fastpty.supervision.control import Answer, Control
from fastpty.supervision.forked_worker import Worker, fork
from fastpty.supervision.heartbeat import SAMPLES, IdleDetector
from fastpty.supervision.link import DRAINED, READY, REPORTED, Link
from fastpty.supervision.reload import FinishedReloads, Reload
from fastpty.supervision.statistics import StatsServer
from fastpty.system.records import dataclass
from fastpty.system.signals import SI_KERNEL, ReceivedSignal, SignalQueue, signal_name, stop_signals

# A worker that ends sooner after its start would probably end again: its successor waits this long.
_RESTART_PAUSE_SECONDS = 1.0

# A worker that stops takes a few seconds at most once the grace time of its sessions is over.
_STOPPED_SECONDS = 10.0

# Stop signals of several processes within this time are one request: a service manager signals all processes of a
# unit, and a process around the router may pass its own signal on.
_SAME_STOP_SECONDS = 0.1

# epoll_wait(2) takes 24 days at most.
_TIMEOUT_MOST_SECONDS = 86400.0


@dataclass(frozen=True)
class Tasks:
    """What a supervisor does besides supervising.

    work: what each worker does (worker.run). read_configuration: returns the configuration for a reload, given the
    present one, or raises FastptyError. on_ready: called once, when clients are served. worker_ended: called with the
    pid of each worker after it was reaped. gateways: more children, which end after the last worker. close_in_gateway:
    closes what only workers use, in each gateway.
    """

    work: Callable[[Config, Listeners, Link, bool], None]
    read_configuration: Callable[[Config], Config]
    on_ready: Callable[[], None] = lambda: None
    worker_ended: Callable[[int], None] = lambda pid: None
    gateways: Sequence[Gateway] = ()
    close_in_gateway: Callable[[], None] = lambda: None
    control_sockets: Sequence[ControlSocket] = ()


class Supervisor:
    """Keeps `config.processes` workers running on `listeners` until a signal stops it.

    SIGTERM, SIGINT and SIGQUIT stop; SIGHUP reloads. Each worker has a process group of its own, so that a terminal's
    ^C reaches it only through the supervisor. As process 1 of a container the supervisor reaps orphans, too.
    """

    def __init__(self, config: Config, listeners: Listeners, tasks: Tasks) -> None:
        self.config = config
        self.listeners = listeners
        self.workers: dict[int, Worker] = {}
        self._tasks = tasks
        self._has_started = False
        self._stop_signal: ReceivedSignal | None = None
        self._stopped_at = 0.0
        self._stop_deadline = math.inf  # workers that still run then are killed
        self._has_no_workers = config.cheap
        self._restart_not_before = 0.0
        self._finished_reloads = FinishedReloads()
        self._idle = IdleDetector()
        self._selector = selectors.DefaultSelector()
        self._stats = StatsServer(self, self._selector)
        self._reload = Reload(self, self._selector, tasks.read_configuration)
        self._control = Control(tasks.control_sockets, self._selector, self._reload_requested, self._stats.discard)
        reloading = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
        watched = [*stop_signals(), *reloading, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2]
        self._signals = SignalQueue(watched)

    @property
    def active(self) -> list[Worker]:
        """The workers that accept connections under the configuration in force."""
        return [each for each in self.workers.values() if not (each.draining or each.on_trial)]

    @property
    def has_no_workers(self) -> bool:
        """True while no worker runs until a client connects (forkptyrouter-cheap, idle)."""
        return self._has_no_workers

    @property
    def _is_stopping(self) -> bool:
        return self._stop_signal is not None

    def run(self) -> None:
        """Returns when all workers and gateways have ended after a stop signal."""
        self._selector.register(self._signals, selectors.EVENT_READ, self._take_signals)
        self._stats.listen(self.listeners.for_stats)
        self._control.listen()
        gc.freeze()  # garbage collection in a worker would touch, and so copy, the memory shared with this process
        if self._has_no_workers:
            self._wait_for_connection()
            self._begin_to_serve()
        while self._wants_gateways or any(each.is_running for each in self._tasks.gateways):
            self._start_or_end_gateways()
            self._start_missing_workers()
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._check_workers()
            self._check_idle()
            self._reload.check_deadline()
            self._stats.check_deadlines()

    # -- signals --

    def _take_signals(self) -> None:
        for received in self._signals:
            if received.number == signal.SIGCHLD:
                self._reap()
            elif received.number == signal.SIGUSR1:
                self._log_statistics()
            elif received.number == signal.SIGHUP and received.code != SI_KERNEL:
                self._reload_requested()
            elif received.number != signal.SIGUSR2:
                self._stop(received)

    def _stop(self, received: ReceivedSignal) -> None:
        if self._is_part_of_the_same_stop(received):
            return
        logger.info("%s: stopping", signal_name(received.number))
        if self._has_no_workers:
            self._watch_listeners(False)
        self._has_no_workers = False
        self._reload.cancel()
        self._finished_reloads.abandon("reload refused: the router is stopping")
        passed_on = worker.KILL_SIGNAL if self._is_stopping else worker.STOP_SIGNAL
        for each in self.workers.values():
            # A worker that is not ready takes no signals yet, and has no session.
            each.send(signal.SIGKILL if self._is_stopping and not each.is_ready else passed_on)
        if not self._is_stopping:
            self._stopped_at = time.monotonic()
            self._stop_deadline = self._stopped_at + self.config.stop_timeout_seconds + _STOPPED_SECONDS
            self._stop_signal = received

    def _is_part_of_the_same_stop(self, received: ReceivedSignal) -> bool:
        """True for the second of two signals that different processes sent at almost the same time.

        A process outside this pid namespace has the number 0, so two of those may be different ones.
        """
        first = self._stop_signal
        is_soon = time.monotonic() - self._stopped_at < _SAME_STOP_SECONDS
        return first is not None and is_soon and (received.sender != first.sender or received.sender == 0)

    def _log_statistics(self) -> None:
        sessions = sum(each.link.pulse()[1] for each in self.workers.values())
        draining = sum(each.draining for each in self.workers.values())
        logger.info("statistics: %d workers, %d draining, %d sessions", len(self.active), draining, sessions)
        for each in self.workers.values():
            each.send(worker.LOG_SIGNAL)

    # -- starting and ending workers and gateways --

    @property
    def _wants_gateways(self) -> bool:
        return bool(self.workers) or not self._is_stopping

    def _start_or_end_gateways(self) -> None:
        for each in self._tasks.gateways:
            each.start_or_end(self._close_in_gateway, wanted=self._wants_gateways)

    def _start_missing_workers(self) -> None:
        if self._is_stopping or self._has_no_workers or time.monotonic() < self._restart_not_before:
            return
        try:
            while len(self.active) < self.config.processes:
                is_first = not any(each.has_shared_terminal for each in self.active)
                self.start(self.config, self.listeners, has_shared_terminal=is_first)
        except OSError as error:
            if not self._has_started:
                raise FastptyError(f"cannot start a worker: {error.strerror}") from error
            self._restart_not_before = time.monotonic() + _RESTART_PAUSE_SECONDS
            logger.error("cannot start a worker: %s; trying again", error.strerror)

    def start(
        self, config: Config, listeners: Listeners, *, has_shared_terminal: bool, on_trial: bool = False
    ) -> Worker:
        """Starts a worker; raises OSError. A worker on trial counts only after change_to() was called with it."""

        def work(link: Link) -> None:
            self._tasks.work(config, listeners, link, has_shared_terminal)

        started = fork(work, self._close_in_worker, on_trial=on_trial, has_shared_terminal=has_shared_terminal)
        self.workers[started.pid] = started
        self._selector.register(started.link.news, selectors.EVENT_READ, partial(self._read_news, started))
        return started

    def _begin_to_serve(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._tasks.on_ready()

    def _read_news(self, sender: Worker) -> None:
        if self.workers.get(sender.pid) is not sender:
            return  # it was reaped in this turn, after its pipe had become readable
        news = sender.link.read_news()
        if not news:  # the worker has closed its end and will soon be reaped
            self._stop_reading_news(sender)
        if READY in news:
            sender.is_ready = True
            self._begin_to_serve()
            self._reload.worker_ready(sender)
        if REPORTED in news:
            self._stats.worker_reported(sender)
        if DRAINED in news or not news:
            self._finished_reloads.stopped_accepting(sender)

    def _stop_reading_news(self, sender: Worker) -> None:
        if sender.link.news in self._selector.get_map():
            self._selector.unregister(sender.link.news)

    def _close_in_gateway(self) -> None:
        self._close_supervisor_descriptors()
        self._tasks.close_in_gateway()

    def _close_in_worker(self) -> None:
        self._close_supervisor_descriptors()
        for each in self._tasks.gateways:
            each.close_in_worker()

    def _close_supervisor_descriptors(self) -> None:
        """In a child: closes what only the supervisor uses."""
        self._stats.close()
        self._control.close()
        self._reload.close_copies()
        lookups.close_copies()
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
                    self._read_news(ended)  # the last news; its pid cannot be reused before it is reaped
            _, status = os.waitpid(found.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if ended is not None:
                how = f"exit status {code}" if code >= 0 else f"killed by {signal_name(-code)}"
                self._forget_worker(ended, how, as_wanted=ended.draining and code == 0)
            for each in self._tasks.gateways:
                each.reaped(found.si_pid, code)

    def _forget_worker(self, ended: Worker, how: str, *, as_wanted: bool = False) -> None:
        del self.workers[ended.pid]
        self._stop_reading_news(ended)
        self._stats.worker_lost(ended)
        self._finished_reloads.stopped_accepting(ended)
        ended.link.close()
        self._tasks.worker_ended(ended.pid)
        if self._is_stopping or as_wanted:
            return
        if not (self._has_started or self.workers):
            raise FastptyError(f"no worker could start ({how})")
        is_replaced = not (ended.draining or ended.on_trial)
        logger.error("worker %d has ended (%s)%s", ended.pid, how, "; another one starts" if is_replaced else "")
        self._reload.worker_ended(ended, how)
        if time.monotonic() - ended.started < _RESTART_PAUSE_SECONDS:
            self._restart_not_before = time.monotonic() + _RESTART_PAUSE_SECONDS

    # -- reload --

    def _reload_requested(self, answer: Answer | None = None) -> None:
        """New sessions get the new configuration; existing ones stay in their worker until they end.

        The new workers start before the old ones stop accepting, and the sockets stay open in the supervisor.
        """
        if not self._is_stopping:
            self._reload.begin(answer)
        elif answer is not None:
            answer("reload refused: the router is stopping")

    def change_to(
        self, config: Config, listeners: Listeners, workers: Collection[Worker], answers: Collection[Answer]
    ) -> None:
        """Puts the configuration of `workers`, which were on trial, into force. The other workers drain."""
        old = self.active
        for each in workers:
            each.on_trial = False
        for each in [*old, *(workers if self._has_no_workers else ())]:
            each.drain()
        if self._has_no_workers:
            self._watch_listeners(False)
        self._stats.listen(())
        self.config = config
        self.listeners.become(listeners)
        self._stats.listen(self.listeners.for_stats)
        if self._has_no_workers:
            self._watch_listeners(True)
        for place in self.listeners:
            logger.info("listening on %s", place.name)
        self._finished_reloads.add(config, old, answers)

    # -- workers only while they are wanted; stuck workers --

    def _wait_for_connection(self) -> None:
        self._has_no_workers = True
        for each in self.active:
            each.drain()
        self._watch_listeners(True)
        logger.info("no worker runs until a client connects: ready")

    def _connection_came(self) -> None:
        if self._has_no_workers:
            self._watch_listeners(False)
            self._has_no_workers = False
            self._idle = IdleDetector()

    def _watch_listeners(self, wanted: bool) -> None:
        for place in self.listeners.for_sessions:
            if wanted:
                self._selector.register(place.listener.socket, selectors.EVENT_READ, self._connection_came)
            else:
                self._selector.unregister(place.listener.socket)

    def _check_workers(self) -> None:
        """Kills workers that are stuck or too slow, and gives up on killed ones that do not end."""
        harakiri = self.config.harakiri_seconds
        now = time.monotonic()
        for each in [*self.workers.values()]:
            if each.seconds_to_be_gone(now) == 0:
                # The kernel waits for something. It stays our child, so its pid cannot be reused.
                logger.error("worker %d was killed but does not end: not waiting for it any longer", each.pid)
                self._forget_worker(each, "killed")
                continue
            if now >= self._stop_deadline and not each.is_killed:
                each.kill("does not stop")
            if harakiri is not None and each.stuck.sample(now, each.link.pulse()[0], harakiri):
                each.kill(f"has been stuck for {harakiri:g} s")
            each.check_ready(now)

    def _check_idle(self) -> None:
        idle = self.config.cheap_idle_seconds
        if idle is None or self._has_no_workers or self._is_stopping:
            return
        pulses = [each.link.pulse() for each in self.active]
        sessions = sum(pulse[1] for pulse in pulses)
        if self._idle.sample(time.monotonic(), sessions, sum(pulse[2] for pulse in pulses), idle):
            self._wait_for_connection()

    def _timeout(self) -> float | None:
        """The seconds until something needs a check, if no event comes before; None: no limit."""
        now = time.monotonic()
        waits = [self._stats.timeout(), self._reload.timeout()]
        waits += [each.timeout(wanted=self._wants_gateways) for each in self._tasks.gateways]
        for each in self.workers.values():
            waits.append(each.seconds_to_be_gone(now) if each.is_killed else each.seconds_to_be_ready(now))
            if self._is_stopping and not each.is_killed:
                waits.append(max(0.0, self._stop_deadline - now))
        if not self._has_no_workers and not self._is_stopping:
            if len(self.active) < self.config.processes:
                waits.append(max(0.0, self._restart_not_before - now))
            if self.config.cheap_idle_seconds is not None:
                waits.append(self.config.cheap_idle_seconds / SAMPLES)
        if self.workers and self.config.harakiri_seconds is not None:
            waits.append(self.config.harakiri_seconds / SAMPLES)
        wait = min((wait for wait in waits if wait is not None), default=None)
        return None if wait is None else min(wait, _TIMEOUT_MOST_SECONDS)
