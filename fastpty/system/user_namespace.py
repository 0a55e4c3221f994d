"""Detects whether clients have other ids in this user namespace than outside (user_namespaces(7))."""

from __future__ import annotations

import functools
import socket

from fastpty.system.credentials import peer_credentials
from fastpty.system.files import read_text

_OVERFLOW_UID = 65534  # reported for a user whose uid this user namespace does not map
_ALL_USERS = ["0", "0", "4294967295"]
_users_differ = False


@functools.cache
def _sees_all_users() -> bool:
    try:
        return read_text("/proc/self/uid_map").split() == _ALL_USERS
    except OSError:
        return False


def is_unmapped(uid: int) -> bool:
    """Returns True if `uid` can stand for any user that this user namespace does not map."""
    return uid == _OVERFLOW_UID and (_users_differ or not _sees_all_users())


def users_differ() -> bool:
    """Returns True if a Witness has found that clients have other ids here than outside."""
    return _users_differ


class Witness:
    """A connection of this process to itself, made outside the jail, that shows whether its ids differ inside.

    In a user namespace the kernel reports a client's ids as numbers of that namespace: 65534 if it has none there, and
    otherwise a number that may be another account outside.
    """

    def __init__(self) -> None:
        self._ends = socket.socketpair()
        self._before = self._ids()
        _sees_all_users()  # cached outside, because /proc inside may be somebody else's

    def users_differ(self) -> bool:
        """Returns True if clients have other ids now, and makes `is_unmapped` consider it."""
        global _users_differ
        _users_differ = self._ids() != self._before
        return _users_differ

    def close(self) -> None:
        """Closes the connection."""
        for end in self._ends:
            end.close()

    def _ids(self) -> tuple[int, ...]:
        return peer_credentials(self._ends[0])[1:]
