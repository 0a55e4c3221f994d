"""The Python interface: a session on a terminal, over the negotiated extension. `fastpty.Session` is this class."""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from fastpty.client import request
from fastpty.client.link import HIGH_WATER_BYTES
from fastpty.client.opening import open_session, seconds_left
from fastpty.client.report import signal_of
from fastpty.client.session import Session as Protocol
from fastpty.errors import SessionError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self, TypedDict, Unpack

    from fastpty.wire.extension import Status

    class Options(TypedDict, total=False):
        """The keyword arguments of Session."""

        env: Mapping[str, str] | None
        cwd: str | bytes | None
        size: tuple[int, int]
        term: str | None
        timeout: float | None


_CHUNK_BYTES = 65536


class _Options:
    """The keyword arguments of Session, with their defaults. Others raise TypeError."""

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | bytes | None = None,
        size: tuple[int, int] = (24, 80),
        term: str | None = "xterm-256color",
        timeout: float | None = 10.0,
    ) -> None:
        self._variables = [f"{name}={value}" for name, value in (env or {}).items()]
        self._directory = cwd
        self._term = os.fsencode(term or "")
        self.size = size
        self.timeout = timeout

    def request(self, command: Sequence[str | bytes]) -> bytes:
        """The frame START."""
        return request.start(self.size, command, self._variables, self._directory, {b"TERM": self._term})


class Session:
    """A program on a terminal behind a router.

    >>> with fastpty.Session("/tmp/fpty.socket", ["sh", "-c", "read name; exit 3"], size=(24, 80)) as session:
    ...     session.write(b"me\\n")
    ...     print(session.read())
    ...     print(session.wait())

    address: as for `fastpty connect`. A TCP address must be one of the router's fpty-router addresses.
    command: the program and its arguments; None for the router's own, for example a shell.
    Keyword arguments:
    env: additional environment variables for the program. cwd: its working directory.
    size: rows and columns of the terminal, (24, 80) by default.
    term: the terminal's type, "xterm-256color" by default; None leaves it to the router.
    timeout: the seconds within which the router must accept the session, 10 by default; None waits forever.

    Raises SessionError if the session cannot begin; its `exit_status` is 127 if the command was not found, 126 if it
    cannot be executed. Raises FastptyError if it cannot connect, and UsageError for arguments that are not valid.

    fileno() is a stream socket that carries the program's output and input and nothing else, so it works with select,
    asyncio and pexpect.fdpexpect. A thread moves the bytes between it and the router. The end of the output is an end
    of file; wait() then returns how the program ended. Methods may be called from any thread.
    """

    def __init__(
        self, address: str, command: Sequence[str | bytes] | None = None, **options: Unpack[Options]
    ) -> None:
        name = os.fspath(address)
        wanted = _Options(**options)
        timeout = wanted.timeout
        self._size = wanted.size
        self._request = wanted.request(command or ())
        self._protocol = Protocol()
        self._protocol.program = os.fsdecode(command[0]) if command else ""
        self._output = bytearray()
        self._status: Status | None = None
        self._failure: SessionError | None = None
        self._until = None if timeout is None else time.monotonic() + timeout
        self._link = open_session(name, self._protocol, self._request, size=self._size, until=self._until)
        self._network = self._link.sock
        try:
            self._wait_for_start()
        except BaseException:
            self._network.close()
            raise
        self._lock = threading.Lock()
        self._is_closing = False
        self._socket, self._inner = socket.socketpair()
        self._inner.setblocking(False)
        self._wake_in: int | None
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="fastpty session", daemon=True)
        self._thread.start()

    # The start

    def _wait_for_start(self) -> None:
        self._output += self._link.take(self._link.early)
        while not (self._protocol.has_started or self._protocol.is_over) and self._link.output_open:
            events = select.POLLIN | (select.POLLOUT if self._link.wants_to_send else 0)
            left = seconds_left(self._until)
            poll = select.poll()
            poll.register(self._network, events)
            if not poll.poll(None if left is None else left * 1000):
                raise SessionError(f"{self._link.name}: the session did not start in time")
            self._link.send()
            self._output += self._link.receive()
        if not self._protocol.has_started:
            self._protocol.check(self._link.broken)

    # The session

    @property
    def number(self) -> int | None:
        """The session's number in the router's log."""
        return self._protocol.number

    @property
    def output_cut(self) -> bool:
        """After wait(): True if the program left processes behind whose output may be missing."""
        return self._status is not None and bool(self._status.flags & extension.CUT)

    def fileno(self) -> int:
        """The descriptor of the program's output and input."""
        return self._socket.fileno()

    def read(self, size: int = _CHUNK_BYTES) -> bytes:
        """Waits for output and returns 1 to `size` bytes of it; b"" at its end."""
        return self._socket.recv(size)

    def write(self, data: bytes) -> None:
        """Types `data` on the terminal; waits while there is no room. Raises BrokenPipeError after the session."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Ends the program's input, as the end-of-file key does."""
        self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """Changes the terminal's size. Raises struct.error for a number below 0 or above 65,535."""
        with self._lock:
            self._link.announce((rows, columns))
            self._wake()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of the program; returns its exit status, or -N if signal N ended it, as subprocess does.

        Read all output first: a program blocks while there is no room for its output. Raises TimeoutError if it still
        runs after `timeout` seconds, and SessionError if it is not known how it ended, or if output is missing.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError("the session has not ended")
        if self._failure is not None:
            raise self._failure
        assert self._status is not None
        signum = signal_of(self._status)
        return self._status.code if signum is None else -signum

    def close(self) -> None:
        """Leaves the session. A program that still runs is hung up."""
        with self._lock:
            self._is_closing = True
            self._wake()
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The thread

    def _wake(self) -> None:
        """Makes the thread poll again, with what is to be sent now. The caller holds the lock."""
        if self._wake_in is None:
            return
        try:
            os.write(self._wake_in, b"x")
        except BlockingIOError:  # the pipe is full, so the thread will wake up anyway
            return

    def _run(self) -> None:
        try:
            while not self._is_closing and (self._output or self._link.output_open):
                self._turn()
            self._status = self._protocol.check("it was closed" if self._is_closing else self._link.broken)
        except SessionError as error:
            self._failure = error
        except (OSError, MemoryError) as error:
            self._failure = SessionError(f"{self._link.name}: {error}; exit status unknown")
        finally:
            self._network.close()
            self._inner.close()
            with self._lock:
                os.close(self._wake_out)
                if self._wake_in is not None:
                    os.close(self._wake_in)
                self._wake_in = None

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._wake_out, select.POLLIN)
        network = select.POLLOUT if self._link.wants_to_send else 0
        network |= select.POLLIN if self._link.output_open and len(self._output) < HIGH_WATER_BYTES else 0
        inner = select.POLLOUT if self._output else 0
        inner |= select.POLLIN if self._link.has_room and self._link.output_open else 0
        for sock, events in ((self._network, network), (self._inner, inner)):
            if events:
                poll.register(sock, events)
        ready = dict(poll.poll())
        with self._lock:
            if self._wake_out in ready:
                os.read(self._wake_out, _CHUNK_BYTES)
            if self._inner.fileno() in ready:
                self._serve_inner(ready[self._inner.fileno()])
            self._link.send()
            if self._network.fileno() in ready and network & select.POLLIN:
                self._output += self._link.receive()

    def _serve_inner(self, events: int) -> None:
        try:
            if self._output and events & select.POLLOUT:
                del self._output[: self._inner.send(self._output)]
            if events & (select.POLLIN | select.POLLHUP) and self._link.has_room:
                data = self._inner.recv(_CHUNK_BYTES)
                if data:
                    self._link.queue(data)
                else:
                    self._link.end_input()
        except BlockingIOError:
            return
        except OSError:  # the other end was closed
            self._is_closing = True
