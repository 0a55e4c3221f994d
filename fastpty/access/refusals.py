"""The log's lines that a stranger can cause: a few of each kind, and how many more there were."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastpty.log import logger

_TOLD_MOST = 10
_SECONDS = 1.0
_KINDS_MOST = 64
_OTHERS = "clients of other users, or for other reasons"


@dataclass
class _Burst:
    """Equal refusals within a second."""

    until: float
    told: int = 0
    more: int = 0


class Refusals:
    """A client that is refused can come again at once, thousands of times in a second, and must not fill the disk.

    Of equal refusals the first ten in a second have a line each, and then all the others together. Kinds beyond 64 in a
    second count as one, for those that come as many users. What a client says must not be part of the kind.
    """

    def __init__(self) -> None:
        self._bursts: dict[str, _Burst] = {}  # in the order of their ends
        self._untold = 0

    def tell(self, line: str, kind: str) -> bool:
        """Logs the line, or counts it; whether it was logged. `kind` is text: refused 5 more `kind`."""
        self.sum_up()
        if kind not in self._bursts and len(self._bursts) >= _KINDS_MOST:
            kind = _OTHERS
        burst = self._bursts.setdefault(kind, _Burst(time.monotonic() + _SECONDS))
        if burst.told == _TOLD_MOST:
            burst.more += 1
            self._untold += 1
            return False
        burst.told += 1
        logger.error("%s", line)
        return True

    def sum_up(self, *, at_once: bool = False) -> bool:
        """Logs how many more there were in the seconds that are over, or `at_once`; whether some are still untold."""
        now = time.monotonic()
        while self._bursts:
            kind, burst = next(iter(self._bursts.items()))
            if burst.until > now and not at_once:
                break
            del self._bursts[kind]
            if burst.more:
                logger.error("refused %d more %s", burst.more, kind)
                self._untold -= burst.more
        return self._untold > 0

    def patience(self) -> float | None:
        """How long sum_up has nothing to log, in seconds from now; None: for ever."""
        if not self._untold:
            return None
        return max(0.0, next(iter(self._bursts.values())).until - time.monotonic())


def clients(uid: int | None, where: str, why: str) -> str:
    """The kind of a refusal of a user's, or of those that are no user's (TCP)."""
    whose = "" if uid is None else f" of uid {uid}"
    return f"clients{whose} on {where}: {why}"
