"""Descriptors that a process passes to this one through a local socket (unix(7), SCM_RIGHTS).

The last close of such a descriptor can block, for example if it is a TCP connection with SO_LINGER.
"""

from __future__ import annotations

import socket

_SO_PASSRIGHTS = 83  # asm-generic/socket.h, Linux 6.16; not in Python's socket module


def refuse_descriptors(sock: socket.socket) -> bool:
    """Makes the kernel refuse descriptors that are sent to this socket; connections accepted from it inherit that.

    Returns False if it cannot: it is older than Linux 6.16, or the socket is not local.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def may_pass_descriptors(connection: socket.socket) -> bool:
    """True if the other end can send descriptors, so that a close of this connection could block."""
    if connection.family != socket.AF_UNIX:
        return False
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS) != 0
    except OSError:
        return True
