"""Names and numbers as people write them, and what the kernel calls them: modes, users, namespaces, capabilities.

Each function raises ValueError with a text that fits after the name of what was to be given. Rules and names are
uWSGI's (2.0.21, measured) unless the function says otherwise.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from fastpty.system import linux

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

# No number that an option takes has more digits, leading zeros and fractions included.
DIGITS_MOST = 32
_SHOWN_MOST = 80

# (uid_t)-1 and (gid_t)-1 mean "leave unchanged" to the kernel, so they cannot be ids.
_ID_LIMIT = 2**32 - 1


def text(value: str) -> str:
    """A text that must not be empty."""
    if not value:
        raise ValueError("needs a value")
    return value


def shown(value: str) -> str:
    """A value for a message: as it is written, or the beginning of a long one."""
    return value if len(value) <= _SHOWN_MOST else f"{value[:_SHOWN_MOST]}…"


def quoted(value: str) -> str:
    """The same in quotes."""
    return repr(shown(value))


def _is_number(value: str) -> bool:
    # int() would also take "1_000", "+5", blanks and other alphabets' digits; and a megabyte of digits for minutes.
    return value.isascii() and value.isdigit() and len(value) <= DIGITS_MOST


def whole(value: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not (_is_number(value) and low <= int(value) <= high):
        raise ValueError(f"{quoted(value)} is not a whole number from {low} to {high}")
    return int(value)


def mode(value: str) -> int:
    """Permissions in octal, in three or four digits: 660, 0660. uWSGI takes no fewer either: 7 could mean 0700."""
    if not (re.fullmatch("[0-7]{3,4}", value) and int(value, 8) <= 0o777):
        raise ValueError(f"{quoted(value)} is not an octal mode of three or four digits such as 660")
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


def environment_entry(value: str) -> tuple[str, str]:
    """NAME=VALUE, to be set."""
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


def owner(value: str) -> tuple[int, int]:
    """USER or USER:GROUP, as (uid, gid) for chown(2); gid is -1, unchanged, where no group is given."""
    name, colon, group_name = value.partition(":")
    return user(name), group(group_name) if colon else -1
