"""Decides from periodic heartbeat samples whether a worker is stuck, or all workers are idle.

The time between two samples counts only up to a limit. So a supervisor that was stopped (SIGSTOP), or a machine that
was suspended, takes no worker for stuck or idle.
"""

from __future__ import annotations

SAMPLES = 4
"""The number of samples taken within each time limit."""


class _Unchanged:
    """Measures how long a value has stayed the same."""

    def __init__(self) -> None:
        self._sampled: float | None = None
        self._passed = 0.0

    def _count(self, now: float, limit: float, *, same: bool) -> bool:
        """True once the samples were the same for `limit` seconds; then, and after a change, counting starts again."""
        since = 0.0 if self._sampled is None else now - self._sampled
        if self._sampled is not None and since < limit / SAMPLES and same:
            return False  # too soon for another sample
        self._sampled = now
        self._passed = self._passed + min(since, 1.5 * limit / SAMPLES) if same else 0.0
        if self._passed < limit:
            return False
        self._passed = 0.0
        return True


class StuckDetector(_Unchanged):
    """Detects a worker that stays too long in one turn of its loop."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def sample(self, now: float, turn: int, limit: float) -> bool:
        """True if the worker was in this turn for `limit` seconds. now: time.monotonic(). turn: from Link.pulse()."""
        same = turn != 0 and turn == self._turn
        self._turn = turn
        return self._count(now, limit, same=same)


class IdleDetector(_Unchanged):
    """Detects that no worker had a session for some time."""

    def __init__(self) -> None:
        super().__init__()
        self._accepted = 0

    def sample(self, now: float, sessions: int, accepted: int, limit: float) -> bool:
        """True if there was no session for `limit` seconds. sessions: live now. accepted: since the start."""
        same = sessions == 0 and accepted == self._accepted
        self._accepted = accepted
        return self._count(now, limit, same=same)
