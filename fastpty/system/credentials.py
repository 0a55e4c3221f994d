"""The credentials of the process at the other end of a local socket (unix(7), SO_PEERCRED)."""

from __future__ import annotations

import socket
import struct

_UCRED = "iII"

UNKNOWN_PEER = (0, 2**32 - 1, 2**32 - 1)
"""What the kernel gives for a peer that is no process of this machine, as on TCP."""


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """The peer's pid, uid and gid when it connected or listened; for a socket pair, of the process that made it.

    They are numbers of this process's namespaces: the pid is 0, and the uid usually 65534, where there is none.
    """
    pid, uid, gid = struct.unpack(
        _UCRED, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED))
    )
    return pid, uid, gid
