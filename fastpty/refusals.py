"""The log's lines about clients that were refused: a few of each kind, and how many more there were."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastpty.log import logger

_TOLD_MOST = 10
_SECONDS = 1.0


@dataclass
class _Burst:
    """Equal refusals within a second."""

    until: float
    told: int = 0
    more: int = 0


class Refusals:
    """Who is refused can come again at once, thousands of times in a second, and must not fill the disk with that.

    Refusals of one user at one address for one reason are equal. Of those the first ten in a second have a line each,
    and then all the others together. Clients that are no user's (TCP) are equal, too.
    """

    def __init__(self) -> None:
        self._bursts: dict[tuple[int | None, str, str], _Burst] = {}  # in the order of their ends
        self._untold = 0

    def tell(self, number: int, who: str, uid: int | None, where: str, why: str) -> bool:
        """Logs that a session is refused, or counts it; whether it has a line of its own."""
        self.sum_up()
        burst = self._bursts.setdefault((uid, where, why), _Burst(time.monotonic() + _SECONDS))
        if burst.told == _TOLD_MOST:
            burst.more += 1
            self._untold += 1
            return False
        burst.told += 1
        logger.error("session %d: refused %s on %s: %s", number, who, where, why)
        return True

    def sum_up(self, *, at_once: bool = False) -> bool:
        """Logs how many more there were in the seconds that are over, or `at_once`; whether some are still untold."""
        now = time.monotonic()
        while self._bursts:
            key, burst = next(iter(self._bursts.items()))
            if burst.until > now and not at_once:
                break
            del self._bursts[key]
            if burst.more:
                uid, where, why = key
                whose = "" if uid is None else f" of uid {uid}"
                logger.error("refused %d more clients%s on %s: %s", burst.more, whose, where, why)
                self._untold -= burst.more
        return self._untold > 0
