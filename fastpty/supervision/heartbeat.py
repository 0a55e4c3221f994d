"""What looks at a worker's heartbeat, some times in a while, tell: that it is stuck, that it is idle.

Time passes from look to look only as far as the looker was awake: a router that was stopped (SIGSTOP) or a machine
that was suspended is neither stuck nor idle for it.
"""

from __future__ import annotations

LOOKS = 4
"""How many looks are taken in the time after which something is done."""


class _Watch:
    def __init__(self) -> None:
        self._looked: float | None = None
        self._passed = 0.0

    def _count(self, now: float, limit: float, *, same: bool) -> bool:
        """Whether the same was seen for `limit` seconds; then, and when it is not the same, it begins anew."""
        since = 0.0 if self._looked is None else now - self._looked
        if self._looked is not None and since < limit / LOOKS and same:
            return False  # too soon to be counted
        self._looked = now
        self._passed = self._passed + min(since, 1.5 * limit / LOOKS) if same else 0.0
        if self._passed < limit:
            return False
        self._passed = 0.0
        return True


class Stuckness(_Watch):
    """Of one worker: whether it is in the same turn of its loop for too long."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def look(self, now: float, turn: int, limit: float) -> bool:
        """now: time.monotonic(). turn: what Link.pulse says of the turn. True once for `limit` seconds in it."""
        same = turn != 0 and turn == self._turn
        self._turn = turn
        return self._count(now, limit, same=same)


class Idleness(_Watch):
    """Of all workers: whether there was no session for long enough."""

    def __init__(self) -> None:
        super().__init__()
        self._accepted = 0

    def look(self, now: float, sessions: int, accepted: int, limit: float) -> bool:
        """sessions: that live; accepted: so far. True once for `limit` seconds without either."""
        same = sessions == 0 and accepted == self._accepted
        self._accepted = accepted
        return self._count(now, limit, same=same)
