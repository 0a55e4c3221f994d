"""The router's log: one line per event, on standard error."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import time

logger = logging.getLogger("fastpty.router")

# pipe(7): what a pipe that poll(2) calls writable takes without blocking.
_LINE_BYTES_MOST = 4096

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def signal_name(number: int) -> str:
    """A signal as signal(7) calls it; a real-time signal has only its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def info_of(when: float, text: str, *about: object) -> None:
    """Logs what happened at a moment that is past, in seconds since the epoch."""
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, text, about, None)
    record.created, record.msecs = when, when % 1 * 1000
    logger.handle(record)


class _OneLine(logging.Formatter):
    """Time in UTC, process, text; what a terminal or a log reader could mistake for more than text is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        return f"{moment}.{int(record.msecs):03d}Z fastpty-router[{record.process}] {text}"


class _NeverWaits(logging.Handler):
    """Writes lines to a descriptor that takes them at once, and drops and counts the others.

    A full disk or a log reader that stands still must not stop the sessions. The descriptor is shared with other
    processes, so it is asked with poll(2) and not made non-blocking.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._lost:
            lost = logging.LogRecord(record.name, logging.ERROR, "", 0, "%d lines lost", (self._lost,), None)
            if not self._write(lost):
                self._lost += 1
                return
            self._lost = 0
        if not self._write(record):
            self._lost += 1

    def _write(self, record: logging.LogRecord) -> bool:
        line = self.format(record).encode("utf-8", "backslashreplace")[: _LINE_BYTES_MOST - 1] + b"\n"
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        try:
            return bool(poll.poll(0)) and os.write(self._fd, line) == len(line)
        except OSError:
            return False


def start() -> None:
    """Sends the router's log to standard error."""
    logging.raiseExceptions = False
    handler = _NeverWaits(2)
    handler.setFormatter(_OneLine())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
