"""The router's log: one line per event, on standard error."""

from __future__ import annotations

import logging
import re
import time

logger = logging.getLogger("fastpty.router")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _OneLine(logging.Formatter):
    """Time in UTC, process, text; what a terminal or a log reader could mistake for more than text is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", record.getMessage())
        return f"{moment}.{int(record.msecs):03d}Z fastpty-router[{record.process}] {text}"


def start() -> None:
    """Sends the router's log to standard error. A log that cannot be written never stops the router."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
