"""Attaches the local terminal, or whatever stdin and stdout are, to a session of a router.

One poll loop and one bounded buffer each way. A direction whose buffer is full stops reading; the other
goes on: keys still reach the program while the local terminal is slow, and output still shows while the
program does not read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

from fastpty.client.escape import EscapeFilter
from fastpty.client.terminal import FATAL, HeldSignals, RawTerminal, reopened, window_size
from fastpty.errors import FastptyError
from fastpty.system.credentials import peer_credentials
from fastpty.wire import uwsgi

_CHUNK_BYTES = 65536
_HIGH_WATER_BYTES = 262144

_DYING_SECONDS = 0.05

# A pipe that poll(2) calls writable takes this much, PIPE_BUF, without blocking.
_BLOCKING_CHUNK_BYTES = 4096


def attach(
    sock: socket.socket, framed: bool, stdin_fd: int = 0, stdout_fd: int = 1, escape: bytes | None = b"~"
) -> None:
    """Moves bytes both ways until the session has ended and its output is written, or nobody reads stdout.

    `framed` is whether the router speaks the uwsgi protocol on `sock`, which the caller closes. `escape` is
    the escape character, or None; it counts only where stdin is a terminal. Raises FastptyError where the
    session did not come to its end: the connection broke, the output cannot be written, the person
    disconnected. For the main thread only.
    """
    sock.setblocking(False)
    filtered = EscapeFilter(escape if os.isatty(stdin_fd) else None)
    with (
        HeldSignals() as signals,
        RawTerminal(stdin_fd) as terminal,
        _Streams(stdin_fd, stdout_fd) as streams,
        _RouterProcess(sock) as router,
    ):
        _Attachment(sock, framed, streams, filtered, signals, terminal, router).run()


def check_streams(stdin_fd: int = 0, stdout_fd: int = 1) -> None:
    """Raises FastptyError where nothing could be read from one, or written to the other, before a session begins."""
    for fd, wrong, what in (
        (stdin_fd, os.O_WRONLY, "cannot read the input: standard input is not open for reading"),
        (stdout_fd, os.O_RDONLY, "cannot write the output: standard output is not open for writing"),
    ):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & os.O_PATH or flags & os.O_ACCMODE == wrong:
            raise FastptyError(what)


class _Streams:
    """stdin and stdout, non-blocking where they can be opened again."""

    def __init__(self, stdin_fd: int, stdout_fd: int) -> None:
        self._given = stdin_fd, stdout_fd
        self.stdin_ends = _ends_of_terminal(stdin_fd)
        self.stdout_ends = _ends_of_terminal(stdout_fd) | {errno.EPIPE, errno.ECONNRESET}

    def __enter__(self) -> _Streams:
        stdin_fd, stdout_fd = self._given
        stdin, stdout = reopened(stdin_fd, os.O_RDONLY), reopened(stdout_fd, os.O_WRONLY)
        self._opened = [fd for fd in (stdin, stdout) if fd is not None]
        self.stdin = stdin_fd if stdin is None else stdin
        self.stdout = stdout_fd if stdout is None else stdout
        self.write_bytes = _BLOCKING_CHUNK_BYTES if stdout is None else _CHUNK_BYTES
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._opened:
            os.close(fd)


def _ends_of_terminal(fd: int) -> frozenset[int]:
    """The errors that mean an end and no failure: EIO of a terminal that has gone. Of a file it is a bad disk."""
    return frozenset({errno.EIO}) if os.isatty(fd) else frozenset()


class _RouterProcess:
    """The process behind a local socket, to tell a router that was killed from a session that ended.

    Neither protocol has a word for either, and both look like the end of the output. A fastpty-router that lives
    closes its half only, and the rest after its client; uWSGI closes both at once, but lives on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._pidfd: int | None = None
        if sock.family == socket.AF_UNIX:
            pid, _, _ = peer_credentials(sock)
            with contextlib.suppress(OSError):  # of another pid namespace: 0, which is no process
                self._pidfd = os.pidfd_open(pid)

    def __enter__(self) -> _RouterProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)

    def has_ended(self, sock: socket.socket) -> bool:
        """Whether it has, at the end of the output of `sock`; False where that cannot be known."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(sock, 0)
        if not poll.poll(0):  # no hang-up: it closed its half only
            return False
        # A dying process's descriptors close a moment before it counts as dead.
        return bool(select.select([self._pidfd], [], [], _DYING_SECONDS)[0])


class _Attachment:
    def __init__(
        self,
        sock: socket.socket,
        framed: bool,
        streams: _Streams,
        escapes: EscapeFilter,
        signals: HeldSignals,
        terminal: RawTerminal,
        router: _RouterProcess,
    ) -> None:
        self._sock = sock
        self._router = router
        self._framed = framed
        self._streams = streams
        self._escapes = escapes
        self._signals = signals
        self._terminal = terminal
        self._to_router = bytearray()
        self._to_stdout = bytearray()
        self._stdin_open = True
        self._session_open = True
        self._broken: str | None = None
        self._announced: tuple[int, int] | None = None

    def run(self) -> None:
        self._announce_size()
        while self._session_open or self._to_stdout:
            self._terminal.ensure_raw()
            self._turn()
        if self._broken is not None:
            raise FastptyError(f"the connection broke: {self._broken}")

    def _turn(self) -> None:
        poll = select.poll()
        actions: dict[int, Callable[[], None]] = {}
        for fd, events, act in self._interests():
            poll.register(fd, events)
            actions[fd] = act
        for fd, _ in poll.poll():
            actions[fd]()

    def _interests(self) -> Iterator[tuple[int, int, Callable[[], None]]]:
        """What each descriptor is waited for, and what then. One that nothing is wanted of is left out:
        poll(2) would report its hang-up again and again.
        """
        yield self._signals.fileno(), select.POLLIN, self._on_signals
        if self._to_stdout:
            yield self._streams.stdout, select.POLLOUT, self._write
        if not self._session_open:
            return  # what is typed from here on is for the local shell
        events = select.POLLOUT if self._to_router else 0
        if len(self._to_stdout) < _HIGH_WATER_BYTES:
            events |= select.POLLIN
        if events:
            yield self._sock.fileno(), events, self._on_socket
        if self._stdin_open and len(self._to_router) < _HIGH_WATER_BYTES:
            yield self._streams.stdin, select.POLLIN, self._read

    def _read(self) -> None:
        if not self._session_open:
            return  # it ended in this very turn: the keys are for the local shell
        try:
            data = os.read(self._streams.stdin, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in self._streams.stdin_ends:
                raise FastptyError(f"cannot read the input: {error.strerror}") from error
            data = b""
        if not data:
            self._stdin_open = False
            self._queue(self._escapes.flush())
            self._send()
            return
        fed = self._escapes.feed(data)
        self._queue(fed.output)
        if fed.help:
            self._to_stdout += self._escapes.help_text()
        if fed.disconnect:
            self._send()
            raise FastptyError("disconnected")

    def _queue(self, data: bytes) -> None:
        self._to_router += uwsgi.stdin_frames(data) if self._framed else data

    def _on_socket(self) -> None:
        self._send()
        if len(self._to_stdout) < _HIGH_WATER_BYTES:
            self._receive()

    def _send(self) -> None:
        try:
            if self._to_router:
                del self._to_router[: self._sock.send(self._to_router[:_CHUNK_BYTES])]
            if not (self._to_router or self._stdin_open):
                self._sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            # The router takes no more. Whether the session has ended or the connection broke shows when all
            # that it sent is read.
            self._to_router.clear()
            self._stdin_open = False

    def _receive(self) -> None:
        data = b""
        try:
            data = self._sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            # A local socket cannot break. There a reset follows the last output, and says that the session
            # ended before its input was all read.
            if self._sock.family != socket.AF_UNIX:
                self._broken = error.strerror
        self._to_stdout += data
        self._session_open = bool(data)
        if not data and self._router.has_ended(self._sock):
            self._broken = "the router has ended"

    def _write(self) -> None:
        try:
            del self._to_stdout[: os.write(self._streams.stdout, self._to_stdout[: self._streams.write_bytes])]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in self._streams.stdout_ends:
                raise FastptyError(f"cannot write the output: {error.strerror}") from error
            self._to_stdout.clear()
            self._session_open = False

    def _on_signals(self) -> None:
        taken = self._signals.take()
        for signum in FATAL:
            if signum in taken:
                raise FastptyError(f"ended by {signal.strsignal(signum)}")
        if signal.SIGTSTP in taken:
            self._terminal.restore()
            self._signals.stop()
        if signal.SIGCONT in taken:
            self._terminal.forget()
        self._announce_size()

    def _announce_size(self) -> None:
        size = window_size(self._streams.stdin) or window_size(self._streams.stdout)
        if self._framed and size and size != self._announced:
            self._to_router += uwsgi.window_frames(*size)
            self._announced = size
