"""Runs the real `fastpty` command, on a pty or on pipes, against a router that a test scripts itself."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import ROOT
from tests.support.harness import PLAIN_PYTHON, join_thread

DEADLINE_SECONDS = 30.0

CLIENT = [PLAIN_PYTHON, "-m", "fastpty"]  # it does not use the C part


class ScriptedRouter:
    """A listening socket whose connections the test answers in place of a router."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        server.settimeout(DEADLINE_SECONDS)

    @property
    def address(self) -> str:
        name = self._server.getsockname()
        return name if isinstance(name, str) else f"{name[0]}:{name[1]}"

    def accept(self) -> socket.socket:
        peer, _ = self._server.accept()
        peer.settimeout(DEADLINE_SECONDS)
        return peer

    @contextmanager
    def playing(self, part: Callable[[socket.socket], None]) -> Iterator[None]:
        """Runs `part` on the next connection in a thread; raises what it raised."""
        failures: list[BaseException] = []

        def play() -> None:
            try:
                with self.accept() as peer:
                    part(peer)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        yield
        join_thread(thread)
        if failures:
            raise failures[0]


@contextmanager
def scripted_router(directory: Path, *, tcp: bool = False) -> Iterator[ScriptedRouter]:
    with socket.create_server(("127.0.0.1", 0)) if tcp else socket.socket(socket.AF_UNIX) as server:
        if not tcp:
            server.bind(f"{directory}/router")
            server.listen()
        yield ScriptedRouter(server)


def send_notice(peer: socket.socket, line: bytes) -> None:
    """Sends a line as a router does that ends the session, with a mark (fastpty/relay/notice.pxd)."""
    if peer.family == socket.AF_UNIX:
        socket.send_fds(peer, [line], [peer.fileno()])
    else:
        peer.sendall(line)
        peer.send(b"!", socket.MSG_OOB)


def receive_until(peer: socket.socket, wanted: bytes) -> bytes:
    """Reads until `wanted` has come; returns everything read."""
    data = b""
    while wanted not in data:
        some = peer.recv(65536)
        assert some, f"the client closed after {data!r}"
        data += some
    return data


def receive_all(peer: socket.socket) -> bytes:
    data = bytearray()
    while some := peer.recv(65536):
        data += some
    return bytes(data)


@contextmanager
def piped_client(
    *arguments: str,
    command: Sequence[str] = CLIENT,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the client on pipes; kills it at the end if it still runs."""
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
    ) as client:
        try:
            yield client
        finally:
            client.kill()


class TerminalClient:
    """A command with a pty as its controlling terminal."""

    def __init__(self, argv: Sequence[str], rows: int, columns: int, typed_ahead: bytes) -> None:
        self.screen, self.terminal = pty.openpty()
        termios.tcsetwinsize(self.terminal, (rows, columns))
        self.modes = termios.tcgetattr(self.terminal)
        self.type(typed_ahead)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv],  # makes it the controlling terminal
            cwd=ROOT,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
        )
        self.shown = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.terminal)[3] & (termios.ICANON | termios.ISIG)

    @property
    def modes_are_as_before(self) -> bool:
        return termios.tcgetattr(self.terminal) == self.modes

    def type(self, keys: bytes) -> None:
        while keys:
            keys = keys[os.write(self.screen, keys) :]

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.screen, (rows, columns))

    def read_until(self, wanted: bytes) -> bytes:
        """Reads the terminal's output up to and including `wanted`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while wanted not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} did not show, but {self.shown!r}"
            self.shown += os.read(self.screen, 65536)
        end = self.shown.index(wanted) + len(wanted)
        shown, self.shown = self.shown[:end], self.shown[end:]
        return shown

    def shows_within(self, seconds: float, wanted: bytes) -> bool:
        """Reads output until it is quiet for `seconds`, or `wanted` is in it; says whether it is."""
        while wanted not in self.shown and self._read_for(seconds):
            pass
        return wanted in self.shown

    def read_exactly(self, count: int) -> bytes:
        """Reads the next `count` bytes of the terminal's output."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(self.shown) < count:
            assert time.monotonic() < deadline, f"only {len(self.shown)} of {count} bytes show"
            self._read_for(1)
        shown, self.shown = self.shown[:count], self.shown[count:]
        return shown

    def wait(self) -> int:
        """Waits for the exit status, negative for a signal. Reads output meanwhile: the command never blocks."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (status := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"the client does not end; it shows {self.shown!r}"
            self._read_for(0.01)
        while self._read_for(0):
            pass
        return status

    def _read_for(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.screen] if self.screen >= 0 else [], [], [], seconds)
        if ready:
            self.shown += os.read(self.screen, 65536)
        return bool(ready)

    def close_screen(self) -> None:
        """Hangs up the terminal."""
        os.close(self.screen)
        self.screen = -1

    def signal(self, signum: int) -> None:
        self._process.send_signal(signum)

    def close(self) -> None:
        self._process.kill()
        with suppress(ProcessLookupError):  # processes left in the session
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self.screen >= 0:
            os.close(self.screen)
        os.close(self.terminal)


@contextmanager
def terminal_client(
    *arguments: str,
    command: Sequence[str] = CLIENT,
    rows: int = 24,
    columns: int = 80,
    typed_ahead: bytes = b"",
) -> Iterator[TerminalClient]:
    """Runs the client on a pty; kills it at the end if it still runs."""
    client = TerminalClient([*command, *arguments], rows, columns, typed_ahead)
    try:
        yield client
    finally:
        client.close()
