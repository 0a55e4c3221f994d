"""From an option's text to its typed value.

Each function raises ValueError (or UsageError) with a text that fits after the option's name. Rules and names are
uWSGI's (2.0.21, measured) unless the function says otherwise.
"""

from __future__ import annotations

import contextlib
import grp
import math
import os
import pwd
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from fastpty.log import FACILITIES, Destination, LogFile, Syslog
from fastpty.net.address import Address
from fastpty.net.address import parse as parse_address
from fastpty.system import linux

T = TypeVar("T")

# Under the names uWSGI 2.0.21 accepts; `cgroup` and `time` are ours.
NAMESPACE_FLAGS: dict[str, int] = {
    "uts": linux.CLONE_NEWUTS,
    "ipc": linux.CLONE_NEWIPC,
    "net": linux.CLONE_NEWNET,
    "mount": linux.CLONE_NEWNS,
    "pid": linux.CLONE_NEWPID,
    "user": linux.CLONE_NEWUSER,
    "cgroup": linux.CLONE_NEWCGROUP,
    "time": linux.CLONE_NEWTIME,
    "files": linux.CLONE_FILES,
    "sysvsem": linux.CLONE_SYSVSEM,
}
_NAMESPACE_ALIASES = {"fs": "mount", "mnt": "mount", "ns": "mount"}

# capabilities(7), in the order of their numbers.
_CAPABILITY_NAMES = """
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
"""
CAPABILITIES: dict[str, int] = {name: number for number, name in enumerate(_CAPABILITY_NAMES.split())}

# More than any machine has ptys for; `fastpty.limits` numbers seats with it.
SESSIONS_MOST = 2**20

# As many listening sockets as the relay has room for (LISTENERS_MOST of _listeners.pxd).
LISTENERS_MOST = 64

# Some 31 years; the relay counts nanoseconds in 64 bits.
_SECONDS_MOST = 1_000_000_000
_SECONDS_LEAST = 0.001

# A worker's turn is not measured finer.
_HARAKIRI_LEAST = 1.0

# No number that an option takes has more digits, leading zeros and fractions included.
_DIGITS_MOST = 32
_SHOWN_MOST = 80

# (uid_t)-1 and (gid_t)-1 mean "leave unchanged" to the kernel, so they cannot be ids.
_ID_LIMIT = 2**32 - 1


def text(value: str) -> str:
    """A text that must not be empty."""
    if not value:
        raise ValueError("needs a value")
    return value


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


def shown(value: str) -> str:
    """A value for a message: as it is written, or the beginning of a long one."""
    return value if len(value) <= _SHOWN_MOST else f"{value[:_SHOWN_MOST]}…"


def quoted(value: str) -> str:
    """The same in quotes."""
    return repr(shown(value))


def _is_number(value: str) -> bool:
    # int() would also take "1_000", "+5", blanks and other alphabets' digits; and a megabyte of digits for minutes.
    return value.isascii() and value.isdigit() and len(value) <= _DIGITS_MOST


def whole(value: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not (_is_number(value) and low <= int(value) <= high):
        raise ValueError(f"{quoted(value)} is not a whole number from {low} to {high}")
    return int(value)


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
        number = float(value if len(value) <= _DIGITS_MOST else "nan")
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


def mode(value: str) -> int:
    """Permissions in octal, in three or four digits: 660, 0660. uWSGI takes no fewer either: 7 could mean 0700."""
    if not (re.fullmatch("[0-7]{3,4}", value) and int(value, 8) <= 0o777):
        raise ValueError(f"{quoted(value)} is not an octal mode of three or four digits such as 660")
    return int(value, 8)


def socket_mode(value: str) -> int:
    """Permissions of a socket file; 1 means 666, as in uWSGI ("for lazy and brave users")."""
    return 0o666 if value == "1" else mode(value)


def comma_list(value: str) -> tuple[str, ...]:
    """The words between commas; empty ones do not count, as in uWSGI."""
    return tuple(word for part in value.split(",") if (word := part.strip()))


def namespaces(value: str) -> tuple[str, ...]:
    """The namespaces to unshare, under the names of NAMESPACE_FLAGS."""
    names = tuple(_NAMESPACE_ALIASES.get(name, name) for name in comma_list(value))
    if not names:
        raise ValueError("needs a value")
    for name in names:
        if name not in NAMESPACE_FLAGS:
            known = ", ".join(sorted([*NAMESPACE_FLAGS, *_NAMESPACE_ALIASES]))
            raise ValueError(f"{quoted(name)} is not a namespace (known: {known})")
    return names


def capabilities(value: str) -> tuple[int, ...]:
    """The numbers of capabilities, from their names with or without cap_ before them; uWSGI wants them without."""
    numbers = []
    for word in comma_list(value):
        name = word.lower().removeprefix("cap_")
        if name not in CAPABILITIES:
            close = get_close_matches(shown(name), CAPABILITIES, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else " (see capabilities(7))"
            raise ValueError(f"{quoted(word)} is not a capability{hint}")
        numbers.append(CAPABILITIES[name])
    if not numbers:
        raise ValueError("needs a value")
    return tuple(numbers)


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


def environment_entry(value: str) -> tuple[str, str]:
    """NAME=VALUE, to be set."""
    name, equals, content = value.partition("=")
    if not (name and equals):
        raise ValueError(f"{quoted(value)} is not NAME=VALUE")
    return name, content


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


def _account(kind: str, value: str, find: Callable[[str], int], known: Callable[[], Iterable[str]]) -> int:
    # Numbers first, as in uWSGI.
    if value.isascii() and value.isdigit():
        return whole(value, 0, _ID_LIMIT - 1)
    try:
        return find(text(value))
    except KeyError:
        close = get_close_matches(shown(value), known(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"no {kind} {quoted(value)} here{hint}") from None


def user(value: str) -> int:
    """A user's id, from a name or a number."""
    return _account(
        "user", value, lambda name: pwd.getpwnam(name).pw_uid, lambda: (entry[0] for entry in pwd.getpwall())
    )


def group(value: str) -> int:
    """A group's id, from a name or a number."""
    return _account(
        "group", value, lambda name: grp.getgrnam(name).gr_gid, lambda: (entry[0] for entry in grp.getgrall())
    )


def tls_user(value: str) -> tuple[str, int]:
    """NAME=USER, as (name of a certificate, uid)."""
    name, equals, account = value.rpartition("=")
    if not (name and equals):
        raise ValueError(f"{quoted(value)} is not NAME=USER, a name of a certificate and a user here")
    return text(name), user(account)


def owner(value: str) -> tuple[int, int]:
    """USER or USER:GROUP, as (uid, gid) for chown(2); gid is -1, unchanged, where no group is given."""
    name, colon, group_name = value.partition(":")
    return user(name), group(group_name) if colon else -1
