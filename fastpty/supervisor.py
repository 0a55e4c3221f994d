"""Several workers on the same listening sockets, and one process that looks after them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection

from fastpty.log import logger, signal_name

_PR_SET_PDEATHSIG = 1

# A worker that ends sooner than this after its start would end again at once; its successor waits so long.
_HASTY_SECONDS = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


class Supervisor:
    """Keeps `count` processes at `work` until one of `stop_signals` comes, which it passes on.

    A worker that ends before is replaced. Workers are in process groups of their own, so that a terminal's ^C reaches
    them once, from here. Should this process be killed, the kernel sends them SIGTERM (prctl(2), PR_SET_PDEATHSIG).
    As process 1 of a container it reaps orphans too.
    """

    def __init__(self, count: int, work: Callable[[], None], stop_signals: Collection[int]) -> None:
        self._count = count
        self._work = work
        self._stop_signals = frozenset(stop_signals)
        self._watched = self._stop_signals | {signal.SIGCHLD}
        self._workers: dict[int, float] = {}
        self._stopping = False

    def run(self) -> None:
        """Returns when all workers have ended after a stop signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        for _ in range(self._count):
            self._start()
        while self._workers:
            self._handle(signal.sigwait(self._watched))

    def _handle(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        self._stopping = True
        for pid in self._workers:
            os.kill(pid, number)

    def _start(self) -> None:
        supervisor = os.getpid()
        pid = os.fork()
        if pid:
            self._workers[pid] = time.monotonic()
            return
        status = 1
        try:
            os.setpgid(0, 0)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() == supervisor:  # it may have ended before the line above
                self._work()
                status = 0
        except BaseException:
            logger.exception("worker failed")
        finally:
            os._exit(status)  # what the supervisor would clean up is not this process's

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            started = self._workers.pop(pid, None)
            if started is not None and not self._stopping:
                self._replace(pid, os.waitstatus_to_exitcode(status), started)

    def _replace(self, pid: int, status: int, started: float) -> None:
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
        logger.error("worker %d has ended (%s); another one starts", pid, how)
        if time.monotonic() - started < _HASTY_SECONDS:
            info = signal.sigtimedwait(self._stop_signals, _HASTY_SECONDS)
            if info is not None:
                self._handle(info.si_signo)
                return
        self._start()
