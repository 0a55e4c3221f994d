"""The supervisor's view of a worker process, and the fork of a new one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from fastpty.log import logger
from fastpty.supervision import worker
from fastpty.supervision.heartbeat import StuckDetector
from fastpty.supervision.link import Link
from fastpty.system import child
from fastpty.system.records import dataclass, field

# A worker needs a few milliseconds to become ready. One that needs longer than this will not become ready.
READY_SECONDS = 30.0

# A killed process is gone within milliseconds, unless the kernel waits for a device.
GONE_SECONDS = 1.0


@dataclass(eq=False)
class Worker:
    """A worker process. is_ready: it has announced that it serves. on_trial: a reload waits for that."""

    pid: int
    link: Link
    on_trial: bool = False
    has_shared_terminal: bool = False  # only one worker can have it
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    draining: bool = False
    killed_at: float | None = None
    stuck: StuckDetector = field(default_factory=StuckDetector)

    def send(self, number: int) -> None:
        """Sends a signal. The pid cannot be another process's before this one is reaped."""
        os.kill(self.pid, number)

    def drain(self) -> None:
        """Tells it to accept no more and to end with its last session."""
        self.draining = True
        self.send(worker.DRAIN_SIGNAL)

    def kill(self, why: str) -> None:
        """Kills it and logs why. The supervisor replaces it once it is reaped, or after GONE_SECONDS."""
        if not self.is_killed:
            self.killed_at = time.monotonic()
            logger.error("worker %d %s: killed", self.pid, why)
        self.send(signal.SIGKILL)

    @property
    def is_killed(self) -> bool:
        """Whether kill() was called."""
        return self.killed_at is not None

    def seconds_to_be_gone(self, now: float) -> float | None:
        """The seconds left until a killed worker counts as gone; None if it was not killed."""
        return None if self.killed_at is None else max(0.0, self.killed_at + GONE_SECONDS - now)

    def check_ready(self, now: float) -> None:
        """Kills it if it should have been ready by now."""
        if self.seconds_to_be_ready(now) == 0 and not self.is_killed:
            self.kill(f"is not ready after {READY_SECONDS:g} s")

    def seconds_to_be_ready(self, now: float) -> float | None:
        """The seconds left for it to become ready; None if it is."""
        return None if self.is_ready else max(0.0, self.started + READY_SECONDS - now)


def fork(
    work: Callable[[Link], None],
    close_in_worker: Callable[[], None],
    *,
    on_trial: bool = False,
    has_shared_terminal: bool = False,
) -> Worker:
    """Forks a worker that does `work`. Raises OSError. close_in_worker: closes the supervisor's
    descriptors in the new process."""
    link = Link()

    def be_a_worker() -> None:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it may log to a terminal, as a background process group
        link.keep_side(worker=True)
        close_in_worker()
        work(link)

    try:
        pid = child.start("worker", be_a_worker, worker.DRAIN_SIGNAL)
    except OSError:
        link.keep_side(worker=False)
        link.close()
        raise
    link.keep_side(worker=False)
    return Worker(pid, link, on_trial, has_shared_terminal)
