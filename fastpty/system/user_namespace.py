"""Whether clients have the same ids in this user namespace as outside (user_namespaces(7))."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

from fastpty.system.credentials import peer_credentials

_OVERFLOW_UID = 65534  # what the kernel tells of a user that has no number in this user namespace
_ALL_USERS = ["0", "0", "4294967295"]
_users_differ = False


@functools.cache
def _sees_all_users() -> bool:
    try:
        return Path("/proc/self/uid_map").read_text().split() == _ALL_USERS
    except OSError:
        return False


def is_unmapped(uid: int) -> bool:
    """Whether this may be any user that this process's user namespace has no number for."""
    return uid == _OVERFLOW_UID and (_users_differ or not _sees_all_users())


def users_differ() -> bool:
    """Whether a Witness has seen that clients have other numbers here than outside."""
    return _users_differ


class Witness:
    """A connection of this process to itself, made outside the jail: it tells whether users have other numbers inside.

    In another user namespace the kernel tells a client's ids by the numbers that they have there (user_namespaces(7)):
    who has no number there is 65534, and a number that is an account's outside can be anybody's.
    """

    def __init__(self) -> None:
        self._ends = socket.socketpair()
        self._before = self._told()
        _sees_all_users()  # looked at outside, since inside /proc may be somebody else's

    def users_differ(self) -> bool:
        """Whether clients have other numbers by now, which is_unmapped takes into account from then on."""
        global _users_differ
        _users_differ = self._told() != self._before
        return _users_differ

    def close(self) -> None:
        """Forgets the connection."""
        for end in self._ends:
            end.close()

    def _told(self) -> tuple[int, ...]:
        return peer_credentials(self._ends[0])[1:]
