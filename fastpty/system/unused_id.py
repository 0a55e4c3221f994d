"""Finds an unused user and group id, for a process that only root may signal or trace."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable

from fastpty.system.files import read_bytes

# systemd's list of ids (UIDS-GIDS) leaves these unused: neither accounts nor dynamic users of services have them.
_RANGE = range(60706, 61184)


def unused_id() -> int | None:
    """Returns an id that no account, group or process has, or None if there is none, or no /proc.

    The search begins at a random id, so that two routers that start together choose different ones. Call it outside the
    jail, where accounts are the host's.
    """
    try:
        taken = _ids_of_processes()
    except OSError:
        return None
    start = int.from_bytes(os.urandom(4)) % len(_RANGE)
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
    """Returns the real, effective, saved and file system ids of all processes, users and groups."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = read_bytes(f"/proc/{name}/status")
            except OSError:  # the process has ended
                continue
            for line in text.splitlines():
                if line.startswith((b"Uid:", b"Gid:")):
                    found.update(int(word) for word in line.split()[1:])
    return found
