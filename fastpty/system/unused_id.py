"""A user and group id for a process that no other process can signal or trace, root's aside."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from collections.abc import Callable
from pathlib import Path

# systemd's list of ids (UIDS-GIDS) has these as unused: neither accounts nor services without one (DynamicUser).
_RANGE = range(60706, 61184)


def unused_id() -> int | None:
    """An id that no account, no group and no process has; None if there is none, or no /proc to look at processes.

    The search begins at random, so that two routers that start at the same moment choose different ones. To be called
    before the jail, where accounts are the host's.
    """
    try:
        taken = _ids_of_processes()
    except OSError:
        return None
    start = secrets.randbelow(len(_RANGE))
    order: list[int] = [*_RANGE[start:], *_RANGE[:start]]
    for number in order:
        if number not in taken and not _is_known(pwd.getpwuid, number) and not _is_known(grp.getgrgid, number):
            return number
    return None


def _is_known(look_up: Callable[[int], object], number: int) -> bool:
    try:
        look_up(number)
    except KeyError:
        return False
    return True


def _ids_of_processes() -> set[int]:
    """All user and group ids that processes have: real, effective, saved and of the file system."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "status").read_bytes()
            except OSError:  # it has ended
                continue
            for line in text.splitlines():
                if line.startswith((b"Uid:", b"Gid:")):
                    found.update(int(word) for word in line.split()[1:])
    return found
