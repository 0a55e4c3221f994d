"""Turns the text of an option into its typed value.

Each function raises ValueError (or UsageError) with a text that fits after the option's name. Rules and names are
uWSGI's (2.0.21, measured) unless the function says otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from fastpty.configuration.config import SESSIONS_MOST
from fastpty.log import FACILITIES, Destination, LogFile, Syslog
from fastpty.net.address import Address
from fastpty.net.address import parse as parse_address
from fastpty.system.names import DIGITS_MOST, mode, quoted, text, user, whole

T = TypeVar("T")

# About 31 years; the relay counts nanoseconds in 64 bits.
_SECONDS_MOST = 1_000_000_000
_SECONDS_LEAST = 0.001
_SECONDS_OF = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)

_BYTES_MOST = 1 << 30
_BYTES_OF = {"": 1, "k": 1 << 10, "m": 1 << 20}

_HARAKIRI_LEAST = 1.0


def boolean(value: str) -> bool:
    """Returns True for true, on, yes, 1 and the empty value, False for false, off, no and 0; case does not matter.

    uWSGI takes every other word as true. Here it is an error, so that a typing mistake does not switch an option on.
    """
    word = value.lower()
    if word in ("", "true", "on", "yes", "1"):
        return True
    if word in ("false", "off", "no", "0"):
        return False
    raise ValueError(f"{quoted(value)} is neither true nor false")


def event_count(value: str) -> int:
    """The number of events that the relay handles in one turn. The upper bound is the relay's."""
    return whole(value, 1, 1024)


def microseconds(value: str) -> int:
    """A time in microseconds, at most 10 ms."""
    return whole(value, 0, 10000)


def log_file(value: str) -> str:
    """The absolute path of a log file. uWSGI also accepts HOST:PORT, and logs there over UDP."""
    if re.fullmatch(r"[^/]*:[0-9]+", value):
        raise ValueError(
            f"{quoted(value)} is a UDP address, which is not supported: log to a file, or use log-syslog"
        )
    return os.path.abspath(text(value))


def log_destination(value: str) -> Destination:
    """[NAME ]file:PATH or [NAME ]syslog[:IDENT[,FACILITY]]. NAME is for uWSGI's log routes and is ignored."""
    kind, _, rest = value.rpartition(" ")[2].partition(":")
    if kind == "file":
        return LogFile(log_file(rest))
    if kind == "syslog":
        return syslog(rest)
    raise ValueError(f"{quoted(value)} is neither file:PATH nor syslog[:IDENT[,FACILITY]]")


def syslog(value: str) -> Syslog:
    """[IDENT][,FACILITY]"""
    ident, _, facility = value.partition(",")
    if (facility or "daemon") not in FACILITIES:
        raise ValueError(f"{facility!r} is not a syslog facility (known: {', '.join(FACILITIES)})")
    return Syslog(ident or Syslog.name, FACILITIES[facility or "daemon"])


def one(parse: Callable[[str], T]) -> Callable[[str], tuple[T]]:
    """`parse` for a repeatable option: its value becomes a tuple of one."""
    return lambda value: (parse(value),)


def address(value: str) -> Address:
    """An address to listen on, see fastpty.net.address.parse."""
    return parse_address(text(value))


def window_edge(value: str) -> int:
    """Rows or columns of a terminal. The kernel stores them in an unsigned short; 0 means an unknown size."""
    return whole(value, 1, 65535)


def window_size(value: str) -> tuple[int, int] | None:
    """Rows and columns, such as 40x120; None for the word `smallest`."""
    if value == "smallest":
        return None
    rows, by, columns = value.partition("x")
    if not by:
        raise ValueError("must be smallest or ROWSxCOLS, such as 40x120")
    return window_edge(rows), window_edge(columns)


def process_count(value: str) -> int:
    """A number of worker processes."""
    return whole(value, 1, 1024)


def session_count(value: str) -> int:
    """A number of concurrent sessions."""
    return whole(value, 1, SESSIONS_MOST)


def startup_count(value: str) -> int:
    """A number of concurrent TLS handshakes, each of which takes a thread."""
    return whole(value, 1, 1024)


def run_as(value: str) -> str:
    """The word `peer`, the only choice."""
    if value != "peer":
        raise ValueError(
            f"{quoted(value)} is not supported: the only value is peer (to run all sessions as one user, set uid)"
        )
    return value


def client_command(value: str) -> str:
    """One of the words `auto`, `yes` and `no`."""
    if value not in ("auto", "yes", "no"):
        raise ValueError(f"{quoted(value)} is none of auto, yes and no")
    return value


def byte_count(value: str) -> int:
    """A whole number of bytes, up to 1 GiB, with K or M for units of 1024 or 1024 * 1024."""
    count = None if "." in value else _with_unit(value, _BYTES_OF)
    if count is None or count > _BYTES_MOST:
        raise ValueError(f"{quoted(value)} is not a number of bytes from 0 to 1024M: write 65536 or 64K")
    return int(count)


def buffer_size(value: str) -> int:
    """The bytes that the relay buffers for one direction of a session. The bounds are the relay's."""
    with contextlib.suppress(ValueError):
        if 4096 <= byte_count(value) <= 65536:
            return byte_count(value)
    raise ValueError(f"{quoted(value)} is not a number of bytes from 4K to 64K")


def _with_unit(value: str, units: Mapping[str, int]) -> float | None:
    """The number that `30` or `30s` means, given what each unit counts; None if the text means none."""
    digits = value.rstrip("".join(units) + "".join(units).upper())
    unit = units.get(value[len(digits) :].lower())
    if unit is None or len(digits) > DIGITS_MOST or not _NUMBER.fullmatch(digits):
        return None
    return float(digits) * unit


def backlog(value: str) -> int:
    """The length of the listen queue. As in uWSGI, it may not exceed the kernel's limit, to which it would be cut."""
    try:
        bound = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        bound = 65535
    wanted = whole(value, 1, 2**31 - 1)
    if wanted > bound:
        raise ValueError(f"{wanted} is more than the kernel allows ({bound}): raise net.core.somaxconn first")
    return wanted


def seconds(value: str) -> float:
    """A time in seconds, zero or more: a number, with s, m, h or d for seconds, minutes, hours or days."""
    number = _with_unit(value, _SECONDS_OF)
    if number is None or not 0 <= number <= _SECONDS_MOST:
        raise ValueError(f"{quoted(value)} is not a time from 0 to {_SECONDS_MOST} seconds: write 30, 30s, 5m or 1h")
    return number


def positive_seconds(value: str) -> float:
    """A time limit in seconds. The relay would treat less than a nanosecond as no limit."""
    number = seconds(value)
    if number < _SECONDS_LEAST:
        raise ValueError(f"must be at least {_SECONDS_LEAST} seconds: remove the option for no limit")
    return number


def harakiri_seconds(value: str) -> float:
    """How long, in seconds, a worker may be in one turn of its loop. uWSGI's minimum is 1, too.

    In one turn a worker may start a session for each of its events and wait for a processor on a busy machine, so a
    turn of some tenths of a second is healthy.
    """
    number = seconds(value)
    if number < _HARAKIRI_LEAST:
        raise ValueError(f"must be at least {_HARAKIRI_LEAST:g} second: less would kill healthy workers")
    return number


def socket_mode(value: str) -> int:
    """The permissions of a socket file. 1 means 0666, as in uWSGI ("for lazy and brave users")."""
    return 0o666 if value == "1" else mode(value)


def process(value: str) -> int:
    """A process id."""
    return whole(value, 1, 2**22)


def new_and_old_root(value: str) -> tuple[str, str]:
    """NEW OLD: two directories, OLD below NEW. Returns NEW as an absolute path, and OLD relative to it.

    uWSGI cuts the first len(NEW) characters off OLD without looking at them.
    """
    new, _, old = value.partition(" ")
    if not (new and old):
        raise ValueError(f"{quoted(value)} is not NEW OLD, two directories with a space between them")
    new, old = os.path.abspath(new), os.path.abspath(old)
    if not old.startswith(new.rstrip("/") + "/"):
        raise ValueError(f"{old} is not below {new}: the old root must move to a directory inside the new one")
    return new, os.path.relpath(old, new)


def spaced(value: str) -> str:
    """The text with a space after it."""
    return text(value) + " "


def environment_removal(value: str) -> tuple[str, None]:
    """The variable NAME and None, which removes it."""
    if not value or "=" in value:
        raise ValueError(f"{quoted(value)} is not the name of a variable")
    return value, None


def cgroup(value: str) -> str:
    """The word `own`, or the absolute path of a directory of the cgroup2 file system."""
    return value if value == "own" else directory(value)


def directory(value: str) -> str:
    """An absolute path, which keeps its meaning when the working directory changes."""
    return os.path.abspath(text(value))


def tls_user(value: str) -> tuple[str, int]:
    """NAME=USER, as the name in a certificate and a uid."""
    name, equals, account = value.rpartition("=")
    if not (name and equals):
        raise ValueError(f"{quoted(value)} is not NAME=USER, a name in a certificate and a local user")
    return text(name), user(account)
