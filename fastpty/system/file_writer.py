"""Appends to a file of a foreign root in a process of its own: only that one hangs if the file system does."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial

from fastpty.system import child, foreign_root
from fastpty.system.linux import PR_SET_NAME, prctl
from fastpty.system.readable import readable

_MESSAGE_BYTES_MOST = 4096
_READ_BYTES = 65536
_WRITE_SECONDS = 0.01
_FLUSH_SECONDS = 1.0

_REOPEN, _FLUSH = b"reopen", b"flush"
_DONE = b"done"

OpenFile = Callable[[], int]


class FileWriter:
    """Starts the process. What is written to `stream` goes to the file that `open_file` opens.

    open_file: called in the process, also for each reopen(). complaint: makes the line to write if that fails. The
    process ends when every copy of `stream` is closed. A write to `stream` waits for 10 ms at most, and fails if the
    process is stuck and its buffer is full. Raises OSError if the file cannot be opened in time.
    """

    def __init__(self, open_file: OpenFile, complaint: Callable[[OSError], bytes]) -> None:
        self.stream, stream = socket.socketpair()
        self._orders, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, int(_WRITE_SECONDS * 1e6)))
        try:
            with stream, orders:
                child.start_orphan("log", partial(_run_writer, stream, orders, open_file, complaint))
            answer = self._answer(2 * foreign_root.SECONDS)
            if answer != _DONE:
                number, _, text = answer.partition(b" ")
                raise OSError(int(number or errno.EIO), text.decode() or "the process that writes it has ended")
        except BaseException:
            self.stream.close()
            self._orders.close()
            raise

    def reopen(self) -> None:
        """Makes the process open the file again, without waiting. If that fails, it writes the complaint."""
        with contextlib.suppress(OSError):  # it is stuck, or has ended
            self._orders.send(_REOPEN, socket.MSG_DONTWAIT)

    def flush(self) -> None:
        """Waits until what was written to `stream` is in the file, for up to a second."""
        with contextlib.suppress(OSError):
            self._orders.send(_FLUSH, socket.MSG_DONTWAIT)
            self._answer(_FLUSH_SECONDS)

    def _answer(self, seconds: float) -> bytes:
        """Reads the process's answer. Raises OSError if none comes in time."""
        if not readable(self._orders, seconds=seconds):
            raise TimeoutError(errno.ETIMEDOUT, f"its file system does not answer within {seconds:g} s")
        return self._orders.recv(_MESSAGE_BYTES_MOST)


def _run_writer(
    stream: socket.socket, orders: socket.socket, open_file: OpenFile, complaint: Callable[[OSError], bytes]
) -> None:
    prctl(PR_SET_NAME, b"fastpty-log")
    child.ignore_stop_signals()
    child.isolate([stream.fileno(), orders.fileno()])
    try:
        file = _opened(open_file)
    except OSError as error:
        orders.send(b"%d %b" % (error.errno or 0, (error.strerror or "").encode()))
        return
    orders.send(_DONE)
    _serve(stream, orders, _File(file, open_file, complaint))


def _opened(open_file: OpenFile) -> int:
    """Calls `open_file` with a deadline. Raises OSError if it is missed."""
    _, [descriptor] = foreign_root.in_time("opening the log", lambda: (None, [open_file()]))
    return descriptor


def _serve(stream: socket.socket, orders: socket.socket, file: _File) -> None:
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    poll.register(orders, select.POLLIN)
    router_runs = True
    while True:
        poll.poll()
        data = _received(stream, _READ_BYTES)
        # After the data and before it is written: what was logged after the order is never in the old file.
        order = _received(orders, _MESSAGE_BYTES_MOST)
        if order == _REOPEN:
            file.reopen()
        if data:
            file.append(data)
        if data == b"":
            return
        if order == _FLUSH:
            file.append_all(stream)
            with contextlib.suppress(OSError):
                orders.send(_DONE, socket.MSG_DONTWAIT)
        elif order == b"" and router_runs:  # it has ended, but a process that it started may still write
            poll.unregister(orders)
            router_runs = False


def _received(peer: socket.socket, most_bytes: int) -> bytes | None:
    """What has arrived: b"" if the other side is closed, None if nothing."""
    try:
        return peer.recv(most_bytes, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except ConnectionResetError:  # closed, with an answer that the other side has not read
        return b""


class _File:
    """The file, and the number of lines that it could not take."""

    def __init__(self, descriptor: int, open_file: OpenFile, complaint: Callable[[OSError], bytes]) -> None:
        self._descriptor = descriptor
        self._open_file = open_file
        self._complaint = complaint
        self._lost = 0

    def append_all(self, stream: socket.socket) -> None:
        """Appends all data that has arrived."""
        while data := _received(stream, _READ_BYTES):
            self.append(data)

    def reopen(self) -> None:
        """Opens the file again. If that fails, the old one stays in use."""
        try:
            opened = _opened(self._open_file)
        except OSError as error:
            self.append(self._complaint(error))
            return
        os.close(self._descriptor)
        self._descriptor = opened

    def append(self, data: bytes) -> None:
        """Appends `data` to the file, or counts its lines as lost."""
        if self._lost:
            data = b"%d lines lost\n" % self._lost + data
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._lost += data.count(b"\n")
        else:
            self._lost = 0
