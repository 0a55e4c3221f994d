"""A target that cannot take everything: one line for each thing, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastpty.copying.records import Data, Link, Record
from fastpty.errors import CopyError
from fastpty.system import linux
from tests import ROOT
from tests.support.copying import MTIME_NS, copy, cut_file, directory, file, seen, take, whole, with_own_mounts
from tests.support.harness import descriptors


def test_a_file_for_which_there_is_no_space_is_reported_and_the_next_ones_copied(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    def work() -> list[object]:
        linux.mount("none", str(tmp_path / "target"), "tmpfs", 0, "size=256k")
        head, _, end = file(b"c")
        large = (head, *[Data(bytes(65_536))] * 50, end)
        outcome = take(whole(*file(b"a", bytes(65_536)), *large, *file(b"d")), tmp_path / "target")
        return [outcome, [*seen(tmp_path / "target")]]

    line = "c: not written: No space left on device"
    assert with_own_mounts(work) == [(False, [line]), ["a", "d"]]


def test_a_target_that_is_read_only_is_reported_once_for_a_directory(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    def work() -> object:
        linux.mount("none", str(tmp_path / "target"), "tmpfs", linux.MS_RDONLY)
        return take(whole(directory(b"d"), *file(b"d/f"), directory(b"d/e"), *file(b"g")), tmp_path / "target")

    said = "not written: Read-only file system"
    assert with_own_mounts(work) == (False, [f"d: {said}", f"g: {said}"])


@pytest.mark.parametrize("place", ["directory", "named"])
def test_a_mount_point_is_written_in_place(place: str, tmp_path: Path) -> None:
    """It keeps its mode; the old content was longer."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "hosts").write_text("under the mount")
    (tmp_path / "mounted").write_text("old content")
    (tmp_path / "mounted").chmod(0o604)
    (tmp_path / "hosts").write_text("new")
    os.utime(tmp_path / "hosts", ns=(MTIME_NS, MTIME_NS))
    target = tmp_path / "target" if place == "directory" else tmp_path / "target" / "hosts"

    def work() -> object:
        linux.mount(str(tmp_path / "mounted"), str(tmp_path / "target" / "hosts"), None, linux.MS_BIND)
        return copy([tmp_path / "hosts"], target)

    assert with_own_mounts(work) == (True, ["hosts: written in place, because it is a mount point"])
    assert (tmp_path / "mounted").read_text() == "new"
    assert (tmp_path / "mounted").stat().st_mtime_ns == MTIME_NS
    assert (tmp_path / "mounted").stat().st_mode & 0o777 == 0o604
    assert [(path.name, path.read_text()) for path in (tmp_path / "target").iterdir()] == [
        ("hosts", "under the mount")
    ]


def test_a_mount_point_is_not_written_to_if_the_file_is_cut(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "hosts").write_text("")
    (tmp_path / "mounted").write_text("old")

    def work() -> object:
        linux.mount(str(tmp_path / "mounted"), str(tmp_path / "target" / "hosts"), None, linux.MS_BIND)
        with pytest.raises(CopyError, match="cut"):
            take(whole(*file(b"hosts"))[:-26], tmp_path / "target")
        return take(whole(*cut_file(b"hosts")), tmp_path / "target")

    assert with_own_mounts(work) == (False, ["cannot be read"])
    assert (tmp_path / "mounted").read_text() == "old"


def test_a_mount_point_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    """As /dev/null over a file, or a FIFO, which would hang. It comes while the file is copied."""
    (tmp_path / "target").mkdir()
    os.mkfifo(tmp_path / "fifo")

    def work() -> list[object]:
        outcomes: list[object] = []
        for over in ("/dev/null", str(tmp_path / "fifo")):
            masked = tmp_path / "target" / Path(over).name
            masked.write_text("")

            def mask(*_: int, over: str = over, masked: Path = masked) -> None:
                linux.mount(over, str(masked), None, linux.MS_BIND)

            outcomes.append(take(whole(*file(os.fsencode(masked.name))), tmp_path / "target", progress=mask))
        return [*outcomes, sorted(path.name for path in (tmp_path / "target").iterdir())]

    null, fifo, names = with_own_mounts(work)
    assert null == (False, ["null: not written: a mount point that is not a file"])
    assert fifo == (False, ["fifo: not written: No such device or address"])
    assert names == ["fifo", "null"]


@pytest.mark.parametrize("record", [file(b"fifo"), (Link(b"fifo", b"x"),)])
def test_what_is_no_file_or_link_is_not_replaced(record: tuple[Record, ...], tmp_path: Path) -> None:
    """A copy to /dev/null, made by root, would break the system."""
    os.mkfifo(tmp_path / "fifo")
    line = "fifo: not written: a device, socket or pipe is there"
    assert take(whole(*record, *file(b"x")), tmp_path) == (False, [line])
    assert (tmp_path / "fifo").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["fifo", "x"]


@pytest.mark.parametrize("target", ["fifo", "link"])
def test_a_target_that_is_no_file_is_an_error(target: str, tmp_path: Path) -> None:
    """Nor is a link to one replaced: /dev/stdout is such a link."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with pytest.raises(CopyError, match=f"{target}: a device, socket or pipe is there"):
        take(whole(*file(b"x")), tmp_path / target)
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_link_does_not_replace_a_mount_point(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "l").write_text("")

    def work() -> list[object]:
        linux.mount("/etc/passwd", str(tmp_path / "target" / "l"), None, linux.MS_BIND)
        outcome = take(whole(Link(b"l", b"x")), tmp_path / "target")
        return [outcome, [path.name for path in (tmp_path / "target").iterdir()]]

    assert with_own_mounts(work) == [(False, ["l: not written: Device or resource busy"]), ["l"]]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Neither by copies that go well nor by those that fail, however deep."""
    deep = b"/".join([b"d"] * 100)
    chain = [directory(deep[:length]) for length in range(1, len(deep) + 1, 2)]
    (tmp_path / "link").symlink_to("/")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(200_000))

    def copies(number: int) -> None:
        target = tmp_path / "target" / str(number)
        target.mkdir(parents=True)
        stream = whole(*chain, *file(deep + b"/f"), *cut_file(b"c"), Link(b"l", b"x"), *file(b"l/x/y"))
        take(stream, target)
        copy([target / "d", tmp_path / "fifo", tmp_path / "link" / "missing"], target, into=True)
        for wrong in (stream[:-30], stream[: len(stream) // 2], b"x" * 100):
            with pytest.raises(CopyError):
                take(wrong, target)
        with pytest.raises(CopyError):
            copy([tmp_path / "large", tmp_path / "target"], target / "new")

    copies(1)
    before = descriptors(os.getpid())
    copies(2)
    assert descriptors(os.getpid()) == before


def test_the_descriptors_are_few_however_deep_the_tree(tmp_path: Path) -> None:
    most = [0]

    def count(*_: int) -> None:
        most[0] = max(most[0], len(os.listdir("/proc/self/fd")))

    deep = b"/".join([b"d"] * 500)
    chain = [directory(deep[:length]) for length in range(1, len(deep) + 1, 2)]
    count(0)
    before = most[0]
    assert take(whole(*chain, *file(deep + b"/f")), tmp_path, progress=count).is_whole
    assert copy([tmp_path / "d"], tmp_path / "new", progress=count).is_whole
    assert 20 < most[0] - before < 150


PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import fastpty.copying.sender, fastpty.copying.receiver
print(*sorted(set(sys.modules) - before))
os.chdir(sys.argv[2])
sys.path.clear()
sys.meta_path.clear()
sys.path_hooks.clear()
lines = []
with open("stream", "w+b") as stream:
    fastpty.copying.sender.send([b"tree", b"missing\\xff"], stream.fileno(), None)
    os.lseek(stream.fileno(), 0, os.SEEK_SET)
    fastpty.copying.receiver.receive(stream.fileno(), b"target", lines.append, into_directory=True)
    try:
        fastpty.copying.receiver.receive(stream.fileno(), b"target", lines.append, into_directory=True)
    except fastpty.errors.CopyError as error:
        lines.append(str(error))
print(*lines, sep="|")
"""


def test_a_copy_needs_no_file_of_python(tmp_path: Path) -> None:
    """In the jail there is none: all is imported before, and that is little."""
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "d" / "f").write_text("1")
    (tmp_path / "tree" / "d" / "l").symlink_to("f")
    (tmp_path / "target").mkdir()
    argv = [sys.executable, "-S", "-E", "-c", PROGRAM, str(ROOT), str(tmp_path)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    imported, lines = ended.stdout.splitlines()
    failure = "missing\\xff: not sent: No such file or directory"
    cut = "the copy was cut: the other side has ended before it had sent everything"
    assert lines.split("|") == [failure, cut]
    assert [*seen(tmp_path / "target")] == ["tree", "tree/d", "tree/d/f", "tree/d/l"]
    costly = {
        "dataclasses",
        "inspect",
        "logging",
        "pathlib",
        "random",
        "re",
        "shutil",
        "tarfile",
        "threading",
        "typing",
    }
    assert set(imported.split()) & costly == set()
