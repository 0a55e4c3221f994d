"""From an option's text to its typed value.

Each function raises ValueError (or UsageError) with a text that fits after the option's name. Rules and names are
uWSGI's (2.0.21, measured) unless the function says otherwise.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fastpty.log import FACILITIES, Destination, LogFile, Syslog
from fastpty.net.address import Address
from fastpty.net.address import parse as parse_address
from fastpty.system.names import DIGITS_MOST, _is_number, mode, quoted, text, user, whole

T = TypeVar("T")

# More than any machine has ptys for; `fastpty.limits` numbers seats with it.
SESSIONS_MOST = 2**20

# As many listening sockets as the relay has room for (LISTENERS_MOST of relay/accept.pxd).
LISTENERS_MOST = 64

# Some 31 years; the relay counts nanoseconds in 64 bits.
_SECONDS_MOST = 1_000_000_000
_SECONDS_LEAST = 0.001

# A worker's turn is not measured finer.
_HARAKIRI_LEAST = 1.0


def boolean(value: str) -> bool:
    """Yes or no. As in uWSGI an empty value means yes, and false, off, no and 0 mean no, in any case.

    uWSGI takes everything else as yes; here it must be true, on, yes or 1, so that a slip does not switch on
    what it meant to leave off.
    """
    word = value.lower()
    if word in ("", "true", "on", "yes", "1"):
        return True
    if word in ("false", "off", "no", "0"):
        return False
    raise ValueError(f"{quoted(value)} is neither true nor false")


def event_count(value: str) -> int:
    """How many events one turn of the relay takes; the upper bound is the relay's."""
    return whole(value, 1, 1024)


def microseconds(value: str) -> int:
    """A time so short that a process may spend it waiting without sleep: 0 to 10 ms."""
    return whole(value, 0, 10000)


def log_file(value: str) -> str:
    """A file to log to, made absolute. uWSGI also takes HOST:PORT, and logs there over UDP."""
    if re.fullmatch(r"[^/]*:[0-9]+", value):
        raise ValueError(f"{quoted(value)} is a UDP address: log to a file, or use logger = syslog")
    return os.path.abspath(text(value))


def log_destination(value: str) -> Destination:
    """[NAME ]file:PATH or [NAME ]syslog[:IDENT[,FACILITY]]; the name is uWSGI's, for routes, and means nothing here."""
    kind, _, rest = value.rpartition(" ")[2].partition(":")
    if kind == "file":
        return LogFile(log_file(rest))
    if kind == "syslog":
        return syslog(rest)
    raise ValueError(f"{quoted(value)}: there is only file:PATH and syslog[:IDENT[,FACILITY]]")


def syslog(value: str) -> Syslog:
    """[IDENT][,FACILITY]"""
    ident, _, facility = value.partition(",")
    if (facility or "daemon") not in FACILITIES:
        raise ValueError(f"{facility!r} is not a facility (known: {', '.join(FACILITIES)})")
    return Syslog(ident or Syslog.name, FACILITIES[facility or "daemon"])


def one(parse: Callable[[str], T]) -> Callable[[str], tuple[T]]:
    """`parse`, for a repeatable option that holds one value a time."""
    return lambda value: (parse(value),)


def address(value: str) -> Address:
    """An address to listen on, see `fastpty.address.parse`."""
    return parse_address(text(value))


def window_edge(value: str) -> int:
    """Rows or columns of a terminal: what fits the kernel's unsigned short."""
    return whole(value, 0, 65535)


def process_count(value: str) -> int:
    """How many processes do the same work."""
    return whole(value, 1, 1024)


def session_count(value: str) -> int:
    """How many sessions there may be at a time."""
    return whole(value, 1, SESSIONS_MOST)


def startup_count(value: str) -> int:
    """How many connections may be shaking hands at a time; each has a thread."""
    return whole(value, 1, 1024)


def run_as(value: str) -> str:
    """Whom sessions run as; there is one choice besides leaving it out."""
    if value != "peer":
        raise ValueError(
            f"{quoted(value)} is not known: peer, or leave it out (uid and gid change the router itself)"
        )
    return value


def byte_count(value: str) -> int:
    """A number of bytes, up to 1 GiB; K and M stand for 1024 and 1024 * 1024."""
    digits = value.rstrip("KkMm")
    unit = {"": 1, "k": 1024, "m": 1024 * 1024}.get(value[len(digits) :].lower())
    if unit is None or not (_is_number(digits) and int(digits) * unit <= 2**30):
        raise ValueError(f"{quoted(value)} is not a number of bytes from 0 to 1024M")
    return int(digits) * unit


def buffer_size(value: str) -> int:
    """How many bytes the relay holds for one direction of a session; the bounds are the relay's."""
    with contextlib.suppress(ValueError):
        if 4096 <= byte_count(value) <= 65536:
            return byte_count(value)
    raise ValueError(f"{quoted(value)} is not a number of bytes from 4K to 64K")


def backlog(value: str) -> int:
    """The listen queue; like uWSGI it refuses more than the kernel grants, which would cut it silently."""
    try:
        bound = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        bound = 65535
    wanted = whole(value, 1, 2**31 - 1)
    if wanted > bound:
        raise ValueError(f"{wanted} is more than the kernel grants ({bound}): raise net.core.somaxconn first")
    return wanted


def seconds(value: str) -> float:
    """A time, zero or more."""
    try:
        number = float(value if len(value) <= DIGITS_MOST else "nan")
    except ValueError:
        number = math.nan
    if not 0 <= number <= _SECONDS_MOST:
        raise ValueError(f"{quoted(value)} is not a number of seconds from 0 to {_SECONDS_MOST}")
    return number


def positive_seconds(value: str) -> float:
    """A time that is a limit: the relay would take less than a nanosecond for none."""
    number = seconds(value)
    if number < _SECONDS_LEAST:
        raise ValueError(f"must be at least {_SECONDS_LEAST} seconds; leave it out for no limit")
    return number


def harakiri_seconds(value: str) -> float:
    """How long a worker may be in one turn of its loop. uWSGI takes whole seconds, so one is its least as well.

    A turn may start a session for each of its events, and wait for a processor on a busy machine: a healthy worker may
    well take some tenths of a second.
    """
    number = seconds(value)
    if number < _HARAKIRI_LEAST:
        raise ValueError(f"must be at least {_HARAKIRI_LEAST:g} second, or healthy workers would be killed")
    return number


def socket_mode(value: str) -> int:
    """Permissions of a socket file; 1 means 666, as in uWSGI ("for lazy and brave users")."""
    return 0o666 if value == "1" else mode(value)


def process(value: str) -> int:
    """A process id."""
    return whole(value, 1, 2**22)


def new_and_old_root(value: str) -> tuple[str, str]:
    """`NEW OLD`: two directories, OLD written as it is seen from outside, below NEW; OLD is returned relative to NEW.

    uWSGI takes off as many characters as NEW has and looks no further.
    """
    new, _, old = value.partition(" ")
    if not (new and old):
        raise ValueError(f"{quoted(value)} is not NEW_ROOT PUT_OLD")
    new, old = os.path.abspath(new), os.path.abspath(old)
    if not old.startswith(new.rstrip("/") + "/"):
        raise ValueError(f"{old} is not below {new}: the old root is put into a directory of the new one")
    return new, os.path.relpath(old, new)


def spaced(value: str) -> str:
    """A text that a blank follows."""
    return text(value) + " "


def environment_removal(value: str) -> tuple[str, None]:
    """NAME, to be removed."""
    if not value or "=" in value:
        raise ValueError(f"{quoted(value)} is not the name of a variable")
    return value, None


def cgroup(value: str) -> str:
    """A directory of the cgroup2 file system, made absolute, or `own`."""
    return value if value == "own" else directory(value)


def directory(value: str) -> str:
    """A directory, made absolute: from then on it means the same whatever the current one is."""
    return os.path.abspath(text(value))


def tls_user(value: str) -> tuple[str, int]:
    """NAME=USER, as (name of a certificate, uid)."""
    name, equals, account = value.rpartition("=")
    if not (name and equals):
        raise ValueError(f"{quoted(value)} is not NAME=USER, a name of a certificate and a user here")
    return text(name), user(account)
