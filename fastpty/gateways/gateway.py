"""A process that stands between clients and the workers, such as the TLS proxy, as its supervisor sees it."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable

from fastpty.errors import FastptyError
from fastpty.log import logger, signal_name
from fastpty.system import child

# A process that ends within this time after its start would probably end again: its successor waits as long.
_HASTY_SECONDS = 1.0


class Gateway:
    """A child of the supervisor that does `work` until SIGTERM comes, and is replaced when it ends before.

    name: for the log. end_seconds: it is killed where it takes longer to end. let_go: closes, in a worker, what this
    process alone needs.
    """

    def __init__(
        self, name: str, work: Callable[[], None], *, end_seconds: float, let_go: Callable[[], None]
    ) -> None:
        self._name = name
        self._work = work
        self._end_seconds = end_seconds
        self._let_go = let_go
        self._pid = 0
        self._pidfd = -1
        self._started = 0.0
        self._has_started = False
        self._not_before = 0.0
        self._kill_at: float | None = None  # it is to end

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self._pid != 0

    def tend(self, in_child: Callable[[], None], *, wanted: bool) -> None:
        """Starts the process or ends it, where that is to be done now. Never waits.

        in_child: closes there what is the supervisor's. Raises FastptyError where the first one cannot start.
        """
        now = time.monotonic()
        if wanted and not self.is_running and now >= self._not_before:
            self._start(in_child)
        elif not wanted and self.is_running and self._kill_at is None:
            self._kill_at = now + self._end_seconds
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        elif self._kill_at is not None and now >= self._kill_at and self.is_running:
            self._kill_at = math.inf
            logger.error("%s %d does not end: killed", self._name, self._pid)
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def patience(self, *, wanted: bool) -> float | None:
        """How long `tend` need not be called; None: until something happens."""
        now = time.monotonic()
        if self.is_running:
            return None if self._kill_at is None else max(0.0, self._kill_at - now)
        return max(0.0, self._not_before - now) if wanted else None

    def let_go(self) -> None:
        """In a worker: closes what the supervisor has for this process."""
        if self.is_running:
            os.close(self._pidfd)
        self._let_go()

    def bury(self, pid: int, status: int) -> None:
        """To be called with each child that was reaped: forgets the process, and logs its end if it is this one."""
        if pid != self._pid:
            return
        os.close(self._pidfd)
        self._pid, self._pidfd = 0, -1
        if self._kill_at is not None:
            return
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(-status)}"
        logger.error("%s %d has ended (%s); another one starts", self._name, pid, how)
        if time.monotonic() - self._started < _HASTY_SECONDS:
            self._not_before = time.monotonic() + _HASTY_SECONDS

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
            self._not_before = time.monotonic() + _HASTY_SECONDS
            logger.error("cannot start %s: %s; trying again", self._name, error.strerror)
            return
        self._pid = pid
        self._started = time.monotonic()
        self._has_started = True
