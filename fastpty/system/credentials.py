"""The credentials of the process at the other end of a local socket (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import _socket  # `socket` and `typing` are slow to load, and a client starts with this
import struct

_UCRED = struct.Struct("iII")  # struct ucred, unix(7)


class Credentials(tuple[int, int, int]):
    """Process, user and group. pid is 0 for a process that has no number in this pid namespace."""

    @property
    def pid(self) -> int:
        return self[0]

    @property
    def uid(self) -> int:
        return self[1]


UNKNOWN_PEER = Credentials((0, 2**32 - 1, 2**32 - 1))
"""What the kernel returns if the peer is not a process of this machine, as on TCP."""


def peer_credentials(connection: _socket.socket) -> Credentials:
    """Returns the peer's credentials when it connected or listened; for a socket pair, those of its creator.

    The numbers are those of this process's namespaces. A user who has none here usually gets 65534. Raises OSError.
    """
    return Credentials(_UCRED.unpack(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)))
