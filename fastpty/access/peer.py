"""Identifies the client at the other end of a connection, from what the kernel reports."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Collection

from fastpty.errors import RefusedError
from fastpty.system.credentials import UNKNOWN_PEER, peer_credentials
from fastpty.system.records import dataclass

_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; not in Python's socket module
_GROUPS_MOST = 65536  # NGROUPS_MAX
_FIRST_GUESS = 32

_NAME_BYTES_MOST = 107  # unix(7)
_HASH_MOST = 2**62 - 1


_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Peer:
    """A client, as it was when it connected (unix(7), SO_PEERCRED), and how the log names it.

    `groups` holds its gid and, if requested, its supplementary groups. `uid` is None if the user is unknown: on TCP,
    unless a certificate stands for a user. `is_admitted`: `allow-tls-name` allows a name of its certificate. `origin`:
    what distinguishes clients without a user: the name in the certificate, or the network.
    """

    text: str
    uid: int | None = None
    groups: frozenset[int] = frozenset()
    is_admitted: bool = False
    pid: int | None = None
    origin: str = ""

    @property
    def is_known(self) -> bool:
        """True if rules about users and groups can be applied."""
        return self.uid is not None


def plain_peer(connection: socket.socket, with_groups: bool) -> Peer:
    """The client of an accepted connection without TLS; raises OSError if it has left already."""
    credentials = peer_credentials(connection)
    if credentials == UNKNOWN_PEER:
        return tcp_peer(connection)
    return local_peer(connection.fileno(), credentials, with_groups)


def local_peer(fd: int, credentials: tuple[int, int, int], with_groups: bool) -> Peer:
    """The client of an accepted local connection. credentials: pid, uid and gid from SO_PEERCRED.

    A client whose uid is not mapped in this user namespace has the overflow uid (user_namespaces(7)), normally 65534.
    with_groups: also read its supplementary groups; raises OSError if that fails.
    """
    pid, uid, gid = credentials
    groups = frozenset([gid, *_peer_groups(fd)]) if with_groups else frozenset([gid])
    where = "" if pid else " (in another pid namespace)"  # the kernel gives 0 for a process that has no number here
    return Peer(f"pid {pid}{where} uid {uid} gid {gid}", uid, groups, pid=pid)


def tcp_peer(connection: socket.socket) -> Peer:
    """The client of a TCP connection; raises OSError if it has left already."""
    host, port = connection.getpeername()[:2]
    return Peer(f"{host} port {port}", origin=_network(host))


def _network(host: str) -> str:
    """The part of an IP address that a client cannot choose: of IPv6, the first 64 bits."""
    if ":" not in host or host.startswith("::ffff:"):
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex()


def origin_number(origin: str) -> int:
    """Returns a negative number for an origin, the same for equal ones. No client can find another with its number."""
    return -1 - (hash(origin) & _HASH_MOST)


def name_behind_tls(connection: str, uid: int | None, who: str, *, negotiated: bool = False) -> bytes:
    """The abstract name that the TLS process binds its connection to the relay to, which identifies the client.

    connection: 32 characters that make the name unique. negotiated: the client speaks the extension (name_negotiated in
    fastpty/wire/extension.pxd reads this). A name that is too long for unix(7) is cut off.
    """
    protocol = "fpty" if negotiated else "-"
    user = "-" if uid is None else uid
    return f"\0{connection} {protocol} {user} {who}".encode("utf-8", "replace")[:_NAME_BYTES_MOST]


def peer_behind_tls(
    connection: socket.socket,
    users: Collection[int],
    is_admitted: bool,
    groups_of: Callable[[int], frozenset[int]] | None,
) -> Peer:
    """The client that the TLS process reports; raises OSError if it has left already.

    groups_of: if given, finds the groups of a client whose certificate stands for a user; it may raise RefusedError.
    Raises RefusedError if that user is not in `users`. So an attacker who takes over the TLS process can impersonate
    only users listed in `tls-user`.
    """
    name = connection.getpeername()
    _, _, user, who = os.fsdecode(name).split(" ", 3)
    if user == "-":
        host, _, _, *name = who.split(" ", 3)
        return Peer(f"TLS client {who}", is_admitted=is_admitted, origin=name[0] if name else _network(host))
    if int(user) not in users:
        raise RefusedError(f"uid {user} is not listed in tls-user")
    groups = groups_of(int(user)) if groups_of else frozenset[int]()
    return Peer(f"TLS client {who} uid {user}", int(user), groups, is_admitted)


def _peer_groups(fd: int) -> list[int]:
    """The client's supplementary groups when it connected (SO_PEERGROUPS); raises OSError."""
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
