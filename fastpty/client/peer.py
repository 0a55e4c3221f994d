"""What the kernel knows of the router behind a local socket: its user, whether it lives, whether it has accepted."""

from __future__ import annotations

import _socket
import os
import select
import stat

from fastpty.errors import printable
from fastpty.net.address import UnixAddress
from fastpty.system.credentials import peer_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.net.address import Address

_DYING_MS = 50
_PARTS_OF_A_LINE = 8  # /proc/net/unix: address, count, protocol, flags, type, state, inode, path
_CONNECTING = b"02"


def stranger(sock: _socket.socket, address: Address) -> str | None:
    """A warning if another user's program listens at `address`, in a place where any user can put a socket.

    After a router has ended, such a program can take its place and receive what is typed. No warning is given if the
    program belongs to root, to the caller, or to the owner of the socket's directory. Abstract names have no directory:
    any user can take them.
    """
    if sock.family != _socket.AF_UNIX:
        return None
    uid = peer_credentials(sock).uid
    trusted = {0, os.geteuid()}
    others = "nor you"
    if isinstance(address, UnixAddress):
        directory = os.path.dirname(os.path.realpath(address.path))
        try:
            status = os.stat(directory)
        except OSError:
            return None
        if not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        trusted.add(status.st_uid)
        others = f"nor you, nor the owner of {printable(directory)}"
    if uid in trusted:
        return None
    listener = f"the listener at {printable(address.text)} is uid {uid}"
    return f"{listener}, neither root, {others}: that user reads what you type"


def is_not_accepted(sock: _socket.socket) -> bool:
    """True if a connection to the listener of the local socket `sock` waits to be accepted.

    That may be a later connection than this one, but listeners accept in order and at once. False if it is not known.
    """
    if sock.family != _socket.AF_UNIX:
        return False
    name = sock.getpeername()
    path = os.fsencode(name) if isinstance(name, str) else bytes(name).replace(b"\0", b"@")
    try:
        with open("/proc/net/unix", "rb") as file:
            lines = [line.rstrip(b"\n").split(None, _PARTS_OF_A_LINE - 1) for line in file]
    except OSError:
        return False
    return any(len(line) == _PARTS_OF_A_LINE and line[5] == _CONNECTING and line[7] == path for line in lines)


class RouterProcess:
    """The process that listens behind a local socket, to tell a killed router from a session that ended.

    Both look like the end of the output. But a fastpty-router that lives closes its sending direction only, until its
    client closes; uWSGI's router closes both directions at once, and lives on.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._pidfd: int | None = None
        if sock.family == _socket.AF_UNIX:
            try:
                self._pidfd = os.pidfd_open(peer_credentials(sock).pid)
            except OSError:  # of another pid namespace: its pid is 0, which names no process
                self._pidfd = None

    def __enter__(self) -> RouterProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def has_ended(self) -> bool:
        """True if the router's process has ended. For the end of the output; False if it is not known."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._sock, 0)
        if not poll.poll(0):  # no hang-up: it closed its sending direction only
            return False
        # A process's descriptors are closed a moment before it counts as dead.
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(_DYING_MS))
