"""A router's end of the negotiated extension, played by a test. It can do what no router should."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastpty.wire import extension
from fastpty.wire.extension import FrameReader, frames, items, read_items
from tests.support.client_harness import ScriptedRouter

WINDOW_BYTES = 1 << 20


class ExtensionPeer:
    """One connection of a client. The client's frames are read as a router reads them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        name = sock.getpeername() if sock.family == socket.AF_UNIX else ""
        self.name = name if isinstance(name, bytes) else b""
        self.output_bytes = 0
        self._reader = FrameReader()
        self._messages: list[tuple[int, bytes]] = []

    @property
    def nonce(self) -> bytes:
        digits = self.name.removeprefix(extension.NAME)
        return bytes.fromhex(digits.decode()) if digits else bytes(extension.NONCE_BYTES)

    @property
    def welcome(self) -> bytes:
        return extension.welcome(self.nonce, extension.CAN_COMMAND, WINDOW_BYTES)

    def receive(self) -> tuple[int, bytes] | None:
        """The next message of the client, or piece of its input; None at the end of the connection."""
        while not self._messages:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._messages += self._reader.feed(data)
        return self._messages.pop(0)

    def greet(self, window: int = WINDOW_BYTES) -> list[tuple[int, bytes]]:
        """Sends WELCOME, and returns the items of START."""
        self.sock.sendall(extension.welcome(self.nonce, extension.CAN_COMMAND, window))
        return self.read_start()

    def read_start(self) -> list[tuple[int, bytes]]:
        message = self.receive()
        while message is not None and message[0] in (100, 101):  # sent before WELCOME, with --uwsgi
            message = self.receive()
        assert message is not None
        assert message[0] == extension.START
        return read_items(message[1])

    def begin(self, window: int = WINDOW_BYTES, number: int = 7) -> list[tuple[int, bytes]]:
        """Sends WELCOME and STARTED, and returns the items of START."""
        request = self.greet(window)
        self.send(extension.STARTED, items([(extension.SESSION, number.to_bytes(8, "little"))]))
        return request

    def send(self, number: int, payload: bytes = b"") -> None:
        self.sock.sendall(frames(number, payload))

    def output(self, data: bytes) -> None:
        for at in range(0, len(data), 32768):
            self.send(extension.OUTPUT, data[at : at + 32768])
        self.output_bytes += len(data)

    def end(self, code: int = 0, how: int = extension.EXITED, flags: int = 0) -> None:
        """Sends STATUS, and waits until the client has closed."""
        self.sock.sendall(extension.status(how, code, output=self.output_bytes, flags=flags))
        self.sock.shutdown(socket.SHUT_WR)
        self.read_to_end()

    def read_input(self, size: int | None = None) -> bytes:
        """The client's input up to its end, or `size` bytes of it."""
        data = b""
        while size is None or len(data) < size:
            message = self.receive()
            if message is None or message[0] == extension.END_INPUT:
                return data
            assert message[0] == extension.STDIN, message
            data += message[1]
        return data

    def read_to_end(self) -> list[tuple[int, bytes]]:
        messages = []
        while (message := self.receive()) is not None:
            messages.append(message)
        return messages


@contextmanager
def playing(router: ScriptedRouter, *parts: Callable[[ExtensionPeer], None]) -> Iterator[None]:
    """Plays each of `parts` on a connection of its own, one after the other, in a thread."""
    left = list(parts)

    def play(sock: socket.socket) -> None:
        left.pop(0)(ExtensionPeer(sock))
        while left:
            sock.close()
            with router.accept() as following:
                left.pop(0)(ExtensionPeer(following))

    with router.playing(play):
        yield
