"""The supervisor's view of a gateway: a process between clients and workers, such as the TLS proxy."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable

from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.system import child
from fastpty.system.signals import signal_name

# A gateway that ends sooner after its start would probably end again: its successor waits this long.
_RESTART_PAUSE_SECONDS = 1.0


class Gateway:
    """A child of the supervisor that does `work` until SIGTERM. If it dies, that is logged and it is replaced.

    The supervisor learns of the end by SIGCHLD and reaps gateways like workers. name: for the log. end_seconds: how
    long it may take to end before it is killed. close: closes, in a worker, the descriptors that only gateways need.
    """

    def __init__(self, name: str, work: Callable[[], None], *, end_seconds: float, close: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._end_seconds = end_seconds
        self._close = close
        self._pid = 0
        self._pidfd = -1
        self._started = 0.0
        self._has_started = False
        self._restart_not_before = 0.0
        self._kill_at: float | None = None  # set once it has been sent SIGTERM

    @property
    def is_running(self) -> bool:
        """True while there is a process that was not reaped."""
        return self._pid != 0

    def start_or_end(self, in_child: Callable[[], None], *, wanted: bool) -> None:
        """Starts or ends the process if it is time to. Never waits.

        in_child: closes the supervisor's descriptors in the new process. Raises FastptyError if the first process
        cannot start.
        """
        now = time.monotonic()
        if wanted and not self.is_running and now >= self._restart_not_before:
            self._start(in_child)
        elif not wanted and self.is_running and self._kill_at is None:
            self._kill_at = now + self._end_seconds
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        elif self._kill_at is not None and now >= self._kill_at and self.is_running:
            self._kill_at = math.inf
            logger.error("killed %s %d, which did not end", self._name, self._pid)
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def timeout(self, *, wanted: bool) -> float | None:
        """The seconds until start_or_end() has something to do; None: not before the next event."""
        now = time.monotonic()
        if self.is_running:
            return None if self._kill_at is None else max(0.0, self._kill_at - now)
        return max(0.0, self._restart_not_before - now) if wanted else None

    def close_in_worker(self) -> None:
        """In a worker: closes the descriptors of the supervisor and of the gateway."""
        if self.is_running:
            os.close(self._pidfd)
        self._close()

    def reaped(self, pid: int, status: int) -> None:
        """Takes note that a child was reaped. If it is this gateway and nothing asked it to end, its end is logged."""
        if pid != self._pid:
            return
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        if self._kill_at is not None:
            return
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
        logger.error("%s %d has ended (%s); another one starts", self._name, pid, how)
        if time.monotonic() - self._started < _RESTART_PAUSE_SECONDS:
            self._restart_not_before = time.monotonic() + _RESTART_PAUSE_SECONDS

    def _start(self, in_child: Callable[[], None]) -> None:
        def work() -> None:
            in_child()
            self._work()

        try:
            pid = child.start(self._name, work)
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still this child's
                raise
        except OSError as error:
            if not self._has_started:
                raise FastptyError(f"cannot start {self._name}: {error.strerror}") from error
            self._restart_not_before = time.monotonic() + _RESTART_PAUSE_SECONDS
            logger.error("cannot start %s: %s; trying again", self._name, error.strerror)
            return
        self._pid = pid
        self._started = time.monotonic()
        self._has_started = True
