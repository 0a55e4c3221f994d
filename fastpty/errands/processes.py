"""The processes that run errands: what could wait for ever on a stranger, such as the last close of a pty master.

An errand is one message in a socket: what is to be done, and the descriptors for it. It is never answered. All
processes take from the same socket, so one that is stuck delays no other errand. A keeper starts the first process with
the first errand, and one more whenever errands wait and nothing moves. They end when the process ends that they work
for. They are not its children, so it never has to wait for one of them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import partial

from fastpty._relay import do_errand
from fastpty.log import logger
from fastpty.system import child
from fastpty.system.linux import PR_SET_NAME, prctl

# One is stuck for each terminal that a program of another user holds. It is that user's limits (processes, terminals)
# that bound them, and not those of its sessions: who leaves one stuck may begin the next. Each has 0.8 MB of its own.
_PROCESSES_MOST = 256
_MOMENT_SECONDS = 0.05
_PATIENCE_MOST_SECONDS = 5.0
_SENDER_SECONDS = 0.0005  # about, between a sender's message and its close
_MESSAGE_BYTES_MOST = 64
_DESCRIPTORS_MOST = 253  # in one message (SCM_MAX_FD)
_FIONREAD = 0x541B
_SO_PASSRIGHTS = 83  # asm-generic/socket.h, Linux 6.16; not in Python's socket module
_ERRAND = struct.Struct("iHHHHiq")  # struct Errand (relay/errands.pxd)


def refuse_descriptors(sock: socket.socket) -> bool:
    """Has the kernel refuse descriptors that are sent to this socket; those that it accepts inherit that.

    False: it cannot (before Linux 6.16), or this is no local socket.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def may_pass_descriptors(connection: socket.socket) -> bool:
    """Whether the other end could send descriptors, and what is closed here could wait for them."""
    if connection.family != socket.AF_UNIX:
        return False
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS) != 0
    except OSError:
        return True


class Errands:
    """One process's way to have errands run. Nothing is started before there is one."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._sent = 0
        self.closed = mmap.mmap(-1, mmap.PAGESIZE)
        """Shared with those who take errands: the number of the last errand whose descriptors are closed here."""
        self._open()

    def _open(self) -> None:
        self._queue, intake = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._queue.setblocking(False)
        self._intake: socket.socket | None = intake

    def fileno(self) -> int:
        """The socket that errands go into."""
        return self._queue.fileno()

    def let_go(self) -> None:
        """In a forked process that sends none: keeps nothing of it."""
        self._queue.close()
        if self._intake is not None:
            self._intake.close()
        self.closed.close()

    def attend(self) -> int:
        """Has somebody take the errands; the socket for them, a new one if those who did have all been killed.

        Raises OSError if no process can be started.
        """
        if self._intake is None:
            self._queue.close()
            self._open()
        assert self._intake is not None
        child.start_orphan("errands", partial(_be_named, partial(_keep, self._intake, self.closed)))
        # The last one to close it closes what is still in it, which must not be this process.
        self._intake.close()
        self._intake = None
        return self.fileno()

    def log_news(self) -> None:
        """Logs what the keeper has told."""
        try:
            while news := self._queue.recv(_MESSAGE_BYTES_MOST):
                logger.warning(
                    "what sessions had open cannot be closed at once: %d of at most %d processes wait for that",
                    int(news),
                    _PROCESSES_MOST,
                )
        except (BlockingIOError, ConnectionResetError):
            pass

    def close(self, connection: socket.socket) -> None:
        """Has a socket closed whose other end may have sent descriptors. What nobody takes now is tried again later."""
        self._kept.append(connection.detach())
        try:
            while self._kept:
                self.take(self._kept[-1])
                self._kept.pop()
        except OSError as error:
            logger.error("what a client has left cannot be closed now: %s", error.strerror)

    def take(self, descriptor: int) -> None:
        """Has this descriptor closed. Raises OSError where nobody takes it now: then it is still open here."""
        if self._intake is not None:
            self.attend()
        self._send(descriptor)
        os.close(descriptor)
        struct.pack_into("q", self.closed, 0, self._sent)

    def descriptors(self) -> list[int]:
        """What this itself has open."""
        return [each.fileno() for each in (self._queue, self._intake) if each is not None]

    def _send(self, descriptor: int) -> None:
        errand = _ERRAND.pack(0, 0, 0, 0, 0, 0, self._sent + 1)
        try:
            socket.send_fds(self._queue, [errand], [descriptor])
        except BlockingIOError:
            raise
        except OSError:
            self.attend()
            socket.send_fds(self._queue, [errand], [descriptor])
        self._sent += 1


def close_elsewhere(sock: socket.socket) -> None:
    """Closes a socket, and waits for nothing that the other end of a connection to it may have sent."""
    if may_pass_descriptors(sock):
        Errands().close(sock)
    else:
        sock.close()


def close_after_exit() -> None:
    """Leaves a process behind that keeps this one's descriptors until this one has ended.

    So this one's end does not wait for a close.
    """
    ended = os.pidfd_open(os.getpid())
    child.start_orphan("errands", partial(_be_named, lambda: select.select([ended], [], [])))


def _be_named(work: Callable[[], object]) -> None:
    prctl(PR_SET_NAME, b"fastpty-errands")
    work()


def _keep(intake: socket.socket, closed: mmap.mmap) -> None:
    """Keeps as many processes at the errands as it takes, until the sender has ended and nothing waits."""
    # A process that is stuck holds no log. No close here is the last one: none of the processes has started yet.
    nothing = os.memfd_create("nothing")  # /dev/null could be anything in a root of somebody else's
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    child.keep_only([0, 1, 2, intake.fileno()])
    done = mmap.mmap(-1, 8 * _PROCESSES_MOST)
    processes: list[int] = []
    patience = _MOMENT_SECONDS
    poll = select.poll()
    poll.register(intake, select.POLLIN)
    while True:
        [(_, events)] = poll.poll()
        if not _holds_errands(intake):
            if events & select.POLLHUP:
                return
            continue
        if processes:
            before = done[:]
            time.sleep(patience)
            if not _holds_errands(intake) or done[:] != before:
                patience = _MOMENT_SECONDS
                continue
        if len(processes) == _PROCESSES_MOST:
            patience = min(2 * patience, _PATIENCE_MOST_SECONDS)
            processes = [pid for pid in processes if os.waitpid(pid, os.WNOHANG) == (0, 0)]
            continue
        processes.append(_start_one(intake, closed, done, len(processes)))
        if len(processes).bit_count() == 1 and len(processes) > 1:  # 2, 4, 8: no flood of lines
            intake.send(b"%d" % len(processes), socket.MSG_DONTWAIT)


def _wait_for_sender(intake: socket.socket, closed: mmap.mmap, number: int) -> None:
    """Until the sender has closed its own descriptors, or has ended: the last close is to be here."""
    poll = select.poll()
    poll.register(intake, 0)
    while struct.unpack_from("q", closed)[0] < number and not poll.poll(0):
        time.sleep(_SENDER_SECONDS)


def _holds_errands(intake: socket.socket) -> bool:
    (size,) = struct.unpack("i", fcntl.ioctl(intake, _FIONREAD, bytes(4)))
    return bool(size)


def _start_one(intake: socket.socket, closed: mmap.mmap, done: mmap.mmap, index: int) -> int:
    return child.fork("errands", partial(_take_errands, intake, closed, done, index))


def _take_errands(intake: socket.socket, closed: mmap.mmap, done: mmap.mmap, index: int) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(intake, _MESSAGE_BYTES_MOST, _DESCRIPTORS_MOST)
        if not message:
            break
        _wait_for_sender(intake, closed, _ERRAND.unpack(message)[-1])
        for descriptor in descriptors:
            do_errand(descriptor, message)
        struct.pack_into("q", done, 8 * index, struct.unpack_from("q", done, 8 * index)[0] + 1)
