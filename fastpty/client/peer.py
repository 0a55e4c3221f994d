"""Asks the kernel about the router behind a local socket: which user runs it, and whether it still runs."""

from __future__ import annotations

import _socket
import errno
import os
import select
import stat

from fastpty.client.ready import is_ready
from fastpty.errors import printable
from fastpty.net.address import UnixAddress
from fastpty.system.credentials import peer_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.net.address import Address

_DYING_MS = 50
_LINKS_MOST = 40  # as in the kernel (path_resolution(7))


def listener_warning(sock: _socket.socket, address: Address) -> str | None:
    """Returns a warning if the listener at `address` belongs to a user that the caller does not trust, else None.

    After a router has ended, another user's program can take its place and receive what is typed. The caller trusts
    root, itself, and the owners of the directories that lead to the socket, as far as no other user can have put them
    there. Abstract names have no directory: any user can take them.
    """
    if sock.family != _socket.AF_UNIX:
        return None
    uid = peer_credentials(sock).uid
    trusted = {0, os.geteuid()}
    others = "nor you"
    if isinstance(address, UnixAddress):
        try:
            shared = _find_shared(address.path, trusted)
        except OSError:  # the socket was removed meanwhile
            shared = "its directory"
        if shared is None:
            return None
        others = f"nor you, nor the owner of {printable(shared)}"
    if uid in trusted:
        return None
    listener = f"the listener at {printable(address.text)} is uid {uid}"
    return f"{listener}, neither root, {others}: that user reads what you type"


def _find_shared(path: str, trusted: set[int]) -> str | None:
    """Returns the first directory on the way to the socket `path` whose next entry an untrusted user can replace.

    Returns None if there is none. Adds the owners of the directories up to that one to `trusted`. In a sticky
    directory, such as /tmp, other users cannot replace what a trusted user owns. That does not hold for the socket
    itself: its owner says nothing about the program that listens. Raises OSError.
    """
    names = os.path.join(os.getcwd(), path).split("/")
    where, links = "/", 0
    while names:
        name = names.pop(0)
        if name in ("", "."):
            continue
        directory, following = os.stat(where), os.lstat(os.path.join(where, name))
        trusted.add(directory.st_uid)
        is_link = stat.S_ISLNK(following.st_mode)
        is_kept = directory.st_mode & stat.S_ISVTX and following.st_uid in trusted and (names or is_link)
        if directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_kept:
            return where
        if is_link:
            links += 1
            if links > _LINKS_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(os.path.join(where, name))
            names[:0] = target.split("/")
            where = "/" if target.startswith("/") else where
        else:
            where = os.path.normpath(os.path.join(where, name))  # no link is left in `where`, so /a/.. is /
    return None


class RouterProcess:
    """Watches the process that listens on a local socket, to distinguish a killed router from a session that ended.

    Both look like the end of the output. But a running fastpty-router closes only its sending direction until its
    client closes. uWSGI's router closes both directions at once, and runs on.
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
        """True if the router's process has ended, False if not or unknown. Call it at the end of the output."""
        if self._pidfd is None:
            return False
        if not is_ready(self._sock.fileno(), 0):  # no hang-up: it closed its sending direction only
            return False
        # A process's descriptors are closed a moment before it counts as dead.
        return is_ready(self._pidfd, select.POLLIN, _DYING_MS)
