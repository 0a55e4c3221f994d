"""The reader of records takes only whole, well-formed streams in the right order."""

from __future__ import annotations

import os
import random
import socket
import struct
from pathlib import Path

import pytest

from fastpty.copying import records
from fastpty.copying.records import (
    PAYLOAD_MOST,
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
    Total,
    encode,
)
from fastpty.errors import CopyError
from tests.support.copying import MTIME_NS, cut_file, directory, file, seen, take, whole

EVERY_KIND: tuple[Record, ...] = (
    Total(2, 6),
    Directory(0o755, -1, b""),
    directory(b"d"),
    *file(b"d/f"),
    *file(b"g", b""),
    *cut_file(b"h"),
    Link(b"d/l", b"f"),
    Failed(b"something"),
)
ANY = whole(*EVERY_KIND)


def read(stream: bytes) -> list[Record]:
    source, out = os.pipe()
    try:
        assert os.write(out, stream) == len(stream)
        os.close(out)
        reader = RecordReader(source)
        found = [reader.read()]
        while not isinstance(found[-1], End):
            found.append(reader.read())
        return found
    finally:
        os.close(source)


def test_every_record_is_read_as_it_was_written() -> None:
    found = read(ANY)
    assert found == [*EVERY_KIND, End(2, 6)]
    assert [type(record) for record in found] == [*map(type, EVERY_KIND), End]


def test_the_records_have_the_bytes_that_the_format_says() -> None:
    assert encode(Total(1, 2)) == struct.pack("<BIQQ", 1, 16, 1, 2)
    assert encode(Directory(0o750, -5, b"d")) == struct.pack("<BIHq", 2, 11, 0o750, -5) + b"d"
    assert encode(File(0o640, 5, 3, b"f")) == struct.pack("<BIHqQ", 3, 19, 0o640, 5, 3) + b"f"
    assert encode(Data(b"abc")) == struct.pack("<BI", 4, 3) + b"abc"
    assert encode(EndFile()) == struct.pack("<BI", 5, 0)
    assert encode(CutFile(b"why")) == struct.pack("<BI", 6, 3) + b"why"
    assert encode(Link(b"l", b"to")) == struct.pack("<BIH", 7, 5, 1) + b"lto"
    assert encode(Failed(b"what")) == struct.pack("<BI", 8, 4) + b"what"
    assert encode(End(1, 2)) == struct.pack("<BIQQ", 9, 16, 1, 2)


def test_a_stream_that_ends_anywhere_before_its_end_is_an_error() -> None:
    for length in range(len(ANY)):
        with pytest.raises(CopyError, match="cut"):
            read(ANY[:length])


def test_a_connection_that_fails_is_an_error() -> None:
    """An OSError would be taken for one of a file, and the copy would go on."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.send(b"something that the other side does not read")
        theirs.close()
        with pytest.raises(CopyError, match="cut: Connection reset by peer"):
            RecordReader(ours.fileno()).read()


@pytest.mark.parametrize(
    "wrong",
    [
        (Data(b"x"),),
        (EndFile(),),
        (CutFile(b""),),
        (directory(b"d"), Total(1, 1)),
        (File(0, 0, 0, b"f"), directory(b"d")),
        (File(0, 0, 0, b"f"), Failed(b"")),
        (File(0, 0, 0, b"f"), File(0, 0, 0, b"g")),
        (File(0, 0, 0, b"f"),),
    ],
    ids=str,
)
def test_a_record_at_the_wrong_place_is_an_error(wrong: tuple[Record, ...]) -> None:
    with pytest.raises(CopyError, match="at the wrong place"):
        read(whole(*wrong))


@pytest.mark.parametrize("end", [End(1, 7), End(1, 5), End(2, 6), End(0, 6)])
def test_counts_that_differ_are_an_error(end: End) -> None:
    """6 bytes: those of a file that was cut count, the file itself does not."""
    records = (*file(b"f"), *cut_file(b"g"))
    assert read(whole(*records))[-1] == End(1, 6)
    with pytest.raises(CopyError, match="incomplete: 1 files and 6 bytes"):
        read(b"".join(map(encode, (*records, end))))


NAMES_NOT_ALLOWED = (
    *(b"/etc/passwd", b"..", b"../x", b"d/../x", b"d/..", b".", b"./x", b"d/./x", b"d//x", b"d/", b"/", b"a\0b"),
    *(b"n" * 256, b"d/" + b"n" * 256, b"d/" * 32_500 + b"x"),
)


@pytest.mark.parametrize("path", NAMES_NOT_ALLOWED, ids=lambda path: repr(path[:12]))
def test_a_name_that_could_lead_elsewhere_makes_the_stream_invalid(path: bytes, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    for wrong in (file(path), (directory(path),), (Link(path, b"x"),)):
        with pytest.raises(CopyError, match="a path that is not allowed"):
            take(whole(directory(b"d"), *wrong), target)
    assert list(seen(tmp_path)) == ["target", "target/d"]


@pytest.mark.parametrize("record", [File(0, 0, 0, b""), Link(b"", b"x")])
def test_only_a_directory_may_have_no_name(record: Record) -> None:
    with pytest.raises(CopyError, match="a path that is not allowed"):
        read(encode(record))


@pytest.mark.parametrize("target", [b"a\0b", b"x" * 4097])
def test_the_text_of_a_link_is_checked(target: bytes) -> None:
    with pytest.raises(CopyError, match="the text of a link"):
        read(whole(Link(b"l", target)))


@pytest.mark.parametrize(
    "wrong",
    [
        struct.pack("<BI", 0, 0),
        struct.pack("<BI", 10, 0),
        struct.pack("<BI", 1, 17) + bytes(17),
        struct.pack("<BI", 1, 15) + bytes(15),
        struct.pack("<BI", 2, 9) + bytes(9),
        struct.pack("<BI", 7, 1) + bytes(1),
        struct.pack("<BI", 9, 17) + bytes(17),
        encode(File(0, 0, 0, b"f")) + struct.pack("<BI", 5, 1) + b"x",
    ],
)
def test_a_malformed_record_is_an_error(wrong: bytes) -> None:
    with pytest.raises(CopyError, match="malformed"):
        read(wrong)


def test_a_record_that_is_too_long_is_an_error_before_it_is_read() -> None:
    """Otherwise its missing bytes would be the error."""
    with pytest.raises(CopyError, match=f"a record of {PAYLOAD_MOST + 1} bytes"):
        read(struct.pack("<BI", 4, PAYLOAD_MOST + 1))


def test_the_longest_records_are_read() -> None:
    path = b"/".join([b"n" * 199] * 325)
    assert len(path) == records.PATH_MOST - 1
    link = Link(path, b"t" * records.TARGET_MOST)
    assert len(encode(link)) <= PAYLOAD_MOST
    source, out = os.pipe()
    try:
        os.set_blocking(out, False)
        stream = encode(link)
        reader = RecordReader(source)
        rest = stream[os.write(out, stream) :]
        if rest:  # a pipe takes 64 KiB
            reader._stream.peek(1)
            os.write(out, rest)
        assert reader.read() == link
    finally:
        os.close(source)
        os.close(out)


def test_whatever_comes_a_copy_ends_with_an_error_or_stays_in_its_target(tmp_path: Path) -> None:
    """Valid streams are changed, cut, repeated and mixed at random, a thousand times."""
    rng = random.Random(7)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"old")
    os.utime(outside / "kept", ns=(MTIME_NS, MTIME_NS))
    before = seen(outside)
    ends = {True: 0, False: 0}
    for number in range(1000):
        target = tmp_path / "target" / str(number)
        target.mkdir(parents=True)
        (target / "out").symlink_to(outside)
        stream = changed(rng, whole(*EVERY_KIND, *file(b"out/x"), Link(b"m", b"../d/f")))
        try:
            take(stream, target)
            ends[True] += 1
        except CopyError:
            ends[False] += 1
        assert seen(outside) == before
        left = list(target.rglob("*"))
        assert not [path for path in left if path.name.startswith(".fastpty-")]
        assert not [path for path in left if path.is_symlink() and leads_out(path, target) and path.name != "out"]
        for path in left:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
    assert min(ends.values()) > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "target"]


def leads_out(link: Path, target: Path) -> bool:
    return not Path(os.path.realpath(link)).is_relative_to(target)


def changed(rng: random.Random, stream: bytes) -> bytes:
    one, other = sorted(rng.choices(range(len(stream)), k=2))
    values = bytearray(stream)
    change = rng.randrange(6)
    if change == 0:
        values[one] = rng.randrange(256)
    elif change == 1:
        values[one] ^= 1 << rng.randrange(8)
    elif change == 2:
        del values[one:]
    elif change == 3:
        del values[one:other]
    elif change == 4:
        values[other:other] = values[one:other]
    else:
        values[one : one + 2] = rng.choice([b"..", b"/.", b"//", b"\0\0"])
    return bytes(values)
