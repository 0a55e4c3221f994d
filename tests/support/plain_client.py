"""A client of the extension that is written from docs/protocol.md alone. It imports nothing of fastpty's."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

# Client to router.
STDIN, ROWS, COLUMNS, START, END_INPUT, SIZE, PING, STOP = 0, 100, 101, 131, 137, 138, 140, 145
# Router to client.
OUTPUT, STDERR, WELCOME, STARTED, CREDIT, PONG, STREAM_ENDED = 0, 149, 151, 153, 157, 158, 161
STATUS, ERROR = 163, 165
# Items of START.
ARGUMENT, TERM, ENVIRONMENT, DIRECTORY, WINDOW, STREAMS = 1, 2, 3, 5, 6, 7

MOST_PAYLOAD = 65_535
GOES_ON = 1


class BrokenError(Exception):
    """The connection ended without a final frame, or the router violated the protocol."""


class Welcome(NamedTuple):
    version: int
    capabilities: int
    window: int
    request: int


class Status(NamedTuple):
    how: int
    flags: int
    code: int
    output: int
    standard_error: int
    input: int
    input_left: int
    microseconds: int


class RouterError(Exception):
    """The final frame was ERROR."""

    def __init__(self, code: int, errno: int, phase: int, text: str) -> None:
        super().__init__(text)
        self.code, self.errno, self.phase, self.text = code, errno, phase, text


def frame(number: int, payload: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack("<BHB", 0, len(payload) if size is None else size, number) + payload


def message(number: int, payload: bytes) -> bytes:
    """A message as one or more frames (10.2)."""
    sent = b""
    while len(payload) > MOST_PAYLOAD:
        sent += struct.pack("<BHB", GOES_ON, MOST_PAYLOAD, number) + payload[:MOST_PAYLOAD]
        payload = payload[MOST_PAYLOAD:]
    return sent + frame(number, payload)


def item(tag: int, value: bytes) -> bytes:
    return struct.pack("<BI", tag, len(value)) + value


def items(payload: bytes) -> dict[int, bytes]:
    found = {}
    while payload:
        tag, length = struct.unpack_from("<BI", payload)
        found[tag] = payload[5 : 5 + length]
        payload = payload[5 + length :]
    return found


class PlainClient:
    """One session. `output` is what the program has written so far, `errors` the same of its standard error in exec."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self.output = self.errors = b""
        self.ended_streams: set[int] = set()
        self.pongs: list[bytes] = []
        self.started: dict[int, bytes] | None = None
        self._credit = 0
        self._unsent = b""
        self._input_ends = False
        self._final: Status | RouterError | None = None
        self._nonce = bytes(8)
        if isinstance(address, str):
            self._nonce = os.urandom(8)
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(b"\0fastpty/1/" + self._nonce.hex().encode())
        else:
            self.sock = socket.socket(socket.AF_INET)
        self.sock.settimeout(30)
        self.sock.connect(address)
        self._messages = self._read_messages()
        self.welcome = self._greeting()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # What is sent

    def start(
        self,
        arguments: Iterable[str] = (),
        *,
        term: str = "xterm",
        environment: Iterable[str] = (),
        directory: str | None = None,
        size: tuple[int, int] | None = (24, 80),
        streams: tuple[int, int] | None = None,
    ) -> None:
        """streams: the flags and milliseconds of exec (13.8)."""
        request = b"".join(item(ARGUMENT, os.fsencode(word)) for word in arguments)
        request += item(TERM, term.encode())
        request += b"".join(item(ENVIRONMENT, os.fsencode(variable)) for variable in environment)
        if directory is not None:
            request += item(DIRECTORY, os.fsencode(directory))
        if size is not None:
            request += item(WINDOW, struct.pack("<4H", *size, 0, 0))
        if streams is not None:
            request += item(STREAMS, struct.pack("<BI", *streams))
        self.sock.sendall(message(START, request))

    def type(self, data: bytes) -> None:
        """Sends input as far as the router's window allows; the rest follows while read() is called."""
        self._unsent += data
        self._send_input()

    def end_input(self) -> None:
        self._input_ends = True
        self._send_input()

    def _send_input(self) -> None:
        while self._unsent and self._credit:
            piece = self._unsent[: min(self._credit, MOST_PAYLOAD)]
            self.sock.sendall(frame(STDIN, piece))
            self._credit -= len(piece)
            self._unsent = self._unsent[len(piece) :]
        if self._input_ends and not self._unsent:
            self._input_ends = False
            self.sock.sendall(frame(END_INPUT))

    def resize(self, rows: int, columns: int) -> None:
        self.sock.sendall(frame(SIZE, struct.pack("<4H", rows, columns, 0, 0)))

    def resize_in_two_steps(self, rows: int, columns: int) -> None:
        self.sock.sendall(frame(ROWS, size=rows) + frame(COLUMNS, size=columns))

    def send_signal(self, number: int) -> None:
        self.sock.sendall(frame(number))

    def stop(self, stream: int) -> None:
        self.sock.sendall(frame(STOP, bytes([stream])))

    def ping(self, data: bytes) -> None:
        self.sock.sendall(frame(PING, data))

    # What is received

    def _read_messages(self) -> Iterator[tuple[int, bytes]]:
        buffer = b""
        joined = b""
        while True:
            while len(buffer) < 4 or len(buffer) < 4 + self._payload_bytes(buffer):
                try:
                    data = self.sock.recv(65_536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return
                buffer += data
            flags, _, number = struct.unpack_from("<BHB", buffer)
            size = self._payload_bytes(buffer)
            joined += buffer[4 : 4 + size]
            buffer = buffer[4 + size :]
            if not flags & GOES_ON or number == OUTPUT:
                yield number, joined
                joined = b""

    @staticmethod
    def _payload_bytes(header: bytes) -> int:
        _, size, number = struct.unpack_from("<BHB", header)
        return int(size) if number == 0 or number >= 130 else 0

    def _greeting(self) -> Welcome:
        number, payload = next(self._messages, (-1, b""))
        if number != WELCOME or not payload.startswith(b"fastpty\n" + self._nonce):
            raise BrokenError("the router does not speak the extension")
        welcome = Welcome(*struct.unpack_from("<HIII", payload, 16))
        self._credit = welcome.window
        return welcome

    def read(self) -> bool:
        """Reads one message. Returns False once the final frame has come."""
        if self._final is not None:
            return False
        number, payload = next(self._messages, (-1, b""))
        if number == -1:
            raise BrokenError("the connection ended without a final frame")
        if number == OUTPUT:
            self.output += payload
        elif number == STDERR:
            self.errors += payload
        elif number == STREAM_ENDED:
            self.ended_streams.add(payload[0])
            self._unsent = self._unsent if payload[0] else b""  # no credit follows
            self._send_input()
        elif number == STARTED:
            self.started = items(payload)
        elif number == CREDIT:
            self._credit += struct.unpack("<I", payload)[0]
            self._send_input()
        elif number == PONG:
            self.pongs.append(payload)
        elif number == STATUS:
            how, flags, code, _, *counts = struct.unpack_from("<BBHHQQQQQ", payload)
            self._final = Status(how, flags, code, *counts)
        elif number == ERROR:
            self._final = RouterError(*struct.unpack_from("<HHB", payload), payload[5:].decode())
        elif number % 2:
            raise BrokenError(f"frame {number} is not known")
        return True

    def read_until(self, text: bytes) -> None:
        while text not in self.output:
            assert self.read(), f"the session ended before {text!r} came: {self.output!r}"

    def status(self) -> Status:
        """Reads to the end of the session. Raises RouterError if the router could not run it to its end."""
        while self.read():
            pass
        if isinstance(self._final, RouterError):
            raise self._final
        assert self._final is not None
        if (self._final.output, self._final.standard_error) != (len(self.output), len(self.errors)):
            raise BrokenError("output is missing")
        return self._final
