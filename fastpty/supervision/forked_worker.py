"""A worker as its supervisor knows it, and how it is forked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastpty.log import logger
from fastpty.supervision import worker
from fastpty.supervision.heartbeat import Stuckness
from fastpty.system import child

# A worker needs some milliseconds. One that takes this long will not become ready.
READY_SECONDS = 30.0

# What is killed is gone within milliseconds, unless the kernel waits for something at its end.
GONE_SECONDS = 1.0


@dataclass(eq=False)
class Worker:
    """One that has been forked. `is_ready`: it has said that it serves. `on_trial`: a reload depends on that."""

    pid: int
    link: worker.Link
    on_trial: bool = False
    shares: bool = False  # has the shared terminal, which can be in one process only
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    draining: bool = False
    given_up_at: float | None = None
    stuckness: Stuckness = field(default_factory=Stuckness)

    def send(self, number: int) -> None:
        """Sends a signal; the pid is ours until we have reaped it."""
        os.kill(self.pid, number)

    def drain(self) -> None:
        """Makes it accept no more, and end with its last session."""
        self.draining = True
        self.send(worker.DRAIN_SIGNAL)

    def give_up(self, why: str) -> None:
        """Kills it; it is replaced when it has been reaped, or does not end even so."""
        if self.given_up_at is None:
            self.given_up_at = time.monotonic()
            logger.error("worker %d %s: killed", self.pid, why)
        self.send(signal.SIGKILL)

    @property
    def given_up(self) -> bool:
        """Whether it was killed."""
        return self.given_up_at is not None

    def gone_within(self, now: float) -> float | None:
        """The seconds that are left for it to be gone, where it was killed."""
        return None if self.given_up_at is None else max(0.0, self.given_up_at + GONE_SECONDS - now)

    def check_ready(self, now: float) -> None:
        """Kills it if it should have been ready by now."""
        if self.ready_within(now) == 0 and not self.given_up:
            self.give_up(f"is not ready after {READY_SECONDS:g} s")

    def ready_within(self, now: float) -> float | None:
        """The seconds that are left for it to become ready; None: it is."""
        return None if self.is_ready else max(0.0, self.started + READY_SECONDS - now)


def fork(
    work: Callable[[worker.Link], None], let_go: Callable[[], None], *, on_trial: bool = False, shares: bool = False
) -> Worker:
    """A new worker, which does `work`. Raises OSError. let_go: closes what only the supervisor needs."""
    link = worker.Link()

    def be_a_worker() -> None:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it logs to a terminal whose foreground group it has left
        link.keep_side(worker=True)
        let_go()
        work(link)

    try:
        pid = child.start("worker", be_a_worker, worker.DRAIN_SIGNAL)
    except OSError:
        link.keep_side(worker=False)
        link.close()
        raise
    link.keep_side(worker=False)
    return Worker(pid, link, on_trial, shares)
