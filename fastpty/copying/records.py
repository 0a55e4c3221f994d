"""The records that carry files over a stream of bytes.

    kind u8 | payload length u32 | payload

Integers are little-endian. The order is: perhaps one TOTAL, then any number of DIRECTORY, FILE, LINK and FAILED, then
END. A FILE is followed by any number of DATA and one END_FILE or CUT_FILE. Nothing else may stand between those.

A path is relative, and its names are checked when a record is read: none of them is `..`, for instance. Only
the path of a DIRECTORY may be empty: that is the target of the copy itself.
"""

from __future__ import annotations

import os
import struct

from fastpty.errors import CopyError, printable
from fastpty.system.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

PAYLOAD_MOST = 65536 + 4096
"""The most bytes of a record's payload. A longer one is an error before it is read."""

DATA_BYTES = 65536
"""The bytes of file content that a sender puts into one record."""

PATH_MOST = 65_000
TARGET_MOST = 4096
NAME_MOST = 255
TEXT_MOST = 400
_SHOWN_MOST = 200

_NO_NAMES = frozenset((b"", b".", b".."))

_HEADER = struct.Struct("<BI")


class Total(NamedTuple):
    """How many files and bytes the sender has found beforehand: a hint to show progress."""

    files: int
    size: int


class Directory(NamedTuple):
    """A directory. An existing one is merged with it."""

    mode: int
    mtime_ns: int
    path: bytes


class File(NamedTuple):
    """A regular file, whose content follows. size: a hint."""

    mode: int
    mtime_ns: int
    size: int
    path: bytes


class Data(NamedTuple):
    """The next bytes of a file."""

    content: bytes


class EndFile(NamedTuple):
    """The file is complete. reserved: always empty."""

    reserved: bytes = b""


class CutFile(NamedTuple):
    """The sender could not read the rest of the file, which must not be used. text: why, in UTF-8; may be empty."""

    text: bytes


class Link(NamedTuple):
    """A symbolic link. target: its text."""

    path: bytes
    target: bytes


class Failed(NamedTuple):
    """Something was not sent. text: what and why, in UTF-8; may be empty."""

    text: bytes


class End(NamedTuple):
    """The stream is complete. files: how many END_FILE came. size: the bytes of all DATA, of cut files too."""

    files: int
    size: int


Record = Total | Directory | File | Data | EndFile | CutFile | Link | Failed | End

# By the number of the kind: the class and its first fields. A last field without a place there is the rest of the
# payload. In LINK, the length of the path comes first.
_KINDS: dict[int, tuple[type[Any], struct.Struct]] = {
    1: (Total, struct.Struct("<QQ")),
    2: (Directory, struct.Struct("<Hq")),
    3: (File, struct.Struct("<HqQ")),
    4: (Data, struct.Struct("")),
    5: (EndFile, struct.Struct("")),
    6: (CutFile, struct.Struct("")),
    7: (Link, struct.Struct("<H")),
    8: (Failed, struct.Struct("")),
    9: (End, struct.Struct("<QQ")),
}
_NUMBERS = {kind: (number, layout) for number, (kind, layout) in _KINDS.items()}
_WHOLE = (Total, End)  # no last field of variable length
_OF_CONTENT = (Data, EndFile, CutFile)


def top_name(path: bytes) -> bytes:
    """Returns the name under which a sender sends `path`: the last one, or none if only the content is sent."""
    name = os.path.basename(path.rstrip(b"/"))
    return b"" if name in (b".", b"..") else name


def top_names(paths: Iterable[bytes]) -> frozenset[bytes] | None:
    """Returns the names under which a sender sends these paths; None if they may be any, as for `DIRECTORY/.`."""
    names = frozenset(map(top_name, paths))
    return None if b"" in names else names


def shown(path: bytes) -> str:
    """Returns a path as a text for people shows it: printable, and of a long one the end."""
    text = printable(os.fsdecode(path))
    return text if len(text) <= _SHOWN_MOST else f"...{text[-_SHOWN_MOST:]}"


def said(text: bytes) -> str:
    """Returns a text of the other side as one line that is safe to show."""
    return printable(text[:TEXT_MOST].decode(errors="replace"))


def encode(record: Record) -> bytes:
    """Returns the bytes of a record."""
    number, layout = _NUMBERS[type(record)]
    if isinstance(record, Link):
        payload = layout.pack(len(record.path)) + record.path + record.target
    elif isinstance(record, _WHOLE):
        payload = layout.pack(*record)
    else:
        payload = layout.pack(*record[:-1]) + record[-1]
    return _HEADER.pack(number, len(payload)) + payload


def check(record: Record) -> None:
    """Raises CopyError or struct.error if a reader would refuse the record."""
    encoded = encode(record)
    decode(encoded[0], encoded[_HEADER.size :])


def check_name(path: bytes, names: Collection[bytes] | None) -> None:
    """Raises CopyError if a path does not begin with one of the names that were asked for: top_names()."""
    if names is not None and path.split(b"/", 1)[0] not in names:
        raise CopyError(f"the other side sent something that was not asked for: {shown(path)}")


def decode(number: int, payload: bytes) -> Record:
    """Returns the record of this kind and payload. Raises CopyError if it is malformed."""
    if number not in _KINDS:
        raise CopyError(f"malformed copy stream: no record has the number {number}")
    kind, layout = _KINDS[number]
    if len(payload) < layout.size or (kind in _WHOLE and len(payload) > layout.size):
        raise CopyError(f"malformed copy stream: {kind.__name__} of {len(payload)} bytes")
    first, rest = layout.unpack_from(payload), payload[layout.size :]
    record: Record
    if kind is Link:
        record = Link(rest[: first[0]], rest[first[0] :])
    else:
        record = kind(*first) if kind in _WHOLE else kind(*first, rest)
    _check(record)
    return record


def _check(record: Record) -> None:
    """Raises CopyError if a name, a link's text or the payload of END_FILE is not allowed."""
    if isinstance(record, File | Link) or (isinstance(record, Directory) and record.path):
        _check_path(record.path)
    if isinstance(record, Link) and (len(record.target) > TARGET_MOST or b"\0" in record.target):
        raise CopyError(f"malformed copy stream: the text of a link: {shown(record.target)}")
    if isinstance(record, EndFile) and record.reserved:
        raise CopyError("malformed copy stream: END_FILE with a payload")


def _check_path(path: bytes) -> None:
    names = path.split(b"/")
    is_strange = b"\0" in path or not _NO_NAMES.isdisjoint(names)
    if is_strange or len(path) > PATH_MOST or max(map(len, names)) > NAME_MOST:
        raise CopyError(f"malformed copy stream: a path that is not allowed: {shown(path)}")


class RecordReader:
    """Reads records from a blocking descriptor, and checks their order. Holds one record at a time.

    It reads ahead, perhaps beyond END: nothing else can be read from the descriptor afterwards.

    size: the bytes of content so far.
    """

    def __init__(self, source: int) -> None:
        self._in_file = False
        self.size = 0
        self._files = 0
        self._has_begun = False
        self._stream = open(source, "rb", DATA_BYTES, closefd=False)  # noqa: SIM115 - nothing to close

    def read(self) -> Record:
        """Returns the next record; END is the last. Raises CopyError for a stream that is malformed or was cut."""
        number, length = _HEADER.unpack(self._bytes(_HEADER.size))
        if length > PAYLOAD_MOST:
            raise CopyError(f"malformed copy stream: a record of {length} bytes")
        record = decode(number, self._bytes(length))
        self._check_order(record)
        self._count(record)
        return record

    def _bytes(self, count: int) -> bytes:
        try:
            got = self._stream.read(count)
        except OSError as error:
            raise CopyError(f"the copy was cut: {error.strerror}") from error
        if len(got) < count:
            raise CopyError("the copy was cut: the other side has ended before it had sent everything")
        return got

    def _check_order(self, record: Record) -> None:
        is_late = isinstance(record, Total) and self._has_begun
        if is_late or isinstance(record, _OF_CONTENT) != self._in_file:
            raise CopyError(f"malformed copy stream: {type(record).__name__} at the wrong place")
        self._has_begun = True

    def _count(self, record: Record) -> None:
        """Keeps the counts. Raises CopyError if those in END differ."""
        if isinstance(record, File):
            self._in_file = True
        elif isinstance(record, EndFile | CutFile):
            self._in_file = False
            self._files += isinstance(record, EndFile)
        elif isinstance(record, Data):
            self.size += len(record.content)
        elif isinstance(record, End) and record != (self._files, self.size):
            raise CopyError(
                f"the copy is incomplete: {self._files} files and {self.size} bytes came, "
                f"the other side sent {record.files} and {record.size}"
            )


class RecordWriter:
    """Writes records to a blocking descriptor, through a buffer of bounded size, and counts for END.

    size: the bytes of content so far.
    """

    def __init__(self, out: int) -> None:
        self._out = out
        self._buffer = bytearray()
        self._files = 0
        self.size = 0

    def write(self, record: Record) -> None:
        """Adds a record; writes if enough has come together. Raises OSError if that fails."""
        self._buffer += encode(record)
        self._files += isinstance(record, EndFile)
        self.size += len(record.content) if isinstance(record, Data) else 0
        if len(self._buffer) >= DATA_BYTES:
            self._flush()

    def end(self) -> None:
        """Writes END and all that is in the buffer. Raises OSError if that fails."""
        self.write(End(self._files, self.size))
        self._flush()

    def _flush(self) -> None:
        while self._buffer:
            del self._buffer[: os.write(self._out, self._buffer)]
