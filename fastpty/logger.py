"""The logger: levels, records, and where records go. `logging` would do, but takes 1 MB of a router and a worker."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol
else:
    Protocol = object

ERROR, WARNING, INFO = 40, 30, 20
NAMES = {ERROR: "error", WARNING: "warning", INFO: "info"}


class Record:
    """An event. created: in seconds since the epoch. failure: an exception whose traceback follows the text."""

    def __init__(self, level: int, text: str, args: tuple[object, ...] = ()) -> None:
        self.level = level
        self.process = os.getpid()
        self.created = time.time()
        self.fields: Mapping[str, Any] = {}
        self.failure: BaseException | None = None
        self._text = text
        self._args = args

    def message(self) -> str:
        """The text, followed by the traceback if there is one."""
        text = self._text % self._args if self._args else self._text
        if self.failure is None:
            return text
        try:
            import traceback
        except ImportError:  # this user cannot read it
            return f"{text}: {self.failure!r}"
        return f"{text}\n{''.join(traceback.format_exception(self.failure))}".rstrip("\n")

    def utc(self) -> str:
        """The time, as in RFC 3339, to the millisecond."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.created))
        return f"{moment}.{int(self.created % 1 * 1000):03d}Z"


def escaped(text: str) -> str:
    """The text with characters escaped that could change a terminal or forge a line."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(one: str) -> str:
    is_control = one < " " or "\x7f" <= one <= "\x9f" or one in "\u2028\u2029" or "\ud800" <= one <= "\udfff"
    return f"\\x{ord(one):02x}" if is_control else one


class Handler(Protocol):
    """Takes records."""

    def emit(self, record: Record) -> None:
        """Writes a record somewhere."""


class Logger:
    """Passes records of at least `level` to handlers. Without one, warnings and errors go to standard error."""

    def __init__(self) -> None:
        self.level = INFO
        self.handlers: list[Handler] = []

    def info(self, text: str, *args: object) -> None:
        """Logs `text % args`."""
        self.handle(Record(INFO, text, args))

    def warning(self, text: str, *args: object) -> None:
        """Logs `text % args` as a warning."""
        self.handle(Record(WARNING, text, args))

    def error(self, text: str, *args: object) -> None:
        """Logs `text % args` as an error."""
        self.handle(Record(ERROR, text, args))

    def exception(self, text: str, *args: object) -> None:
        """Logs an error with the traceback of the exception that is being handled."""
        record = Record(ERROR, text, args)
        record.failure = sys.exception()
        self.handle(record)

    def handle(self, record: Record) -> None:
        """Passes a record on."""
        if record.level < self.level:
            return
        for handler in self.handlers:
            handler.emit(record)
        if not self.handlers and record.level >= WARNING:
            print(record.message(), file=sys.stderr, flush=True)


logger = Logger()
