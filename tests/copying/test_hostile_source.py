"""A sender copies nothing from outside of what the user named, and never hangs, whoever changes the files meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.copying import records
from fastpty.copying.records import CutFile, Data, Directory, End, EndFile, Failed, File, Link, Total
from fastpty.copying.sender import send
from fastpty.system import linux
from tests.support.copying import copy, sent, with_own_mounts
from tests.support.peers import need_root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def outside(source: Path) -> Path:
    return source.parent / "outside"


def after_looking_at(name: str, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls `change` once when the sender has looked at `name` for the second time, and has not opened it yet.

    The first time it only counts.
    """
    look, looked = os.stat, [0]

    def stat(path: bytes, **how: object) -> os.stat_result:
        status = look(path, **how)  # type: ignore[arg-type]
        if path == os.fsencode(name):
            looked[0] += 1
            if looked[0] == 2:
                change()
        return status

    monkeypatch.setattr(os, "stat", stat)


def test_below_a_directory_links_are_sent_as_links(source: Path, outside: Path) -> None:
    (source / "directory").symlink_to(outside)
    (source / "file").symlink_to("../outside/secret")
    found, outcome = sent(source)
    assert outcome == (True, [])
    assert found == [
        Total(0, 0),
        Directory(source.stat().st_mode & 0o7777, source.stat().st_mtime_ns, b"source"),
        Link(b"source/directory", os.fsencode(outside)),
        Link(b"source/file", b"../outside/secret"),
        End(0, 0),
    ]


def test_a_file_swapped_for_a_link_is_not_followed(
    source: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = source / "victim"
    victim.write_text("harmless")

    def swap() -> None:
        victim.unlink()
        victim.symlink_to(outside / "secret")

    after_looking_at("victim", swap, monkeypatch)
    found, outcome = sent(source)
    assert outcome == (False, ["source/victim: not sent: Too many levels of symbolic links"])
    assert [type(record) for record in found] == [Total, Directory, Failed, End]


def test_a_directory_swapped_for_a_link_is_not_followed(
    source: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = source / "victim"
    victim.mkdir()

    def swap() -> None:
        victim.rmdir()
        victim.symlink_to(outside)

    (source / "later").mkdir()
    after_looking_at("later", swap, monkeypatch)
    found, outcome = sent(source)
    assert Link(b"source/victim", os.fsencode(outside)) in found
    victim.unlink()
    victim.mkdir()
    monkeypatch.undo()
    after_looking_at("victim", swap, monkeypatch)
    found, outcome = sent(source)
    refusal = "victim is a link or not a directory, and no link is followed"
    assert outcome == (False, [f"source/victim: not sent: {refusal}"])
    assert not [record for record in found if isinstance(record, File)]


def test_a_directory_on_the_way_swapped_for_a_link_is_not_followed(
    source: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So deep that the sender has to walk the way from the top again."""
    (source / "top").mkdir()
    (source / "top" / "secret").write_text("harmless")
    way = source / "top"
    for _ in range(100):
        way = way / "d"
        way.mkdir()
    (way / "last").write_text("last")

    def swap() -> None:
        (source / "top").rename(source / "moved")
        (source / "top").symlink_to(outside)

    after_looking_at("last", swap, monkeypatch)
    found, outcome = sent(source)
    assert not outcome.is_whole
    assert outcome.lines == [
        "source/top/secret: not sent: top is a link or not a directory, and no link is followed",
    ]
    assert [record.content for record in found if isinstance(record, Data)] == [b"last"]


def test_a_fifo_device_or_socket_is_reported_and_does_not_hang(source: Path) -> None:
    need_root()
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        before = os.open(".", os.O_PATH)
        os.chdir(source)
        listener.bind("socket")
        os.fchdir(before)
        os.close(before)
        (source / "zzz").write_text("1")
        for paths, shown in (
            ([source], "source/{}"),
            ([source / "fifo", source / "null", source / "socket"], "{}"),
        ):
            found, outcome = sent(*paths)
            lines = [
                f"{shown.format(n)}: not sent: not a file, directory or link" for n in ("fifo", "null", "socket")
            ]
            assert outcome == (False, lines)
            assert [record.text.decode() for record in found if isinstance(record, Failed)] == lines
        assert EndFile() in sent(source)[0]


def test_a_file_swapped_for_a_fifo_does_not_hang(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = source / "victim"
    victim.write_text("harmless")

    def swap() -> None:
        victim.unlink()
        os.mkfifo(victim)

    after_looking_at("victim", swap, monkeypatch)
    assert sent(source)[1] == (False, ["source/victim: not sent: not a file, directory or link"])


def test_another_file_system_is_not_entered(source: Path, tmp_path: Path) -> None:
    (source / "mounted").mkdir()
    (source / "plain").write_text("1")

    def work() -> list[object]:
        linux.mount("none", str(source / "mounted"), "tmpfs", 0)
        (source / "mounted" / "f").write_text("1")
        inside = copy([source / "mounted"], tmp_path / "named")
        return [copy([source], tmp_path / "new"), inside]

    line = "source/mounted: not sent: another file system is mounted there"
    assert with_own_mounts(work) == [(False, [line]), (True, [])]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plain"]
    assert [path.name for path in (tmp_path / "named").iterdir()] == ["f"]


def test_a_file_that_grows_or_shrinks_is_sent_as_it_is_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = source / "victim"
    for size in (200_000, 10, 0):
        victim.write_bytes(b"x" * 100_000)
        with monkeypatch.context() as patch:
            after_looking_at("victim", lambda size=size: os.truncate(victim, size), patch)  # type: ignore[misc]
            found, outcome = sent(source)
        assert outcome == (True, [])
        assert sum(len(record.content) for record in found if isinstance(record, Data)) == size
        assert found[-1] == End(1, size)
        assert found[0] == Total(1, 100_000)


def test_a_file_that_cannot_be_read_to_its_end_is_cut(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "victim").write_bytes(bytes(100_000))
    (source / "zzz").write_text("1")
    read, calls = os.read, [0]

    def fail(descriptor: int, size: int) -> bytes:
        calls[0] += size == records.DATA_BYTES
        if calls[0] == 2:
            raise OSError(5, "Input/output error")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", fail)
    found, outcome = sent(source)
    line = "source/victim: not sent: Input/output error"
    assert outcome == (False, [line])
    kinds = [type(record) for record in found]
    assert kinds == [Total, Directory, File, Data, CutFile, File, Data, EndFile, End]
    assert CutFile(line.encode()) in found


def test_what_may_not_be_read_is_reported_and_the_rest_sent(source: Path) -> None:
    """An ordinary user's: root may read anything."""
    for name in ("a closed", "b"):
        (source / name).mkdir()
        (source / name / "f").write_text("1")
    (source / "file").write_text("1")
    (source / "file").chmod(0)
    (source / "a closed").chmod(0)
    if os.geteuid() == 0:
        os.chmod(source.parent, 0o755)
        found = as_nobody(source)
    else:
        found = sent(source)[1].lines
    (source / "a closed").chmod(0o700)
    assert found == [
        "source/a closed: not sent: Permission denied",
        "source/file: not sent: Permission denied",
    ]


def as_nobody(source: Path) -> list[str]:
    """The lines of a sender without the capabilities of root, in a thread of its own."""
    result: list[str] = []

    def work() -> None:
        linux.capset(0, 0, 0)
        with open(os.devnull, "wb") as out:
            send([os.fsencode(source)], out.fileno(), result.append)

    with_own_mounts(work)
    return result


def test_a_time_beyond_the_format_is_sent_as_the_nearest_one(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> list[int]:
        linux.mount("none", str(source), "tmpfs", 0)
        times = []
        for seconds in (1 << 40, -(1 << 40)):
            (source / "f").write_text("1")
            os.utime(source / "f", (seconds, seconds))
            times += [record.mtime_ns for record in sent(source)[0] if isinstance(record, File)]
        return times

    assert with_own_mounts(work) == [2**63 - 1, -(2**63 - 1)]


def test_sizes_beyond_the_format_are_sent_as_the_largest_one(source: Path) -> None:
    def work() -> list[object]:
        linux.mount("none", str(source), "tmpfs", 0)
        files = [source / name for name in "abc"]
        for path in files:
            path.touch()
            os.truncate(path, 2**63 - 4096)
        lines: list[str] = []
        reader, out = os.pipe()
        os.close(reader)
        with pytest.raises(BrokenPipeError):  # not an error of struct
            send([os.fsencode(source)], out, lines.append)
        os.close(out)
        return [lines]

    assert with_own_mounts(work) == [[]]


def test_a_stream_that_nobody_reads_ends_the_sender(source: Path) -> None:
    (source / "large").write_bytes(bytes(1_000_000))
    reader, out = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        send([os.fsencode(source)], out, lambda line: None)
    os.close(out)


def test_a_failure_that_is_sent_is_short_and_printable(source: Path) -> None:
    """Of a long path the end is shown."""
    names = ["\N{SNOWMAN}" * 80 + "\n"] * 9
    found, _ = sent(source.joinpath(*names))
    path = f"{source}/{'/'.join(names)}".replace("\n", "\\n")
    line = f"...{path[-200:]}: not sent: {os.strerror(2)}"
    assert Failed(line.encode()[: records.TEXT_MOST]) in found
    assert records.TEXT_MOST == 400
