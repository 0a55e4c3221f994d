"""Turns a tar archive into the records of a copy, and records into an archive: `-` as a path of `fastpty cp`."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import time
import zlib

from fastpty.copying.links import Links
from fastpty.copying.records import (
    DATA_BYTES,
    CutFile,
    Data,
    Directory,
    End,
    EndFile,
    Failed,
    File,
    Link,
    Record,
    RecordReader,
    RecordWriter,
    check,
    check_name,
    said,
    shown,
)
from fastpty.errors import CopyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Report = Callable[[str], None]

_MODE = 0o7777
_PERMISSIONS = 0o777
_SECOND_NS = 1_000_000_000
_GZIP = b"\x1f\x8b"
_NOT_WHOLE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError)


def send_archive(source: int, out: int, report: Report) -> bool:
    """Reads a tar archive from the descriptor `source` and writes records to `out`; returns True if all was sent.

    report: takes a line about each member that has no record. Raises CopyError if it is not a complete archive, and
    OSError if `out` cannot be written to.
    """
    writer = RecordWriter(out)
    is_whole = True
    with open(source, "rb", closefd=False) as given:
        # `tarfile` does not compare the checksum of gzip(1), which stands at the end.
        stream = gzip.GzipFile(fileobj=given) if given.peek(len(_GZIP)).startswith(_GZIP) else given
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    is_whole = _send_member(archive, member, writer, report) and is_whole
            while stream.read(DATA_BYTES):
                pass
        except _NOT_WHOLE as error:
            raise CopyError(f"standard input is not a complete tar archive: {error}") from error
    writer.end()
    return is_whole


def _send_member(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: RecordWriter, report: Report) -> bool:
    try:
        record = _record(member)
        check(record)
    except OSError as error:
        why = error.strerror
    except (CopyError, struct.error, OverflowError, ValueError):
        why = "its name, size or time is not allowed"
    else:
        writer.write(record)
        if isinstance(record, File):
            content = archive.extractfile(member)
            assert content is not None
            while some := content.read(DATA_BYTES):
                writer.write(Data(some))
            writer.write(EndFile())
        return True
    report(f"{shown(os.fsencode(member.name))}: not sent: {why}")
    writer.write(Failed(b""))
    return False


def _record(member: tarfile.TarInfo) -> Record:
    """Returns the record of a member. Raises OSError if there is none."""
    names = [name for name in os.fsencode(member.name).split(b"/") if name not in (b"", b".")]
    path = b"/".join(names)
    mtime_ns = int(member.mtime * _SECOND_NS)
    if member.name.startswith("/") or b".." in names:
        raise OSError(0, "its name leads out of the target")
    if member.isdir():
        return Directory(member.mode & _MODE, mtime_ns, path)
    if not path:
        raise OSError(0, "it has no name")
    if member.issym():
        return Link(path, os.fsencode(member.linkname))
    if member.isreg():
        return File(member.mode & _MODE, mtime_ns, member.size, path)
    raise OSError(0, "not a file, directory or symbolic link")


def receive_archive(
    source: int,
    out: int,
    report: Report,
    progress: Callable[[int, int], None],
    names: Collection[bytes] | None,
) -> bool:
    """Reads records from the descriptor `source` and writes a tar archive to `out`; returns True if it has everything.

    report: takes a line about each thing that is missing. names: the names that may come, of records.top_names(). A
    file that got shorter while it was sent is filled with zero bytes, as tar(1) does. Raises CopyError if the stream is
    malformed or was cut, and OSError if `out` fails.
    """
    reader = RecordReader(source)
    links = Links(0)
    is_whole = True
    with (
        open(out, "wb", closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        while not isinstance(record := reader.read(), End):
            if isinstance(record, Directory | File | Link):
                check_name(record.path, names)
                _check_way(record, links)
            if isinstance(record, File):
                content = _Content(reader, record, progress)
                archive.addfile(_member(record.path, record.mode, record.mtime_ns, record.size), content)
                problem = content.finish()
                if problem:
                    report(problem)
                    is_whole = False
            elif isinstance(record, Failed):
                if record.text:
                    report(said(record.text))
                is_whole = False
            else:
                _add(archive, record)
    return is_whole


def _check_way(record: Directory | File | Link, links: Links) -> None:
    """Raises CopyError if extracting a member could follow a link of the archive: not all programs prevent that."""
    way = record.path.rpartition(b"/")[0] if isinstance(record, Link) else record.path
    if links.are_on(way):
        raise CopyError(f"malformed copy stream: the path leads through a link: {shown(record.path)}")
    if isinstance(record, Link):
        links.add(record.path, record.target)


def _add(archive: tarfile.TarFile, record: Record) -> None:
    if isinstance(record, Directory):
        member = _member(record.path or b".", record.mode, record.mtime_ns)
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif isinstance(record, Link):
        member = _member(record.path, 0o777, time.time_ns())
        member.type, member.linkname = tarfile.SYMTYPE, os.fsdecode(record.target)
        archive.addfile(member)


def _member(path: bytes, mode: int, mtime_ns: int, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(os.fsdecode(path))
    # Root's tar(1) would create a setuid program of a hostile router's.
    member.mode, member.mtime, member.size = mode & _PERMISSIONS, mtime_ns // _SECOND_NS, size
    if mtime_ns > 0:
        member.pax_headers = {"mtime": f"{member.mtime}.{mtime_ns % _SECOND_NS:09d}"}
    return member


class _Content(io.RawIOBase):
    """The content of one file in a stream of records, of exactly the size that its FILE has."""

    def __init__(self, reader: RecordReader, file: File, progress: Callable[[int, int], None]) -> None:
        self._reader = reader
        self._path = file.path
        self._progress = progress
        self._rest = b""
        self._problem = ""
        self._has_ended = False

    def read(self, size: int = -1) -> bytes:
        """Returns `size` bytes."""
        found = bytearray()
        while len(found) < size and (some := self._some(size - len(found))):
            found += some
        if len(found) < size:
            self._problem = self._problem or "it got shorter while it was sent: the rest is zero bytes"
            found += bytes(size - len(found))
        return bytes(found)

    def finish(self) -> str:
        """Reads to the end of the file. Returns what is wrong with its content, or nothing."""
        while some := self._some(DATA_BYTES):
            self._problem = self._problem or f"it got longer while it was sent: {len(some)} bytes or more are missing"
        return f"{shown(self._path)}: {self._problem}" if self._problem else ""

    def _some(self, most: int) -> bytes:
        while not self._rest and not self._has_ended:
            record = self._reader.read()
            self._has_ended = isinstance(record, EndFile | CutFile)
            if isinstance(record, Data):
                self._rest = record.content
                self._progress(self._reader.size, 0)
            elif isinstance(record, CutFile):
                self._problem = said(record.text)
        some, self._rest = self._rest[:most], self._rest[most:]
        return some
