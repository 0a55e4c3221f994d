"""A plain client of the negotiated extension, for tests: one socket, no terminal of its own."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import termios
import time
from collections.abc import Iterable
from typing import Self

from fastpty.wire import extension
from fastpty.wire.extension import FrameReader, Refusal, Status, Welcome, frames, items

NAME_OF_NO_CLIENT = b"\0" * extension.NONCE_BYTES

UNFINISHED = 3 * (b"\x01\xff\xff" + bytes([extension.START]) + bytes(65_535))
"""The beginning of a START for which the router needs 256 KiB."""


class ExtensionClient:
    """A connection to a router. Unix sockets are bound to a name that asks for the extension.

    `output` collects the payload of OUTPUT frames, `errors` that of STDERR frames, `messages` every other message, in
    the order in which they came.
    """

    def __init__(self, address: str | tuple[str, int] | socket.socket, *, nonce: bytes | None = None) -> None:
        """address: where to connect to, or a connection."""
        self.nonce = os.urandom(extension.NONCE_BYTES) if nonce is None else nonce
        self.output = b""
        self.errors = b""
        self.messages: list[tuple[int, bytes]] = []
        self.has_ended = False
        self._reader = FrameReader()
        if isinstance(address, socket.socket):
            self.sock = address
        else:
            self.sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.sock.settimeout(30)
        if isinstance(address, str):
            self.sock.bind(extension.NAME + self.nonce.hex().encode())
        if not isinstance(address, socket.socket):
            self.sock.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, number: int, payload: bytes = b"") -> None:
        self.sock.sendall(frames(number, payload))

    def start(
        self,
        argv: Iterable[str] = (),
        *,
        window: tuple[int, int] | None = (30, 100),
        term: str = "xterm",
        more: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Sends START."""
        pairs = [(extension.ARGUMENT, os.fsencode(word)) for word in argv]
        if window is not None:
            pairs.append((extension.WINDOW, extension.window(*window)))
        pairs.append((extension.TERM, term.encode()))
        self.send(extension.START, items([*pairs, *more]))

    def execute(self, *argv: str, merges: bool = False, drain_ms: int | None = 1000) -> None:
        """Sends START for a program without a terminal."""
        item = extension.STREAMS_ITEM, extension.streams(merges=merges, drain_ms=drain_ms)
        self.start(argv, window=None, more=[item])

    def type(self, data: bytes) -> None:
        """Sends STDIN."""
        self.send(extension.STDIN, data)

    def resize(self, rows: int, columns: int) -> None:
        self.send(extension.SIZE, extension.window(rows, columns))

    def read(self, size: int = 65536) -> bool:
        """Reads once. Returns False at the end of the connection."""
        try:
            data = self.sock.recv(size)
        except ConnectionResetError:
            data = b""
        if not data:
            self.has_ended = True
            assert not self._reader.is_within_a_frame, "the connection ended within a frame"
            return False
        for number, payload in self._reader.feed(data):
            assert self.final is None, "nothing follows a final frame"
            if number == extension.OUTPUT:
                self.output += payload
            elif number == extension.STDERR:
                self.errors += payload
            else:
                self.messages.append((number, payload))
        return True

    def read_until(self, number: int) -> bytes:
        """Returns the payload of the first message with this number."""
        while True:
            for found, payload in self.messages:
                if found == number:
                    return payload
            assert self.read(), f"the connection ended before frame {number}: {self.messages}, {self.output!r}"

    def read_output_until(self, text: bytes) -> None:
        while text not in self.output:
            assert self.read(), f"the connection ended before {text!r}: {self.messages}, {self.output!r}"

    def read_to_end(self) -> None:
        while self.read():
            pass

    @property
    def leader(self) -> int:
        """The program's pid, from STARTED."""
        found = dict(extension.read_items(self.read_until(extension.STARTED)))
        return int.from_bytes(found[extension.PROCESS], "little")

    def has_nothing_to_read(self, seconds: float = 0.0) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]

    @property
    def welcome(self) -> Welcome:
        return Welcome(self.read_until(extension.WELCOME))

    @property
    def final(self) -> tuple[int, bytes] | None:
        """The final frame, if it has come."""
        for message in self.messages:
            if message[0] in (extension.STATUS, extension.ERROR):
                return message
        return None

    def status(self) -> Status:
        """Reads to the end of the connection, and returns STATUS. Its count of output must be right."""
        self.read_to_end()
        assert self.final is not None, "a session sends a final frame"
        assert self.final[0] == extension.STATUS, self.final
        status = Status(self.final[1])
        assert status.output_bytes == len(self.output)
        assert status.error_bytes == len(self.errors)
        return status

    def error(self) -> Refusal:
        """Reads to the end of the connection, and returns ERROR."""
        self.read_to_end()
        assert self.final is not None, "a session sends a final frame"
        assert self.final[0] == extension.ERROR, self.final
        return Refusal(self.final[1])


def waiting_bytes(sock: socket.socket, more_than: int) -> int:
    """Returns how many bytes wait to be read, as soon as they are more than this; or this, if no more come."""
    found = bytearray(4)
    until = time.monotonic() + 1
    while True:
        fcntl.ioctl(sock, termios.FIONREAD, found)
        if int.from_bytes(found, "little") > more_than:
            return int.from_bytes(found, "little")
        if time.monotonic() >= until:
            return more_than
        time.sleep(0.005)


def ask_for_pieces(client: ExtensionClient, most: int) -> int:
    """Has the program write `most` pieces, one by one, and reads none. Returns how many of them the socket took."""
    for pieces in range(most):
        if pieces > 0:
            client.type(b"\n")
        if waiting_bytes(client.sock, 1000 * pieces + 100) < 1000 * (pieces + 1):
            return pieces
    return most
