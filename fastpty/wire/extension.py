"""Builds and reads the frames of the negotiated extension, both directions. Specification: docs/protocol.md, part B.

    modifier1 u8 (bit 0: the next frame of this number goes on with the payload) | size u16 | number u8 | payload

Integers are unsigned and little-endian. The numbers 1 to 129 are those of the uwsgi protocol: their frames are the
header alone. 0 and 130 to 255 have `size` bytes of payload. A receiver ends the connection at an odd number from 131 up
that it does not know, and ignores an even one.

This module imports nothing but struct, so that the client starts quickly.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION = 1

NAME = b"\0fastpty/1/"
"""A client binds its unix socket to this and its nonce, in 16 lower-case hexadecimal digits."""

ALPN = "fastpty/1"
"""The name of the extension in a TLS handshake (RFC 7301)."""

NONCE_BYTES = 8

FIRST_NUMBER = 130
"""Lower numbers, except 0, belong to the uwsgi protocol."""

# Client to router, beside signals, ROWS and COLUMNS of the uwsgi protocol.
STDIN = 0
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

# Items of START. If an item is not allowed, an odd one makes the router refuse START; an even one is left out.
ARGUMENT = 1  # one word of the command; repeated, in order
ENVIRONMENT = 3  # NAME=VALUE that the user asked for; repeated
DIRECTORY = 5
TERM = 2
OFFERED_ENVIRONMENT = 4  # NAME=VALUE that every client sends, such as LANG; repeated
WINDOW = 6  # as the payload of SIZE
STREAMS_ITEM = 7  # u8 flags, u32 milliseconds: three streams instead of a terminal (exec)
COPY_ITEM = 9  # u8 direction: no program, but files on the streams; the arguments are paths (cp)

# Items of STARTED.
SESSION = 2  # its number, u64
PROCESS = 4  # process id of the program as the router sees it, u32

MAGIC = b"fastpty\n"
"""The first bytes of the payload of WELCOME."""

# Capabilities in WELCOME.
CAN_TERMINAL = 1
CAN_STREAMS = 2
CAN_COPY = 32
CAN_COMMAND = 64  # the client may choose command, environment and directory

# Streams in STREAM_ENDED and STOP.
INPUT_STREAM, OUTPUT_STREAM, ERROR_STREAM = range(3)

# How the program ended, in STATUS.
EXITED, SIGNALLED, DUMPED_CORE, UNKNOWN = range(1, 5)

# Flags of STREAMS_ITEM.
MERGES = 1  # standard error goes into standard output

# Directions of COPY_ITEM, as the router sees them.
SENDS, RECEIVES, RECEIVES_INTO_DIRECTORY = range(1, 4)

DRAIN_FOR_EVER = 0xFFFFFFFF
"""The milliseconds of STREAMS_ITEM that mean: until the output ends."""

# Flags of STATUS.
STILL_OPEN = 1  # other processes still had the output open
CUT = 2  # output that was written after the program's end may be missing
BY_ROUTER = 8  # the router has hung up the program

# Codes of ERROR.
PROTOCOL, UNSUPPORTED, REFUSED, LIMIT, NO_SUCH, EXISTS, BUSY, EXECUTE, TIMEOUT, INTERNAL, STOPPED = range(1, 12)

# Phases of ERROR.
GREETING, STARTING, RUNNING = range(1, 4)

STREAMS = (OUTPUT, STDERR)
"""Frames whose payload is a stream of bytes: FrameReader yields it in pieces, as they arrive."""

PAYLOAD_BYTES = 65_535
"""The most payload bytes in one frame."""

ITEMS_MOST = 4096
"""The most items of one message. A longer list is a violation of the protocol."""

REQUEST_BYTES = 256 << 10
"""The most bytes of one message, over all its frames. A longer one is a violation of the protocol."""

_HEADER = struct.Struct("<BHB")
_ITEM = struct.Struct("<BI")
_GOES_ON = 1

_WELCOME = struct.Struct("<8s8sHIII")  # magic, nonce, version, capabilities, input window, longest request; a text
_STATUS = struct.Struct("<BBHHQQQQQ")  # how, flags, code, 0, output, stderr, input taken, dropped, microseconds
_ERROR = struct.Struct("<HHB")  # code, errno, phase; a text
_STREAMS = struct.Struct("<BI")  # flags, milliseconds
_WINDOW = struct.Struct("<HHHH")  # rows, columns, width and height in pixels


class ProtocolError(Exception):
    """The peer violated the specification. The connection cannot be used any more."""


def has_payload(number: int) -> bool:
    return number == 0 or number >= FIRST_NUMBER


def frames(number: int, payload: bytes = b"") -> bytes:
    """Returns a message with this payload, in as many frames as needed. ValueError: this number has no payload."""
    if payload and not has_payload(number):
        raise ValueError(f"frame {number} has no payload")
    starts = range(0, max(len(payload), 1), PAYLOAD_BYTES)
    pieces = [payload[start : start + PAYLOAD_BYTES] for start in starts]
    last = len(pieces) - 1
    return b"".join(
        _HEADER.pack(_GOES_ON if index < last else 0, len(piece), number) + piece
        for index, piece in enumerate(pieces)
    )


def header(number: int, size: int) -> bytes:
    """Returns the header of a frame that is a whole message with `size` bytes of payload, at most PAYLOAD_BYTES."""
    return _HEADER.pack(0, size, number)


def items(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Encodes tagged values: tag u8, length u32, bytes. A receiver must know odd tags, and may ignore even ones."""
    return b"".join(_ITEM.pack(tag, len(value)) + value for tag, value in pairs)


def read_items(payload: bytes) -> list[tuple[int, bytes]]:
    """Returns the tagged values of a payload, in order.

    Raises ProtocolError if the last one is cut, or if there are more than ITEMS_MOST.
    """
    found: list[tuple[int, bytes]] = []
    offset, size = 0, len(payload)
    while offset < size:
        start = offset + _ITEM.size
        if start > size:
            raise ProtocolError("an item is cut")
        tag, length = _ITEM.unpack_from(payload, offset)
        offset = start + length
        if offset > size:
            raise ProtocolError("an item is cut")
        if len(found) == ITEMS_MOST:
            raise ProtocolError(f"more than {ITEMS_MOST} items")
        found.append((tag, payload[start:offset]))
    return found


class Welcome:
    """The parsed payload of WELCOME. Raises ProtocolError if it is malformed."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) < _WELCOME.size:
            raise ProtocolError("WELCOME is too short")
        magic, self.nonce, self.version, self.capabilities, self.input_window, self.request_bytes = (
            _WELCOME.unpack_from(payload)
        )
        if magic != MAGIC:
            raise ProtocolError("WELCOME is of another protocol")
        self.text = payload[_WELCOME.size :]


def welcome(nonce: bytes, capabilities: int, input_window: int, text: bytes = b"") -> bytes:
    """Returns the frame WELCOME. A client without a nonce gets 8 zero bytes."""
    fixed = _WELCOME.pack(MAGIC, nonce, VERSION, capabilities, input_window, REQUEST_BYTES)
    return frames(WELCOME, fixed + text)


class Status:
    """The parsed payload of STATUS: how the program ended, and byte counts. Raises ProtocolError if it is malformed."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) < _STATUS.size:
            raise ProtocolError("STATUS is too short")
        fields = _STATUS.unpack_from(payload)
        self.how, self.flags, self.code, _ = fields[:4]
        self.output_bytes, self.error_bytes, self.input_bytes, self.dropped_bytes, self.run_microseconds = fields[4:]


def status(how: int, code: int, *, output: int = 0, error: int = 0, taken: int = 0, flags: int = 0) -> bytes:
    """Returns the frame STATUS of a program that got `taken` bytes of input."""
    return frames(STATUS, _STATUS.pack(how, flags, code, 0, output, error, taken, 0, 0))


class Refusal:
    """The parsed payload of ERROR. Raises ProtocolError if it is malformed."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) < _ERROR.size:
            raise ProtocolError("ERROR is too short")
        self.code, self.errno, self.phase = _ERROR.unpack_from(payload)
        self.text = payload[_ERROR.size :]


def refusal(code: int, text: bytes, *, errno: int = 0, phase: int = GREETING) -> bytes:
    """Returns the frame ERROR."""
    return frames(ERROR, _ERROR.pack(code, errno, phase) + text)


def window(rows: int, columns: int, width: int = 0, height: int = 0) -> bytes:
    """Returns the payload of SIZE and of the item WINDOW. Raises struct.error if a number is not 0 to 65,535."""
    return _WINDOW.pack(rows, columns, width, height)


def streams(*, merges: bool, drain_ms: int | None) -> bytes:
    """Returns the value of STREAMS_ITEM. drain_ms: None means for ever."""
    return _STREAMS.pack(MERGES if merges else 0, DRAIN_FOR_EVER if drain_ms is None else drain_ms)


def read_streams(value: bytes) -> tuple[bool, int | None]:
    """Decodes STREAMS_ITEM: `merges` and `drain_ms` of streams(). ProtocolError: wrong length, or unknown flags."""
    if len(value) != _STREAMS.size:
        raise ProtocolError("STREAMS has another length")
    flags, milliseconds = _STREAMS.unpack(value)
    if flags & ~MERGES:
        raise ProtocolError("STREAMS has flags that are not known")
    return bool(flags & MERGES), None if milliseconds == DRAIN_FOR_EVER else milliseconds


class FrameReader:
    """Splits the bytes of a connection into messages.

    The payload of STDIN, OUTPUT and STDERR is yielded in pieces, as they arrive. Every other message is yielded whole,
    joined from all its frames.
    """

    def __init__(self) -> None:
        self._header = b""
        self._number = -1
        self._left = 0
        self._goes_on = False
        self._joined = bytearray()
        self._joined_number = -1  # of the message that is not complete yet; -1: none

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields the number and payload of each message that `data` completes, and of each piece of a stream in it.

        Raises ProtocolError if a message is longer than REQUEST_BYTES, or if another one begins before it is complete.
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
