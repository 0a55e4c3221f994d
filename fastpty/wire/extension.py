"""Builds and reads the frames of the negotiated extension, both directions. Specification: docs/protocol.md, part B.

    modifier1 u8 (bit 0: the next frame of this number goes on with the payload) | size u16 | number u8 | payload

Integers are unsigned and little-endian. The numbers 1 to 129 are those of the uwsgi protocol: their frames are the header
alone. 0 and 130 to 255 have `size` bytes of payload. A receiver ends the connection at an odd number from 131 up that it
does not know, and ignores an even one.

This module loads nothing but struct, for a client starts with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

VERSION = 1

NAME_PREFIX = b"\0fastpty/1/"
"""A unix client binds its socket to this and 16 lower-case hexadecimal digits, the nonce, to ask for the extension."""

MAGIC = b"fastpty\n"
"""The beginning of WELCOME's payload."""

# Client to router, beside STDIN, signals, ROWS and COLUMNS of the uwsgi protocol.
START = 131
END_INPUT = 137
SIZE = 138
PING = 140
STOP = 145

# Router to client.
OUTPUT = 0
STDERR = 149
WELCOME = 151
STARTED = 153
CREDIT = 157
PONG = 158
NOTICE = 160
STREAM_ENDED = 161
STATUS = 163
ERROR = 165

# Tags of START's items.
ARGUMENT = 1  # of the command, in order; the first is the program
TERM = 2
WINDOW = 4  # rows, columns, horizontal and vertical pixels: four u16
ENVIRONMENT = 5  # NAME=VALUE; refused where the client may not choose
DIRECTORY = 7
FLAGS = 9  # u32
OFFERED = 10  # NAME=VALUE, as a locale; ignored where the router does not accept it

# Bits of FLAGS.
FLAG_TERMINAL = 1

# Tags of STARTED's items.
STARTED_SESSION = 2  # its number, u64
STARTED_PROCESS = 4  # u32
STARTED_WINDOW = 6  # rows, columns: two u16

# Bits of WELCOME's capabilities. 0: refused; an ERROR follows.
CAPABLE_TERMINAL = 1
CAPABLE_COMMAND = 64  # the client may choose command, environment and directory

# ERROR: its code, and the phase in which it happened.
ERROR_PROTOCOL, ERROR_UNSUPPORTED, ERROR_REFUSED, ERROR_LIMIT = 1, 2, 3, 4
ERROR_EXECUTE, ERROR_TIMEOUT, ERROR_INTERNAL, ERROR_STOPPED = 8, 9, 10, 11
IN_GREETING, IN_START, IN_SESSION = 1, 2, 3

# STATUS: how the program has ended, and flags.
EXITED, SIGNALLED, DUMPED, UNKNOWN = 1, 2, 3, 4
STATUS_CUT = 2  # output that was written after the program's exit may be missing
STATUS_BY_ROUTER = 8  # the router has hung the program up

STREAMS = (OUTPUT, STDERR)
"""Frames whose payload is a stream of bytes: FrameReader gives it piece by piece, as it comes."""

PAYLOAD_BYTES = 65_535
"""Most bytes of payload in one frame."""

REQUEST_BYTES = 256 << 10
"""Most bytes of one message that goes on over several frames. A longer one is a violation of the protocol."""

_HEADER = struct.Struct("<BHB")
_ITEM = struct.Struct("<BI")
_GOES_ON = 1


class ProtocolError(Exception):
    """The peer sent what the specification does not allow. The connection is of no use any more."""


def has_payload(number: int) -> bool:
    return number == 0 or number >= 130


def frames(number: int, payload: bytes = b"") -> bytes:
    """One message with this payload, in as many frames as it takes; ValueError for a number that carries none."""
    if payload and not has_payload(number):
        raise ValueError(f"frame {number} has no payload")
    starts = range(0, max(len(payload), 1), PAYLOAD_BYTES)
    pieces = [payload[start : start + PAYLOAD_BYTES] for start in starts]
    last = len(pieces) - 1
    return b"".join(
        _HEADER.pack(_GOES_ON if index < last else 0, len(piece), number) + piece
        for index, piece in enumerate(pieces)
    )


def items(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """A list of tagged values: tag u8, length u32, bytes. An odd tag must be understood, an even one may be ignored."""
    return b"".join(_ITEM.pack(tag, len(value)) + value for tag, value in pairs)


def read_items(payload: bytes) -> list[tuple[int, bytes]]:
    """The tagged values of a payload, in order; ProtocolError if the last one is cut."""
    found, offset = [], 0
    while offset < len(payload):
        if offset + _ITEM.size > len(payload):
            raise ProtocolError("an item is cut")
        tag, length = _ITEM.unpack_from(payload, offset)
        offset += _ITEM.size
        if offset + length > len(payload):
            raise ProtocolError("an item is cut")
        found.append((tag, payload[offset : offset + length]))
        offset += length
    return found


class Welcome(NamedTuple):
    """The payload of WELCOME."""

    nonce: bytes
    version: int
    capabilities: int
    window: int
    """Bytes of STDIN that the client may send before it gets CREDIT."""
    request_bytes: int
    """Most bytes of START's payload."""


class Status(NamedTuple):
    """The payload of STATUS. All counts are bytes."""

    how: int
    flags: int
    code: int
    """The exit status, or the signal."""
    output: int
    errors: int
    input_taken: int
    input_dropped: int
    microseconds: int


class Error(NamedTuple):
    """The payload of ERROR."""

    code: int
    errno: int
    phase: int
    text: str


_WELCOME = struct.Struct("<8s8sHIII")
_STATUS = struct.Struct("<BBHHQQQQQ")
_ERROR = struct.Struct("<HHB")


def read_welcome(payload: bytes) -> Welcome:
    """Raises ProtocolError if this is no WELCOME. Bytes that a later version adds are ignored."""
    if len(payload) < _WELCOME.size or not payload.startswith(MAGIC):
        raise ProtocolError("no WELCOME")
    return Welcome(*_WELCOME.unpack_from(payload)[1:])


def read_status(payload: bytes) -> Status:
    if len(payload) < _STATUS.size:
        raise ProtocolError("STATUS is cut")
    how, flags, code, _reserved, *counts = _STATUS.unpack_from(payload)
    return Status(how, flags, code, *counts)


def read_error(payload: bytes) -> Error:
    if len(payload) < _ERROR.size:
        raise ProtocolError("ERROR is cut")
    return Error(*_ERROR.unpack_from(payload), payload[_ERROR.size :].decode("utf-8", "replace"))


def window_item(rows: int, columns: int, width: int = 0, height: int = 0) -> tuple[int, bytes]:
    """The item of START for this window size; width and height in pixels."""
    return WINDOW, struct.pack("<4H", rows, columns, width, height)


def size_frame(rows: int, columns: int, width: int = 0, height: int = 0) -> bytes:
    """The SIZE frame for this window size."""
    return frames(SIZE, struct.pack("<4H", rows, columns, width, height))


class FrameReader:
    """Takes a connection's bytes as they come and gives the messages in them.

    STDIN, OUTPUT and STDERR come in pieces, each as soon as it is there. Every other message comes whole, joined from
    all its frames.
    """

    def __init__(self) -> None:
        self._header = b""
        self._number = -1
        self._left = 0
        self._goes_on = False
        self._joined = bytearray()
        self._joined_number = -1  # of the message that is not complete yet; -1: none

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The number and payload of each message that `data` completes, and of each piece of a stream in it.

        ProtocolError: a message is longer than REQUEST_BYTES, or another one began before it was complete.
        """
        offset = 0
        while offset < len(data):
            if self._number < 0:
                wanted = _HEADER.size - len(self._header)
                self._header += data[offset : offset + wanted]
                offset += wanted
                if len(self._header) < _HEADER.size:
                    return
                self._open()
            piece = data[offset : offset + self._left]
            offset += len(piece)
            self._left -= len(piece)
            yield from self._take(piece)

    @property
    def is_within_a_frame(self) -> bool:
        """True if the connection's end would now cut a frame or a message."""
        return self._number >= 0 or self._joined_number >= 0 or self._header != b""

    def _open(self) -> None:
        flags, size, number = _HEADER.unpack(self._header)
        self._header = b""
        if self._joined_number not in (-1, number):
            raise ProtocolError(f"frame {number} came within a message of frames {self._joined_number}")
        self._number = number
        self._goes_on = bool(flags & _GOES_ON) and has_payload(number)
        self._left = size if has_payload(number) else 0

    def _take(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        number, is_complete = self._number, self._left == 0
        if is_complete:
            self._number = -1
        if number in STREAMS:
            if piece:
                yield number, piece
            return
        self._joined += piece
        if len(self._joined) > REQUEST_BYTES:
            raise ProtocolError(f"a message of frames {number} is longer than {REQUEST_BYTES} bytes")
        self._joined_number = number
        if is_complete and not self._goes_on:
            message = bytes(self._joined)
            self._joined.clear()
            self._joined_number = -1
            yield number, message
