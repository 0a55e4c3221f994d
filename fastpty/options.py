"""The one table of options: command-line flags, ini keys, defaults and help all come from it.

Names and meanings are uWSGI's where uWSGI has the option (2.0.21, measured); ours say so in their help.
"""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from fastpty.address import Address
from fastpty.address import parse as parse_address

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Setting:
    """One thing the person wrote: an option's name as spelled, its value, and where it stands.

    `value` is None where none was written (`--master`, or a bare `master` line). `origin` is `FILE:LINE`, or
    `COMMAND_LINE`.
    """

    name: str
    value: str | None
    origin: str = COMMAND_LINE

    @property
    def label(self) -> str:
        """How to name this setting at the start of a message."""
        return f"--{self.name}" if self.origin == COMMAND_LINE else f"{self.origin}: {self.name}"


@dataclass(frozen=True)
class Option:
    """One option, whether it is written as `--name value` or as `name = value`.

    `field` is the attribute of Config it fills, or None where the command line itself deals with it. `parse`
    turns the text into the typed value and raises ValueError with a text that fits after the option's name. A
    `repeatable` option's `parse` gives a tuple, and the tuples of all its settings are joined. `default` is
    text, for `parse`. `bare` is what the option means when written without a value; an option without `bare`
    needs one. An option with no `metavar` is a flag: it takes no value on the command line (in a file it may:
    `master = true`).
    """

    name: str
    field: str | None
    parse: Callable[[str], object]
    group: str
    help: str
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    default: str | None = None
    repeatable: bool = False
    bare: str | None = None
    in_files: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling, the main one first."""
        return (self.name, *self.aliases)

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone on the command line."""
        return self.metavar is None

    def default_value(self) -> object:
        """The typed value where nothing was set."""
        if self.default is not None:
            return self.parse(self.default)
        if self.repeatable:
            return ()
        return False if self.is_flag else None


T = TypeVar("T")

# From an option's text to its typed value: each function raises ValueError with a text fit for the person.

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


SOCKETS = "Sockets"
SESSIONS = "Sessions"
JAIL = "Jail"
GENERAL = "General"

# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("forkpty-router", "raw_addresses", one(address), SOCKETS,
           "listen here for raw clients: bytes in, bytes out (socat, a short script)",
           metavar="ADDR", aliases=("forkptyrouter",), repeatable=True),
    Option("forkpty-urouter", "uwsgi_addresses", one(address), SOCKETS,
           "listen here for uwsgi clients, which can resize the terminal and send signals",
           metavar="ADDR", aliases=("forkptyurouter",), repeatable=True),
    Option("chmod-socket", "socket_mode", mode, SOCKETS,
           "octal permissions of the socket files; 0666 when MODE is left out",
           metavar="MODE", default="0600", bare="0666"),
    Option("chown-socket", "socket_owner", owner, SOCKETS,
           "owner of the socket files", metavar="USER[:GROUP]"),
    Option("listen", "backlog", backlog, SOCKETS,
           "how many connections may wait to be accepted", metavar="N", default="100"),
    Option("insecure-tcp", "insecure_tcp", boolean, SOCKETS,
           "allow TCP addresses that are not loopback, where anybody may connect (fastpty's own)",
           bare="true"),
    Option("forkptyrouter-command", "command", text, SESSIONS,
           "what each connection runs; with a blank in it, through /bin/sh -c",
           metavar="CMD", default="/bin/sh",
           aliases=("forkptyrouter-cmd", "forkpty-router-command", "forkpty-router-cmd")),
    Option("forkptyrouter-rows", "rows", window_edge, SESSIONS,
           "rows of a new terminal", metavar="N", default="24", aliases=("forkpty-router-rows",)),
    Option("forkptyrouter-cols", "cols", window_edge, SESSIONS,
           "columns of a new terminal", metavar="N", default="80", aliases=("forkpty-router-cols",)),
    Option("forkptyrouter-processes", "processes", process_count, SESSIONS,
           "relay in so many processes, for machines with many busy sessions",
           metavar="N", default="1",
           aliases=("forkptyrouter-workers", "forkpty-router-processes", "forkpty-router-workers")),
    Option("forkptyrouter-timeout", "idle_timeout_seconds", positive_seconds, SESSIONS,
           "end a session that was idle for so long; left out, no session is ended",
           metavar="SECONDS", aliases=("forkpty-router-timeout",)),
    Option("stop-timeout", "stop_timeout_seconds", seconds, SESSIONS,
           "time between SIGHUP and SIGKILL for what is left of a session; 0 kills at once (fastpty's own)",
           metavar="SECONDS", default="10"),
    Option("splice", "splice", boolean, SESSIONS,
           "move streams with splice(2); where the kernel refuses, off by itself (fastpty's own)",
           metavar="on|off", default="on"),
    Option("env", "environment", one(environment_entry), SESSIONS,
           "set an environment variable", metavar="NAME=VALUE", repeatable=True),
    Option("unenv", "environment", one(environment_removal), SESSIONS,
           "remove an environment variable", metavar="NAME", repeatable=True),
    Option("unshare", "unshare", namespaces, JAIL,
           "new namespaces, a comma list of uts, ipc, net, mount (or fs, mnt, ns), cgroup, files, sysvsem",
           metavar="NAMES", repeatable=True),
    Option("exec-as-root", "exec_as_root", one(text), JAIL,
           "run this through /bin/sh -c before privileges are dropped; if it fails, nothing starts",
           metavar="CMD", repeatable=True),
    Option("uid", "uid", user, JAIL, "become this user, a name or a number", metavar="USER"),
    Option("gid", "gid", group, JAIL,
           "become this group, a name or a number; the user's own when only uid is given", metavar="GROUP"),
    Option("chdir", "chdir", directory, JAIL, "work in this directory, once in the jail", metavar="DIR"),
    Option("ini", None, text, GENERAL, "read settings from this file; flags win over files",
           metavar="FILE", repeatable=True, in_files=False),
    Option("strict", "strict", boolean, GENERAL,
           "refuse a file with an unknown option, instead of a warning", bare="true"),
    Option("master", "master", boolean, GENERAL,
           "accepted so that uWSGI's files run as they stand; changes nothing", bare="true"),
    Option("plugins", "plugins", comma_list, GENERAL,
           "accepted so that uWSGI's files run as they stand; loads nothing",
           metavar="NAMES", aliases=("plugin", "need-plugin", "need-plugins"), repeatable=True),
    Option("help", None, boolean, GENERAL, "show this and exit", bare="true", in_files=False),
    Option("version", None, boolean, GENERAL, "show the version and exit", bare="true", in_files=False),
)
# fmt: on

BY_NAME: dict[str, Option] = {name: option for option in OPTIONS for name in option.names}

PLUGINS_BUILT_IN = frozenset({"corerouter", "forkptyrouter", "pty"})
"""The uWSGI plugins whose work this program does by itself."""

IGNORED = frozenset({"autoload", "die-on-term", "force-gateway", "no-orphans", "plugin-dir", "plugins-dir", "vacuum"})
"""uWSGI keys that may stand in a router's file and ask for nothing that is missing here."""

_CONFINING = frozenset(
    {
        # another root, other namespaces, other control groups
        *("chroot", "pivot-root", "pivot_root", "jailed", "jail", "jail2", "jail-attach", "unshare2"),
        *("namespace", "ns", "namespace-net", "ns-net", "namespace-keep-mount"),
        *("setns", "setns-preopen", "setns-socket", "setns-socket-skip", "setns-skip"),
        *("cgroup", "cgroup-opt", "cgroup-dir-mode"),
        # fewer rights and resources
        *("cap", "immediate-uid", "immediate-gid", "add-gid", "no-initgroups"),
        *("umask", "limit-as", "limit-nproc", "file-write"),
        # other files, which may hold any of these
        *("include", "inherit", "config", "ini", "xml", "yaml", "yml", "json"),
    }
)
_CONFINING_FAMILIES = re.compile(
    r"(seccomp|apparmor|selinux|landlock)(-.*)?"
    # steps that build the jail
    r"|(hook|exec|mount|umount|call)-(asap|pre-jail|post-jail|in-jail|as-root|as-user)"
    # logic: with its frame ignored, what stands inside would always apply
    r"|(end-?)?(if|for)(-.*)?|if[a-z]+"
)


def is_confining(name: str) -> bool:
    """Whether uWSGI's key `name` is one whose silent absence could leave the shell less confined."""
    option = BY_NAME.get(name)
    if option is not None and option.in_files:
        return False
    return name in _CONFINING or _CONFINING_FAMILIES.fullmatch(name) is not None


def nearest(name: str, *, in_files: bool) -> str | None:
    """The known option name most like `name`, or None where none is alike."""
    known = [known for known, option in BY_NAME.items() if option.in_files or not in_files]
    close = get_close_matches(name, known, n=1, cutoff=0.7)
    return close[0] if close else None
