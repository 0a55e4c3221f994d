"""Who is at the other end of a connection, as the kernel tells it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fastpty.access.accounts import Account
from fastpty.errors import RefusedError
from fastpty.relay.upcalls import UNKNOWN_PEER

_UCRED = "iII"  # pid, uid and gid, unix(7)
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; not in Python's socket module
_GROUPS_MOST = 65536  # NGROUPS_MAX
_FIRST_GUESS = 32

_NAME_BYTES_MOST = 107  # unix(7)


_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Peer:
    """A client: the process that connected, when it did (unix(7), SO_PEERCRED), and words for the log.

    `groups` holds its group and, if they were asked for, its supplementary groups. `uid` is None where nobody is known,
    as on TCP, unless a certificate tells. `is_admitted`: allow-tls-name has let its certificate in.
    """

    text: str
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    is_admitted: bool = False
    pid: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether rules about users and groups can be applied."""
        return self.uid is not None


def plain_peer(connection: socket.socket, with_groups: bool) -> Peer:
    """The client of an accepted connection without TLS; raises OSError where it has left already."""
    size = struct.calcsize(_UCRED)
    credentials = struct.unpack(_UCRED, connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if credentials == UNKNOWN_PEER:
        return tcp_peer(connection)
    return local_peer(connection.fileno(), credentials, with_groups)


def local_peer(fd: int, credentials: tuple[int, int, int], with_groups: bool) -> Peer:
    """The client of an accepted local connection. `credentials` are pid, uid and gid as SO_PEERCRED told them.

    A client of another user namespace has the uid that stands there for all that is not mapped, 65534 as a rule. Its
    groups take another system call: `with_groups`. Raises OSError if that fails.
    """
    pid, uid, gid = credentials
    groups = frozenset([gid, *_peer_groups(fd)]) if with_groups else frozenset([gid])
    where = "" if pid else " (in another pid namespace)"  # the kernel gives 0 for a process that has no number here
    return Peer(f"pid {pid}{where} uid {uid} gid {gid}", uid, groups, pid=pid)


def tcp_peer(connection: socket.socket) -> Peer:
    """The client of a TCP connection; raises OSError where it has left already."""
    host, port = connection.getpeername()[:2]
    return Peer(f"{host} port {port}")


def name_behind_tls(connection: str, uid: int | None, who: str) -> bytes:
    """The name that the TLS proxy gives its end of a connection to the relay, to tell it who the client is.

    `connection` makes the name unique. What is too long for unix(7) is cut off.
    """
    user = "-" if uid is None else uid
    return f"\0{connection} {user} {who}".encode("utf-8", "replace")[:_NAME_BYTES_MOST]


def peer_behind_tls(
    connection: socket.socket, users: Collection[int], is_admitted: bool, account_of: Callable[[int], Account] | None
) -> Peer:
    """The client of whom the TLS proxy tells; raises OSError where it has left already.

    Its groups are those of its account, if it is a user and `account_of` is given. Raises RefusedError where that has
    no account, or is none of `users`: so whoever might take the proxy over, which strangers speak with, can be only one
    of these.
    """
    name = connection.getpeername()
    _, user, who = os.fsdecode(name).split(" ", 2)
    if user == "-":
        return Peer(f"TLS client {who}", is_admitted=is_admitted)
    if int(user) not in users:
        raise RefusedError(f"no certificate is uid {user}'s")
    groups = frozenset(account_of(int(user)).groups) if account_of else frozenset[int]()
    return Peer(f"TLS client {who} uid {user}", int(user), groups, is_admitted)


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
