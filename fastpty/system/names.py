"""Parses modes, users, groups, namespaces and capabilities as people write them.

Each function raises ValueError with a text that fits after the name of an option. Rules and names are those of uWSGI
2.0.21, as measured, unless the function says otherwise.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable

from fastpty.system import linux

# The names that uWSGI 2.0.21 accepts, and `cgroup` and `time`.
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

# The most digits that a number in an option may have, with leading zeros and fractions.
DIGITS_MOST = 32
_SHOWN_MOST = 80

# (uid_t)-1 and (gid_t)-1 mean "leave unchanged" to the kernel, so they cannot be ids.
_ID_LIMIT = 2**32 - 1


def text(value: str) -> str:
    """Returns the value. It must not be empty."""
    if not value:
        raise ValueError("needs a value")
    return value


def shown(value: str) -> str:
    """Returns a value for a message, shortened if it is long."""
    return value if len(value) <= _SHOWN_MOST else f"{value[:_SHOWN_MOST]}…"


def quoted(value: str) -> str:
    """Returns a value for a message in quotes, shortened if it is long."""
    return repr(shown(value))


def _is_number(value: str) -> bool:
    # int() also accepts "1_000", "+5", blanks and other scripts, and would need minutes for a megabyte of digits.
    return value.isascii() and value.isdigit() and len(value) <= DIGITS_MOST


def whole(value: str, low: int, high: int) -> int:
    """Parses a whole number from `low` to `high`."""
    if not (_is_number(value) and low <= int(value) <= high):
        raise ValueError(f"{quoted(value)} is not a whole number from {low} to {high}")
    return int(value)


def mode(value: str) -> int:
    """Parses permissions of three or four octal digits: 660, 0660. Fewer are ambiguous, and uWSGI refuses them, too."""
    if not (3 <= len(value) <= 4 and {*value} <= {*"01234567"} and int(value, 8) <= 0o777):
        raise ValueError(f"{quoted(value)} is not an octal mode of three or four digits such as 660")
    return int(value, 8)


def comma_list(value: str) -> tuple[str, ...]:
    """Returns the words between commas. Empty ones are skipped, as in uWSGI."""
    return tuple(word for part in value.split(",") if (word := part.strip()))


def namespaces(value: str) -> tuple[str, ...]:
    """Parses a list of namespaces into keys of NAMESPACE_FLAGS."""
    names = tuple(_NAMESPACE_ALIASES.get(name, name) for name in comma_list(value))
    if not names:
        raise ValueError("needs a value")
    for name in names:
        if name not in NAMESPACE_FLAGS:
            known = ", ".join(sorted([*NAMESPACE_FLAGS, *_NAMESPACE_ALIASES]))
            raise ValueError(f"{quoted(name)} is not a namespace (known: {known})")
    return names


def capabilities(value: str) -> tuple[int, ...]:
    """Parses a list of capabilities into their numbers. The prefix cap_ is optional; uWSGI does not accept it."""
    numbers = []
    for word in comma_list(value):
        name = word.lower().removeprefix("cap_")
        if name not in CAPABILITIES:
            hint = _suggestion(name, CAPABILITIES) or " (see capabilities(7))"
            raise ValueError(f"{quoted(word)} is not a capability{hint}")
        numbers.append(CAPABILITIES[name])
    if not numbers:
        raise ValueError("needs a value")
    return tuple(numbers)


def environment_entry(value: str) -> tuple[str, str]:
    """Parses NAME=VALUE."""
    name, equals, content = value.partition("=")
    if not (name and equals):
        raise ValueError(f"{quoted(value)} is not NAME=VALUE")
    return name, content


def _account(kind: str, value: str, find: Callable[[str], int], known: Callable[[], Iterable[str]]) -> int:
    # Numbers first, as in uWSGI.
    if value.isascii() and value.isdigit():
        return whole(value, 0, _ID_LIMIT - 1)
    try:
        return find(text(value))
    except KeyError:
        raise ValueError(f"no {kind} {quoted(value)} here{_suggestion(value, known())}") from None


def _suggestion(value: str, known: Iterable[str]) -> str:
    """The known name that is most like `value`, as a hint; "" if none is similar."""
    from difflib import get_close_matches  # only errors need it

    close = get_close_matches(shown(value), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def user(value: str) -> int:
    """Converts a user's name or number into a uid."""
    return _account(
        "user", value, lambda name: pwd.getpwnam(name).pw_uid, lambda: (entry[0] for entry in pwd.getpwall())
    )


def group(value: str) -> int:
    """Converts a group's name or number into a gid."""
    return _account(
        "group", value, lambda name: grp.getgrnam(name).gr_gid, lambda: (entry[0] for entry in grp.getgrall())
    )


def owner(value: str) -> tuple[int, int]:
    """Parses USER or USER:GROUP into (uid, gid) for chown(2). Without a group, gid is -1: unchanged."""
    name, colon, group_name = value.partition(":")
    return user(name), group(group_name) if colon else -1
