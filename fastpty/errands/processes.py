"""Errands: system calls that another user's program could block for ever, such as the last close of a pty master.

A process sends an errand, with its descriptors, as one message through a socket, and never waits for it. A keeper
(`fastpty.errands.keeper`), started with the first errand, hands it to a process that may block. Both end when the
sender has ended and its errands are done. They are not its children, so it never has to reap them.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Callable
from functools import partial

from fastpty.errands.keeper import BUSY, CLOSED, ERRAND, HUNG_UP, MESSAGE_BYTES_MOST, OWNER_CLIENTS, SHARE_USED, keep
from fastpty.log import logger
from fastpty.system import child
from fastpty.system.linux import PR_SET_NAME, prctl
from fastpty.system.passed_descriptors import may_pass_descriptors
from fastpty.system.readable import readable
from fastpty.system.records import NamedTuple


class News(NamedTuple):
    """Reports of keepers. closed: sessions whose terminals are closed. hung_up: the value for Handler.errands_told."""

    closed: list[int]
    hung_up: list[int]


class Errands:
    """Sends errands of this process to a keeper, which is started with the first one."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._sent = 0
        self.closed = mmap.mmap(-1, mmap.PAGESIZE)
        """Shared with the keeper: the number of the last errand whose descriptors this process has closed."""
        self._open()

    def _open(self) -> None:
        self._queue, intake = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._queue.setblocking(False)
        self._intake: socket.socket | None = intake

    def fileno(self) -> int:
        """The descriptor of the socket that errands are sent into."""
        return self._queue.fileno()

    def close_all(self) -> None:
        """In a forked process that sends no errands: closes its copies of the descriptors."""
        self._queue.close()
        if self._intake is not None:
            self._intake.close()
        self.closed.close()

    @property
    def had_keeper(self) -> bool:
        """True once a keeper was started."""
        return self._intake is None

    def attend(self) -> int:
        """Starts a keeper; returns the descriptor of its socket, a new one if the last keeper was killed.

        Raises OSError if no process can be started.
        """
        if self._intake is None:
            self._queue.close()
            self._open()
        assert self._intake is not None
        child.start_orphan("errands", partial(_be_named, partial(keep, self._intake, self.closed)))
        # Its last close also closes the descriptors that wait in it, so this process must not be the last to close it.
        self._intake.close()
        self._intake = None
        return self.fileno()

    def news(self) -> News:
        """Reads the keeper's messages and logs which closes take long."""
        news = News([], [])
        try:
            while message := self._queue.recv(MESSAGE_BYTES_MOST):
                kind, _, number = message.rpartition(b" ")
                if kind == CLOSED:
                    news.closed.append(int(number))
                elif kind == HUNG_UP:
                    news.hung_up.append(int(number))
                else:
                    _log_wait(kind, int(number))
        except (BlockingIOError, ConnectionResetError):
            pass
        return news

    def close(self, connection: socket.socket) -> None:
        """Closes a connection by an errand. If the errand cannot be sent now, the next call of close() sends it."""
        self._kept.append(connection.detach())
        try:
            while self._kept:
                self.take(self._kept[-1])
                self._kept.pop()
        except OSError as error:
            logger.error("cannot close a client's connection now, trying again later: %s", error.strerror)

    def take(self, descriptor: int, owner: int = OWNER_CLIENTS) -> None:
        """Closes a descriptor by an errand. owner: a uid, or one of the keeper's OWNER_ constants.

        Raises OSError if the errand cannot be sent now: the descriptor is still open then.
        """
        if self._intake is not None:
            self.attend()
        self._send(descriptor, owner)
        os.close(descriptor)
        struct.pack_into("q", self.closed, 0, self._sent)

    def descriptors(self) -> list[int]:
        """The descriptors that this object itself has open."""
        return [each.fileno() for each in (self._queue, self._intake) if each is not None]

    def _send(self, descriptor: int, owner: int) -> None:
        errand = ERRAND.pack(0, 0, 0, 0, 0, self._sent + 1, owner, 0, 0, 0, 0)
        try:
            socket.send_fds(self._queue, [errand], [descriptor])
        except BlockingIOError:
            raise
        except OSError:
            self.attend()
            socket.send_fds(self._queue, [errand], [descriptor])
        self._sent += 1


def _log_wait(kind: bytes, number: int) -> None:
    if kind == BUSY:
        logger.warning("%d processes wait to close terminals or connections of ended sessions", number)
    elif kind == SHARE_USED:
        whose = f"uid {number}" if number < OWNER_CLIENTS - 1 else "all clients"
        logger.warning(
            "%s: too many terminals of its ended sessions cannot be closed yet: further ones stay open", whose
        )


def close_elsewhere(sock: socket.socket) -> None:
    """Closes a socket without waiting for descriptors that the other end may have sent to it."""
    if may_pass_descriptors(sock):
        Errands().close(sock)
    else:
        sock.close()


def close_after_exit() -> None:
    """Starts a process that holds copies of this one's descriptors until this one has ended.

    So this process's end closes nothing, and cannot block.
    """
    ended = os.pidfd_open(os.getpid())
    child.start_orphan("errands", partial(_be_named, lambda: readable(ended)))


def _be_named(work: Callable[[], object]) -> None:
    prctl(PR_SET_NAME, b"fastpty-errands")
    work()
