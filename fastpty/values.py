"""From an option's text to its typed value.

Each function raises ValueError (or UsageError) with a text that fits after the option's name. Rules and names are
uWSGI's (2.0.21, measured) unless the function says otherwise.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from fastpty.address import Address
from fastpty.address import parse as parse_address

T = TypeVar("T")

# Linux's clone flags (sched.h), under the names uWSGI 2.0.21 accepts; `cgroup` is ours.
NAMESPACE_FLAGS: dict[str, int] = {
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "net": 0x4000_0000,
    "mount": 0x0002_0000,
    "cgroup": 0x0200_0000,
    "files": 0x0000_0400,
    "sysvsem": 0x0004_0000,
}
_NAMESPACE_ALIASES = {"fs": "mount", "mnt": "mount", "ns": "mount"}
# These need more than one unshare(2) before the fork: a first process, id maps, clock offsets.
_NAMESPACES_TO_COME = ("pid", "user", "time")

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
    raise ValueError(f"{value!r} is neither true nor false")


def one(parse: Callable[[str], T]) -> Callable[[str], tuple[T]]:
    """`parse`, for a repeatable option that holds one value a time."""
    return lambda value: (parse(value),)


def address(value: str) -> Address:
    """An address to listen on, see `fastpty.address.parse`."""
    return parse_address(text(value))


def _whole(value: str, low: int, high: int) -> int:
    # int() would also take "1_000", "+5", blanks and other alphabets' digits.
    if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
        raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
    return int(value)


def window_edge(value: str) -> int:
    """Rows or columns of a terminal: what fits the kernel's unsigned short."""
    return _whole(value, 0, 65535)


def process_count(value: str) -> int:
    """How many processes do the same work."""
    return _whole(value, 1, 1024)


def backlog(value: str) -> int:
    """The listen queue; like uWSGI it refuses more than the kernel grants, which would cut it silently."""
    try:
        bound = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        bound = 65535
    wanted = _whole(value, 1, 2**31 - 1)
    if wanted > bound:
        raise ValueError(f"{value} is more than the kernel grants ({bound}): raise net.core.somaxconn first")
    return wanted


def seconds(value: str) -> float:
    """A finite time, zero or more."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{value!r} is not a number of seconds")
    return number


def positive_seconds(value: str) -> float:
    """A finite time of more than zero."""
    number = seconds(value)
    if number == 0:
        raise ValueError("must be more than 0 seconds; leave it out for no limit")
    return number


def mode(value: str) -> int:
    """Permissions in octal, as uWSGI wants them: 600, 0660, 666."""
    if not (value and len(value) <= 4 and set(value) <= set("01234567") and int(value, 8) <= 0o777):
        raise ValueError(f"{value!r} is not an octal mode such as 660")
    return int(value, 8)


def comma_list(value: str) -> tuple[str, ...]:
    """The words between commas; empty ones do not count, as in uWSGI."""
    return tuple(word for part in value.split(",") if (word := part.strip()))


def namespaces(value: str) -> tuple[str, ...]:
    """The namespaces to unshare, under the names of NAMESPACE_FLAGS."""
    names = tuple(_NAMESPACE_ALIASES.get(name, name) for name in comma_list(value))
    if not names:
        raise ValueError("needs a value")
    for name in names:
        if name in _NAMESPACES_TO_COME:
            raise ValueError(f"{name!r} is not supported yet")
        if name not in NAMESPACE_FLAGS:
            known = ", ".join(sorted([*NAMESPACE_FLAGS, *_NAMESPACE_ALIASES]))
            raise ValueError(f"{name!r} is not a namespace (known: {known})")
    return names


def environment_entry(value: str) -> tuple[str, str]:
    """NAME=VALUE, to be set."""
    name, equals, content = value.partition("=")
    if not (name and equals):
        raise ValueError(f"{value!r} is not NAME=VALUE")
    return name, content


def environment_removal(value: str) -> tuple[str, None]:
    """NAME, to be removed."""
    if not value or "=" in value:
        raise ValueError(f"{value!r} is not the name of a variable")
    return value, None


def directory(value: str) -> str:
    """A directory, made absolute: from then on it means the same whatever the current one is."""
    return os.path.abspath(text(value))


def _account(kind: str, value: str, find: Callable[[str], int], known: Callable[[], Iterable[str]]) -> int:
    # Numbers first, as in uWSGI.
    if value.isascii() and value.isdigit():
        return _whole(value, 0, _ID_LIMIT - 1)
    try:
        return find(text(value))
    except KeyError:
        close = get_close_matches(value, known(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"no {kind} {value!r} here{hint}") from None


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


def owner(value: str) -> tuple[int, int]:
    """USER or USER:GROUP, as (uid, gid) for chown(2); gid is -1, unchanged, where no group is given."""
    name, colon, group_name = value.partition(":")
    return user(name), group(group_name) if colon else -1
