"""The control socket: how `--reload` gives the running router a request and gets its answer.

A pid file's router listens on an abstract Unix socket (unix(7)) that is named after the file's device and inode. So
there is no second file, and the socket works in a jail, too. A client must be root, the router's user or the owner of
the pid file; the client checks in turn that the process behind the socket is the one that holds the pid file's lock.
"""

from __future__ import annotations

import contextlib
import os
import socket

from fastpty.log import logger
from fastpty.system.credentials import peer_credentials

RELOAD = b"reload"

_DONE, _REFUSED = b"+", b"-"
_BACKLOG = 16
_ANSWER_BYTES_MOST = 4096


def _name(pidfile: int) -> bytes:
    status = os.fstat(pidfile)
    return b"\0fastpty-control/%x/%x" % (status.st_dev, status.st_ino)


class ControlSocket:
    """The router's side. pidfile: a descriptor of the pid file. Without a socket, `--reload` can only send a signal."""

    def __init__(self, pidfile: int) -> None:
        self._owner = os.fstat(pidfile).st_uid
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self.socket.bind(_name(pidfile))
            self.socket.listen(_BACKLOG)
        except OSError as error:
            logger.warning("--reload will not learn the outcome: no control socket: %s", error.strerror)

    def accept(self) -> socket.socket | None:
        """A client that may control this router, non-blocking; None if there is no such client."""
        try:
            client, _ = self.socket.accept()
        except OSError:
            return None
        client.setblocking(False)
        if peer_credentials(client).uid in {0, os.geteuid(), self._owner}:
            return client
        client.close()
        return None

    def close(self) -> None:
        """Closes this process's copy."""
        self.socket.close()


def answer(client: socket.socket, error: str | None) -> None:
    """Sends the outcome of a request, without waiting, and closes the connection. error: None for success."""
    message = _DONE if error is None else _REFUSED + os.fsencode(error)
    with client, contextlib.suppress(OSError):  # the client may have left
        client.send(message[:_ANSWER_BYTES_MOST])


def request(pidfile: int, router: int, what: bytes) -> str | None:
    """The client's side: makes a request and waits for its outcome. Returns None for success, or the error.

    pidfile: a descriptor of the pid file. router: the process id that its lock names. Raises OSError if the router
    has no control socket, does not serve this user, or ends before it answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(_name(pidfile))
        if peer_credentials(connection).pid != router:
            raise ConnectionError("another process uses the name of the control socket")
        connection.send(what)
        message = connection.recv(_ANSWER_BYTES_MOST)
    if not message:
        raise ConnectionError("no answer")
    return None if message[:1] == _DONE else os.fsdecode(message[1:])
