"""The router's log: one line per event, to standard error, files or syslog.

Nothing ever waits for the log. A line that cannot be written at once is dropped and counted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import select
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from functools import partial

from fastpty.errors import FastptyError
from fastpty.logger import ERROR, INFO, NAMES, WARNING, Record, escaped
from fastpty.logger import logger as logger
from fastpty.system import foreign_root
from fastpty.system.file_writer import FileWriter
from fastpty.system.records import dataclass
from fastpty.system.standard_descriptors import is_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# pipe(7): a pipe that poll(2) reports as writable takes this much without blocking.
_LINE_BYTES_MOST = 4096

SYSLOG_SOCKET = "/dev/log"

# <sys/syslog.h>
_FACILITY_NAMES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp"
FACILITIES: dict[str, int] = {name: index << 3 for index, name in enumerate(_FACILITY_NAMES.split())}
FACILITIES |= {f"local{index}": (16 + index) << 3 for index in range(8)}

_RESERVE_BYTES = 1 << 20
_HEAD = "{time} fastpty-router[{process}] "
_NOT_REOPENED = "cannot reopen the log %s: %s"


def info_of(when: float, text: str, fields: Mapping[str, Any]) -> None:
    """Logs an event that happened at `when`, in seconds since the epoch. fields: for log-format = json."""
    record = Record(INFO, text)
    record.created, record.fields = when, fields
    logger.handle(record)


@dataclass(frozen=True)
class LogFile:
    """A file to log to; its path is absolute."""

    path: str


@dataclass(frozen=True)
class Syslog:
    """The system log, with the name and the facility to use there (syslog(3))."""

    name: str = "fastpty-router"
    facility: int = FACILITIES["daemon"]


Destination = LogFile | Syslog

_LEVELS = {name: level for level, name in NAMES.items()}
_FORMATS = ("text", "json")


def log_level(name: str) -> int:
    """The level with this name; raises ValueError for an unknown name."""
    if name not in _LEVELS:
        raise ValueError(f"must be {', '.join(_LEVELS)}, not {name!r}")
    return _LEVELS[name]


def log_format(name: str) -> str:
    """The format with this name; raises ValueError for an unknown name.

    uWSGI's log-format describes the lines of HTTP requests, of which there are none here, so it changes nothing.
    """
    if "%(" in name:
        return "text"
    if name not in _FORMATS:
        raise ValueError(f"must be {' or '.join(_FORMATS)}, not {name!r}")
    return name


def _severity(level: int) -> int:
    """The level as a priority of syslog(3)."""
    return 3 if level >= ERROR else 4 if level >= WARNING else 6


class _OneLine:
    """Formats a record as one line of text. Characters that could change a terminal or forge a line are escaped.

    head: what precedes the text, with {time} in UTC, {process} and {severity}.
    """

    def __init__(self, head: str) -> None:
        self._head = head

    def format(self, record: Record) -> str:
        """The line."""
        return self.head(record) + escaped(record.message())

    def head(self, record: Record) -> str:
        """What precedes the text."""
        return self._head.format(time=record.utc(), process=record.process, severity=_severity(record.level))


class _Json(_OneLine):
    """Formats a record as one JSON object, after the head that the journal or syslog wants."""

    def format(self, record: Record) -> str:
        head = self.head(record)
        entry = {
            "time": record.utc(),
            "level": NAMES[record.level],
            "pid": record.process,
            "message": record.message(),
        }
        line = head + json.dumps({**record.fields, **entry})
        while len(line) > _LINE_BYTES_MOST - 2:  # half a JSON object would be no JSON
            entry["message"] = str(entry["message"])[: len(str(entry["message"])) // 2]
            line = head + json.dumps(entry)
        return line


def _reserve() -> mmap.mmap:
    """Address space to give up when memory is short, so that the end of a session is still logged.

    It is never written to, so it takes no memory. Raises OSError.
    """
    return mmap.mmap(-1, _RESERVE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _formatter(head: str, json_head: str = "") -> _OneLine:
    return _Json(json_head) if _settings.format == "json" else _OneLine(head)


class _NeverWaits:
    """Writes a line if that is possible at once, and otherwise drops and counts it.

    A full disk or a log reader that has stopped must not stop the sessions.
    """

    def __init__(self, head: str, json_head: str = "") -> None:
        self._format = _formatter(head, json_head).format
        self._lost = 0
        self._is_of_this_root = foreign_root.is_entered()
        self._reserve = _reserve()

    def emit(self, record: Record) -> None:
        """Writes the record, or counts it as lost."""
        try:
            self._emit(record)
        except MemoryError:
            self._reserve.close()
            try:
                self._emit(record)
            except MemoryError:
                self._lost += 1
            with contextlib.suppress(OSError):
                self._reserve = _reserve()

    def _emit(self, record: Record) -> None:
        if self._lost:
            if not self._try(Record(ERROR, "%d lines lost", (self._lost,))):
                self._lost += 1
                return
            self._lost = 0
        if not self._try(record):
            self._lost += 1

    def _try(self, record: Record) -> bool:
        line = self._format(record).encode("utf-8", "backslashreplace")[: _LINE_BYTES_MOST - 2]
        try:
            return self._write(line, record.level)
        except OSError:
            return False

    def _write(self, line: bytes, level: int) -> bool:
        raise NotImplementedError

    def reopen(self, *, complains: bool) -> None:
        """Opens the file again, in case it was renamed (logrotate(8)); raises OSError, or logs a failure itself."""

    def descriptor(self) -> int | None:
        """The descriptor that it writes to, or None."""
        return None

    def flush(self) -> None:
        """Waits a second at most until everything is written."""

    def _check_root(self) -> None:
        """Raises OSError if the process has entered another root since: the path could name somebody else's file."""
        if foreign_root.is_entered() and not self._is_of_this_root:
            raise OSError(errno.EXDEV, "it lies outside the router's root: rotate it with copytruncate")


class _ToDescriptor(_NeverWaits):
    """Writes to a descriptor. Other processes share it, so poll(2) is used instead of making it non-blocking."""

    def __init__(self, fd: int) -> None:
        if is_journal(fd):  # it records the time itself, and takes the priority from the first characters
            super().__init__("<{severity}>[{process}] ", "<{severity}>")
        else:
            super().__init__(_HEAD)
        self._fd = fd
        # pty-input may have put the terminal into raw mode.
        self._line_end = b"\r\n" if os.isatty(fd) else b"\n"

    def descriptor(self) -> int:
        return self._fd

    def _write(self, line: bytes, level: int) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        line += self._line_end
        return bool(poll.poll(0)) and os.write(self._fd, line) == len(line)


class _ToFile(_ToDescriptor):
    def __init__(self, path: str, fd: int | None = None) -> None:
        """Opens the file, as descriptor `fd` if given; raises OSError."""
        self.path = path
        opened = _open(path)
        if fd is not None:
            os.dup2(opened, fd)
            os.close(opened)
        super().__init__(opened if fd is None else fd)

    def reopen(self, *, complains: bool) -> None:
        self._check_root()
        opened = _open(self.path)
        os.dup2(opened, self._fd, inheritable=self._fd <= 2)
        os.close(opened)
        if self._fd == 2:
            os.dup2(2, 1)


class _ToWriter(_ToDescriptor):
    """Writes to descriptor 2, which becomes a socket; another process writes to the file. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._writer = FileWriter(partial(_open, path), partial(_complaint, path))
        self.path = path
        os.dup2(self._writer.stream.fileno(), 2)
        self._writer.stream.close()
        super().__init__(2)

    def reopen(self, *, complains: bool) -> None:
        if complains:  # all processes of the router share the writer
            self._writer.reopen()

    def flush(self) -> None:
        self._writer.flush()


def _complaint(path: str, error: OSError) -> bytes:
    record = Record(WARNING, _NOT_REOPENED, (path, error.strerror))
    return _formatter(_HEAD).format(record).encode("utf-8", "backslashreplace") + b"\n"


class _ToSyslog(_NeverWaits):
    """Sends datagrams to the syslog daemon's socket. syslog(3) does the same, but could block."""

    def __init__(self, where: Syslog) -> None:
        head = where.name.replace("{", "{{").replace("}", "}}") + "[{process}]: "
        super().__init__(head, head)
        self._facility = where.facility
        self._socket: socket.socket | None = None
        self._connect()

    def descriptor(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def _connect(self) -> socket.socket:
        self._check_root()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(SYSLOG_SOCKET)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        return sock

    def _write(self, line: bytes, level: int) -> bool:
        moment = time.strftime("%b %e %H:%M:%S")
        packet = f"<{self._facility | _severity(level)}>{moment} ".encode() + line
        sock = self._socket or self._connect()
        try:
            sock.send(packet)
        except (ConnectionError, OSError) as error:
            if isinstance(error, BlockingIOError):
                return False
            # The daemon may have been restarted and have a new socket.
            sock.close()
            self._socket = None
            self._connect().send(packet)
        return True


def _open(path: str) -> int:
    """Opens a file for appending. A new file has mode 0640, as in uWSGI. A FIFO without a reader is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = foreign_root.open_file(path, flags, 0o640)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, True)
    return fd


@dataclass
class _Settings:
    format: str = "text"
    level: int = INFO


_settings = _Settings()
_handlers: list[_NeverWaits] = []


def _add(handler: _NeverWaits) -> None:
    _handlers.append(handler)
    logger.handlers.append(handler)
    logger.level = _settings.level


def start(destinations: Sequence[Destination], level: int = INFO, line_format: str = "text") -> None:
    """Starts logging to these destinations, or to standard error if there are none.

    level, line_format: as log_level() and log_format() return them. Raises FastptyError if a destination cannot be
    opened.
    """
    _settings.level, _settings.format = level, line_format
    if not destinations:
        _add(_ToDescriptor(2))
    for where in destinations:
        try:
            _add(_ToFile(where.path) if isinstance(where, LogFile) else _ToSyslog(where))
        except OSError as error:
            name = where.path if isinstance(where, LogFile) else SYSLOG_SOCKET
            raise FastptyError(f"cannot log to {name}: {error.strerror}") from error


def redirect(path: str | None) -> None:
    """Sends standard output and standard error of this process and its children to a file. Raises FastptyError."""
    if path is None:
        return
    try:
        handler = _ToWriter(path) if foreign_root.is_entered() else _ToFile(path, 2)
    except OSError as error:
        raise FastptyError(f"cannot log to {path}: {error.strerror}") from error
    os.dup2(2, 1)
    for known in [*_handlers]:
        if isinstance(known, _ToDescriptor) and known._fd == 2:
            _handlers.remove(known)
            logger.handlers.remove(known)
            _add(handler)


def descriptors() -> set[int]:
    """The descriptors that the log is written to."""
    return {fd for handler in _handlers if (fd := handler.descriptor()) is not None}


def reopen(*, complains: bool = True) -> None:
    """Opens the log files again after they were renamed (logrotate(8)). If that fails, the old file stays in use."""
    for handler in _handlers:
        if isinstance(handler, (_ToFile, _ToWriter)):
            try:
                handler.reopen(complains=complains)
            except OSError as error:
                if complains:
                    logger.warning(_NOT_REOPENED, handler.path, error.strerror)


def flush() -> None:
    """Waits up to a second for the process that writes the log, if there is one."""
    for handler in _handlers:
        handler.flush()
