"""Limits the log lines that a stranger can cause: a few lines of each kind, then a count."""

from __future__ import annotations

import time

from fastpty.log import logger
from fastpty.system.records import dataclass

_LOGGED_MOST = 10
_SECONDS = 1.0
_KINDS_MOST = 64
_OTHERS = "clients of other users, or for other reasons"


@dataclass
class _Burst:
    """Refusals of one kind within a second."""

    until: float
    logged: int = 0
    more: int = 0


class Refusals:
    """Logs refusals without filling the disk: a refused client can reconnect thousands of times in a second.

    In each second, the first ten refusals of a kind get a line each; one more line counts the others. Kinds beyond 64
    in a second are counted together, since one user can connect as many users. Nothing that a client sends may be part
    of the kind.
    """

    def __init__(self) -> None:
        self._bursts: dict[str, _Burst] = {}  # in the order of their ends
        self._unlogged = 0

    def tell(self, line: str, kind: str) -> bool:
        """Logs the line, or only counts it and returns False. kind: as in the line "refused 5 more KIND"."""
        self.sum_up()
        if kind not in self._bursts and len(self._bursts) >= _KINDS_MOST:
            kind = _OTHERS
        burst = self._bursts.setdefault(kind, _Burst(time.monotonic() + _SECONDS))
        if burst.logged == _LOGGED_MOST:
            burst.more += 1
            self._unlogged += 1
            return False
        burst.logged += 1
        logger.error("%s", line)
        return True

    def sum_up(self, *, at_once: bool = False) -> bool:
        """Logs the counts whose second is over, or all if `at_once`. Returns True if some are left."""
        now = time.monotonic()
        while self._bursts:
            kind, burst = next(iter(self._bursts.items()))
            if burst.until > now and not at_once:
                break
            del self._bursts[kind]
            if burst.more:
                logger.error("refused %d more %s", burst.more, kind)
                self._unlogged -= burst.more
        return self._unlogged > 0

    def patience(self) -> float | None:
        """Seconds until sum_up() has something to log; None if there is nothing."""
        if not self._unlogged:
            return None
        return max(0.0, next(iter(self._bursts.values())).until - time.monotonic())


def clients(uid: int | None, where: str, why: str) -> str:
    """The kind of a refusal of this uid, or of clients whose user is unknown (TCP) if it is None."""
    whose = "" if uid is None else f" of uid {uid}"
    return f"clients{whose} on {where}: {why}"
