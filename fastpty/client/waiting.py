"""Asks the kernel whether a connection to a local socket still waits to be accepted (sock_diag(7)).

/proc/net/unix cannot tell: any user can forge its lines with a socket whose name has a line end in it.
"""

from __future__ import annotations

import _socket
import os
import select
import struct

from fastpty.client.ready import is_ready

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_UDIAG_SHOW_PEER = 4
_UNIX_DIAG_PEER = 2

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # unix_diag_req: family, protocol, -, states, inode, show, cookie
_ANSWER_BYTES = 16  # unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_INODE = struct.Struct("=I")
_ANY_COOKIE = 0xFFFFFFFF

_ANSWER_SECONDS = 1.0


def is_not_accepted(sock: _socket.socket) -> bool:
    """True if no process has accepted the connection of the local socket `sock`. False if that is not known."""
    if sock.family != _socket.AF_UNIX:
        return False
    try:
        return _peer_inode(os.fstat(sock.fileno()).st_ino) == 0 and not _has_news(sock)
    except OSError:  # no sock_diag in this kernel, or in this container
        return False


def _peer_inode(inode: int) -> int | None:
    """The inode of the other end of the local socket that has this inode; None if it is not known.

    It is 0 if no process holds the other end: the connection waits in the listener's queue, or was closed. Raises
    OSError.
    """
    message = _REQUEST.pack(_socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _UDIAG_SHOW_PEER, _ANY_COOKIE, _ANY_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(message), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    try:
        netlink.settimeout(_ANSWER_SECONDS)
        netlink.sendto(header + message, (0, 0))
        answer, sender = netlink.recvfrom(4096)
    finally:
        netlink.close()
    if sender[0] != 0:  # not the kernel
        return None
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    at = _HEADER.size + _ANSWER_BYTES
    while kind == _SOCK_DIAG_BY_FAMILY and at + _ATTRIBUTE.size <= min(length, len(answer)):
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _UNIX_DIAG_PEER:
            return int(_INODE.unpack_from(answer, at + _ATTRIBUTE.size)[0])
        at += max(_ATTRIBUTE.size, (size + 3) & ~3)
    return None


def _has_news(sock: _socket.socket) -> bool:
    """True if there is output to read, or its end: then the connection was accepted, and the other end closed."""
    return is_ready(sock.fileno(), select.POLLIN)
