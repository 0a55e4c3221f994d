"""The process at the other end of a Unix socket, as the kernel names it."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("iII")  # struct ucred, unix(7)


class Credentials(NamedTuple):
    """Process, user and group. pid is 0 for a process that has no number in this pid namespace."""

    pid: int
    uid: int
    gid: int


def peer_credentials(connection: socket.socket) -> Credentials:
    """The process that connected, or that called listen(2) on the socket that was connected to. Raises OSError."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
