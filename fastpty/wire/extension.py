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

VERSION = 1

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
