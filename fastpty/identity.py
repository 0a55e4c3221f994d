"""Who is at the other end of a connection, as the kernel tells it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from dataclasses import dataclass

_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; not in Python's socket module
_GROUPS_MOST = 65536  # NGROUPS_MAX
_FIRST_GUESS = 32

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Peer:
    """A client: the process that connected, when it did (unix(7), SO_PEERCRED), and words for the log.

    `groups` holds its group and, if they were asked for, its supplementary groups. `uid` is None where the kernel knows
    nobody, as on TCP. `is_admitted`: the TLS proxy has decided that it may connect.
    """

    text: str
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    is_admitted: bool = False

    @property
    def is_known(self) -> bool:
        """Whether rules about users and groups can be applied."""
        return self.uid is not None


def local_peer(fd: int, credentials: tuple[int, int, int], with_groups: bool) -> Peer:
    """The client of an accepted local connection. `credentials` are pid, uid and gid as SO_PEERCRED told them.

    A client of another user namespace has the uid that stands there for all that is not mapped, 65534 as a rule. Its
    groups take another system call: `with_groups`. Raises OSError if that fails.
    """
    pid, uid, gid = credentials
    groups = frozenset([gid, *_peer_groups(fd)]) if with_groups else frozenset([gid])
    return Peer(f"pid {pid} uid {uid} gid {gid}", uid, groups)


def tcp_peer(connection: socket.socket) -> Peer:
    """The client of a TCP connection; raises OSError where it has left already."""
    host, port = connection.getpeername()[:2]
    return Peer(f"{host} port {port}")


def peer_behind_tls(connection: socket.socket) -> Peer:
    """The client of whom the TLS proxy tells, in the name of its own end; raises OSError where it has left already."""
    name = connection.getpeername()
    _, _, who = os.fsdecode(name).partition(" ")
    return Peer(f"TLS client {who}", is_admitted=True)


def _peer_groups(fd: int) -> list[int]:
    """The supplementary groups that the client had when it connected (SO_PEERGROUPS); raises OSError."""
    room = _FIRST_GUESS
    while True:
        groups = (ctypes.c_uint32 * room)()
        size = ctypes.c_uint32(ctypes.sizeof(groups))
        result = _libc.getsockopt(fd, socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(size))
        if result == 0:
            return groups[: size.value // ctypes.sizeof(ctypes.c_uint32)]
        number = ctypes.get_errno()
        if number != errno.ERANGE or room >= _GROUPS_MOST:
            raise OSError(number, os.strerror(number))
        room = _GROUPS_MOST
