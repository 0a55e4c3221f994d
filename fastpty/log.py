"""The router's log: one line per event, on standard error, in files or to syslog; never waited for."""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import signal
import socket
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastpty.errors import FastptyError
from fastpty.system import foreign_root

logger = logging.getLogger("fastpty.router")

# pipe(7): what a pipe that poll(2) calls writable takes without blocking.
_LINE_BYTES_MOST = 4096

SYSLOG_SOCKET = "/dev/log"

# <sys/syslog.h>
_FACILITY_NAMES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp"
FACILITIES: dict[str, int] = {name: index << 3 for index, name in enumerate(_FACILITY_NAMES.split())}
FACILITIES |= {f"local{index}": (16 + index) << 3 for index in range(8)}

_RESERVE_BYTES = 1 << 20

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


@dataclass(frozen=True)
class LogFile:
    """A file to log to, absolute."""

    path: str


@dataclass(frozen=True)
class Syslog:
    """The system's log: under which name, and in which facility (syslog(3))."""

    name: str = "fastpty-router"
    facility: int = FACILITIES["daemon"]


Destination = LogFile | Syslog


class _OneLine(logging.Formatter):
    """Time in UTC, process, text; what a terminal or a log reader could mistake for more than text is escaped."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self._head = head

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        return self._head.format(time=f"{moment}.{int(record.msecs):03d}Z", process=record.process) + text


class _NeverWaits(logging.Handler):
    """Gives lines to whoever takes them at once, and drops and counts the others.

    A full disk or a log reader that stands still must not stop the sessions.
    """

    def __init__(self, head: str) -> None:
        super().__init__()
        self.setFormatter(_OneLine(head))
        self._lost = 0
        self._is_of_this_root = foreign_root.is_entered()
        # Address space that is given up for a moment where memory is short: a session's end is still told.
        self._reserve = bytearray(_RESERVE_BYTES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._emit(record)
        except MemoryError:
            del self._reserve[:]
            try:
                self._emit(record)
                self._reserve = bytearray(_RESERVE_BYTES)
            except MemoryError:
                self._lost += 1

    def _emit(self, record: logging.LogRecord) -> None:
        if self._lost:
            lost = logging.LogRecord(record.name, logging.ERROR, "", 0, "%d lines lost", (self._lost,), None)
            if not self._try(lost):
                self._lost += 1
                return
            self._lost = 0
        if not self._try(record):
            self._lost += 1

    def _try(self, record: logging.LogRecord) -> bool:
        line = self.format(record).encode("utf-8", "backslashreplace")[: _LINE_BYTES_MOST - 2]
        try:
            return self._write(line, record.levelno)
        except OSError:
            return False

    def _write(self, line: bytes, level: int) -> bool:
        raise NotImplementedError

    def reopen(self) -> None:
        """Begins anew, for a file that was moved away meanwhile; raises OSError."""

    def descriptor(self) -> int | None:
        """The one that it writes to, if there is one."""
        return None

    def _check_root(self) -> None:
        """Raises OSError where the handler's path means another file by now, which may be somebody else's."""
        if foreign_root.is_entered() and not self._is_of_this_root:
            raise OSError(errno.EXDEV, "it lies outside this root: rotate it with copytruncate")


class _ToDescriptor(_NeverWaits):
    """The descriptor is shared with other processes, so it is asked with poll(2) and not made non-blocking."""

    def __init__(self, fd: int) -> None:
        super().__init__("{time} fastpty-router[{process}] ")
        self._fd = fd
        # A terminal may be in raw mode, by a client that has it too.
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
        """Opens the file anew as `fd`, or as any descriptor; raises OSError."""
        self._path = path
        opened = _open(path)
        if fd is not None:
            os.dup2(opened, fd)
            os.close(opened)
        super().__init__(opened if fd is None else fd)

    def reopen(self) -> None:
        self._check_root()
        opened = _open(self._path)
        os.dup2(opened, self._fd, inheritable=self._fd <= 2)
        os.close(opened)
        if self._fd == 2:
            os.dup2(2, 1)


class _ToSyslog(_NeverWaits):
    """The local syslog daemon's datagram socket, as syslog(3) would, which could wait."""

    def __init__(self, where: Syslog) -> None:
        super().__init__(where.name.replace("{", "{{").replace("}", "}}") + "[{process}]: ")
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
        severity = 3 if level >= logging.ERROR else 4 if level >= logging.WARNING else 6
        moment = time.strftime("%b %e %H:%M:%S")
        packet = f"<{self._facility | severity}>{moment} ".encode() + line
        sock = self._socket or self._connect()
        try:
            sock.send(packet)
        except (ConnectionError, OSError) as error:
            if isinstance(error, BlockingIOError):
                return False
            # The daemon was restarted: its old socket is gone, perhaps there is a new one.
            sock.close()
            self._socket = None
            self._connect().send(packet)
        return True


def _open(path: str) -> int:
    """A file to append to, 0640 as uWSGI's when it is new. A FIFO without a reader fails instead of waiting."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = foreign_root.open_file(path, flags, 0o640)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, True)
    return fd


def _add(handler: _NeverWaits) -> None:
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False


def start(destinations: Sequence[Destination]) -> None:
    """Sends the log there, or where there are none to standard error. Raises FastptyError for one that cannot be."""
    if not destinations:
        _add(_ToDescriptor(2))
    for where in destinations:
        try:
            _add(_ToFile(where.path) if isinstance(where, LogFile) else _ToSyslog(where))
        except OSError as error:
            name = where.path if isinstance(where, LogFile) else SYSLOG_SOCKET
            raise FastptyError(f"cannot log to {name}: {error.strerror}") from error


def redirect(path: str | None) -> None:
    """Makes a file standard output and standard error, of this process and of what it starts. Raises FastptyError."""
    if path is None:
        return
    try:
        handler = _ToFile(path, 2)
    except OSError as error:
        raise FastptyError(f"cannot log to {path}: {error.strerror}") from error
    os.dup2(2, 1)
    for known in list(logger.handlers):
        if isinstance(known, _ToDescriptor) and known._fd == 2:
            logger.removeHandler(known)
            _add(handler)


def descriptors() -> set[int]:
    """Those that the log is written to."""
    handlers = [handler for handler in logger.handlers if isinstance(handler, _NeverWaits)]
    return {fd for handler in handlers if (fd := handler.descriptor()) is not None}


def reopen(*, complains: bool = True) -> None:
    """Opens the log's files anew, after they were moved away (logrotate(8)). What cannot be opened stays as it is."""
    for handler in logger.handlers:
        if isinstance(handler, _NeverWaits):
            try:
                handler.reopen()
            except OSError as error:
                if complains:
                    logger.warning("the log is not opened anew: %s", error.strerror)
