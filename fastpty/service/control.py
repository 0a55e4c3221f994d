"""The control socket, through which `--reload` sends the running router a request and gets the answer.

A pid file's router listens on an abstract Unix socket (unix(7)) that is named after the file's device and inode. So
there is no second file, and the socket works in a jail, too. A client must be root or the router's user. The client
checks in turn that the process behind the socket holds the pid file's lock and belongs to the file's owner.

Any user can connect, or take the name first. So a client is refused before anything of it is read. It may have sent
descriptors whose close blocks: since Linux 6.16 the kernel refuses them, and on older ones the router must have another
process close such connections, and the socket with those that were not accepted (fastpty/errands/).
"""

from __future__ import annotations

import contextlib
import os
import socket

from fastpty.log import logger
from fastpty.system.credentials import peer_credentials
from fastpty.system.passed_descriptors import refuse_descriptors
from fastpty.system.user_namespace import is_unmapped

RELOAD = b"reload"

_DONE, _REFUSED = b"+", b"-"
_BACKLOG = 16
_ANSWER_BYTES_MOST = 4096
_ANSWER_SECONDS = 150  # more than a reload may take


def _name(pidfile: int) -> bytes:
    status = os.fstat(pidfile)
    return b"\0fastpty-control/%x/%x" % (status.st_dev, status.st_ino)


class ControlSocket:
    """The router's side. pidfile: a descriptor of the pid file. Without a socket, `--reload` can only send a signal."""

    def __init__(self, pidfile: int) -> None:
        self.socket: socket.socket | None = None
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            refuse_descriptors(made)
            made.bind(_name(pidfile))
            made.listen(_BACKLOG)
        except OSError as error:
            made.close()
            logger.warning("no control socket (%s): --reload cannot wait for its outcome", error.strerror)
        else:
            self.socket = made

    def close(self) -> None:
        """Closes this process's copy."""
        if self.socket is not None:
            self.socket.close()


def may_control(client: socket.socket) -> bool:
    """True if the process at the other end may make requests of this router."""
    uid = peer_credentials(client).uid
    return uid in {0, os.geteuid()} and not is_unmapped(uid)


def answer(client: socket.socket, error: str | None) -> None:
    """Sends the outcome of a request, without waiting. error: None for success."""
    message = _DONE if error is None else _REFUSED + os.fsencode(error)
    with contextlib.suppress(OSError):  # the client may have left
        client.send(message[:_ANSWER_BYTES_MOST])


def request(pidfile: int, router: int, what: bytes) -> str | None:
    """The client's side: makes a request and waits for its outcome. Returns None for success, or the error.

    pidfile: a descriptor of the pid file. router: the process id that its lock names. Raises OSError if the router
    has no control socket, does not serve this user, or ends before it answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        connection.connect(_name(pidfile))
        peer = peer_credentials(connection)
        if (peer.pid, peer.uid) != (router, os.fstat(pidfile).st_uid):
            raise ConnectionError("another process uses the name of the control socket")
        connection.send(what)
        message = connection.recv(_ANSWER_BYTES_MOST)
    if not message:
        raise ConnectionError("the router gave no answer")
    return None if message[:1] == _DONE else os.fsdecode(message[1:])
