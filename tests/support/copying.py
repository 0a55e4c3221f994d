"""Copies between two threads, and streams of records made by hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from fastpty.copying.receiver import receive
from fastpty.copying.records import CutFile, Data, Directory, End, EndFile, Failed, File, Record, RecordReader, encode
from fastpty.copying.sender import send
from fastpty.system import linux
from tests.support.harness import join_thread
from tests.support.peers import need_root

Value = TypeVar("Value")
Progress = Callable[[int, int], None]

MTIME_NS = 1_234_567_890_123_456_789


class Outcome(NamedTuple):
    """Whether everything was copied, and the lines of both sides."""

    is_whole: bool
    lines: list[str]


def copy(
    paths: Iterable[Path | str | bytes], target: Path, *, into: bool = False, progress: Progress | None = None
) -> Outcome:
    """Copies real files from a sender in a thread to a receiver in this one."""
    lines: list[str] = []
    sent: list[bool] = []

    def write(out: int) -> None:
        sent.append(send([os.fsencode(path) for path in paths], out, None))

    def read(source: int) -> bool:
        return receive(source, os.fsencode(target), lines.append, into_directory=into, progress=progress)

    received = _received(write, read)
    return Outcome(received and sent == [True], lines)


def take(
    stream: bytes, target: Path, *, progress: Progress | None = None, names: Collection[bytes] | None = None
) -> Outcome:
    """Gives a stream made by hand to a receiver. Raises CopyError."""
    lines: list[str] = []

    def write(out: int) -> None:
        rest = memoryview(stream)
        while rest:
            rest = rest[os.write(out, rest) :]

    def read(source: int) -> bool:
        return receive(
            source, os.fsencode(target), lines.append, into_directory=False, progress=progress, names=names
        )

    return Outcome(_received(write, read), lines)


def _received(write: Callable[[int], object], read: Callable[[int], bool]) -> bool:
    """What `read` returns, which reads from a pipe what `write` writes."""
    source, out = os.pipe()

    def run() -> None:
        with suppress(BrokenPipeError):  # the receiver has given up
            write(out)
        os.close(out)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return read(source)
    finally:
        os.close(source)
        join_thread(thread)


def sent(*paths: Path | bytes) -> tuple[list[Record], Outcome]:
    """The records that a sender makes of these paths, and what it says in them."""
    source, out = os.pipe()
    ended: list[bool] = []

    def run() -> None:
        ended.append(send([os.fsencode(path) for path in paths], out, None))
        os.close(out)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    reader = RecordReader(source)
    records = [reader.read()]
    while not isinstance(records[-1], End):
        records.append(reader.read())
    join_thread(thread)
    os.close(source)
    lines = [record.text.decode(errors="replace") for record in records if isinstance(record, CutFile | Failed)]
    return records, Outcome(ended == [True], lines)


def whole(*records: Record) -> bytes:
    """A stream of these records and an END with the right counts."""
    files = sum(isinstance(record, EndFile) for record in records)
    size = sum(len(record.content) for record in records if isinstance(record, Data))
    return b"".join(map(encode, (*records, End(files, size))))


def directory(path: bytes, mode: int = 0o755) -> Directory:
    return Directory(mode, MTIME_NS, path)


def file(path: bytes, content: bytes = b"new", mode: int = 0o644) -> tuple[Record, ...]:
    """The records of a whole file."""
    return File(mode, MTIME_NS, len(content), path), Data(content), EndFile()


def cut_file(path: bytes) -> tuple[Record, ...]:
    """The records of a file that the sender could not read to its end."""
    return File(0o644, MTIME_NS, 6, path), Data(b"new"), CutFile(b"cannot be read")


def seen(top: Path) -> dict[str, tuple[object, ...]]:
    """All that is below a directory: kind and mode, time, and content or text of the link."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        what: tuple[object, ...] = (oct(status.st_mode), status.st_mtime_ns)
        if path.is_symlink():
            what = ("link", os.readlink(path))
        elif path.is_file():
            what += (path.read_bytes(),)
        found[os.fsdecode(path.relative_to(top))] = what
    return found


def with_own_mounts(work: Callable[[], Value]) -> Value:
    """Calls `work` in a thread that has a mount namespace of its own. Needs root."""
    need_root()
    results: list[Value] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    join_thread(thread)
    if errors:
        raise errors[0]
    return results[0]
