"""A copy has the names, contents, modes, times and links of what was copied."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpty.copying.receiver import receive
from fastpty.copying.records import PATH_MOST
from fastpty.copying.sender import send
from fastpty.errors import CopyError
from tests.support.copying import MTIME_NS, copy, seen
from tests.support.peers import need_root


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One of everything that a copy keeps."""
    top = tmp_path / "tree"
    (top / "empty directory").mkdir(parents=True)
    (top / "inner" / "deeper").mkdir(parents=True)
    for name, content in (
        (b"file", b"content"),
        (b"empty", b""),
        (b"with\nnewline", b"1"),
        (b"not UTF-8 \xff\xfe", b"2"),
        (b"n" * 255, b"3"),
        (b" -rf", b"4"),
        (b"inner/deeper/large", os.urandom(300_000)),
        (b"inner/program", b"#!/bin/sh\n"),
    ):
        path = os.fsencode(top) + b"/" + name
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, ns=(MTIME_NS, MTIME_NS + len(content)))
    (top / "inner" / "program").chmod(0o755)
    (top / "file").chmod(0o400)
    (top / "empty").chmod(0)
    (top / "link").symlink_to("inner/program")
    (top / "inner" / "up").symlink_to("../file")
    (top / "nowhere").symlink_to("missing")
    for name, mode in (("inner/deeper", 0o500), ("inner", 0o711), ("empty directory", 0o000), (".", 0o555)):
        (top / name).chmod(mode)
        os.utime(top / name, ns=(MTIME_NS, MTIME_NS + mode))
    return top


def test_a_copied_tree_is_the_same(tree: Path, tmp_path: Path) -> None:
    need_root()  # to read the file that nobody may read
    assert copy([tree], tmp_path / "new") == (True, [])
    assert seen(tmp_path / "new") == seen(tree)
    assert (tmp_path / "new").stat().st_mtime_ns == tree.stat().st_mtime_ns
    assert (tmp_path / "new").stat().st_mode == tree.stat().st_mode


def test_into_a_directory_things_keep_their_names(tree: Path, tmp_path: Path) -> None:
    need_root()
    (tmp_path / "target").mkdir()
    (tmp_path / "one").write_text("1")
    assert copy([tree, tmp_path / "one"], tmp_path / "target", into=True).is_whole
    assert seen(tmp_path / "target" / "tree") == seen(tree)
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["one", "tree"]


def test_one_file_gets_the_name_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("new")
    (tmp_path / "existing").write_text("an old one that is longer")
    for name in ("missing", "existing"):
        assert copy([tmp_path / "one"], tmp_path / name) == (True, [])
        assert (tmp_path / name).read_text() == "new"


def test_a_target_without_a_directory_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").write_text("new")
    assert copy(["one"], Path("other")).is_whole
    assert Path("other").read_text() == "new"


@pytest.mark.parametrize("name", ["tree/.", "tree/./", "tree/d/..", "."])
def test_of_a_directory_and_a_dot_the_content_is_copied(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "d" / "f").write_text("1")
    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path / "tree" if name == "." else tmp_path)
    for target in ("target", "new"):
        assert copy([name], tmp_path / target) == (True, [])
        assert [*seen(tmp_path / target)] == ["d", "d/f"]


@pytest.mark.parametrize("name", ["tree/", "tree//", "link", "link/", "other/../tree"])
def test_a_directory_gets_the_name_with_which_it_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "f").write_text("1")
    (tmp_path / "link").symlink_to("tree")
    (tmp_path / "other").mkdir()
    (tmp_path / "target").mkdir()
    assert copy([f"{tmp_path}/{name}"], tmp_path / "target").is_whole
    last = "link" if "link" in name else "tree"
    assert [*seen(tmp_path / "target")] == [last, f"{last}/f"]


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("content")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "target").mkdir()
    (tmp_path / "to target").symlink_to("target")
    assert copy([tmp_path / "link"], tmp_path / "to target").is_whole
    copied = tmp_path / "target" / "link"
    assert not copied.is_symlink()
    assert copied.read_text() == "content"


def test_the_mode_follows_the_umask_and_never_has_special_bits(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o777)
    source.chmod(0o3777)
    (source / "f").write_text("1")
    (source / "f").chmod(0o6777)
    os.umask(0o027)
    assert copy([source], tmp_path / "new").is_whole
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "new/f")] == [0o750, 0o750]
    assert os.umask(0o022) == 0o027


def test_an_existing_directory_is_merged_and_keeps_its_mode(tmp_path: Path) -> None:
    for top in ("source", "target/source"):
        (tmp_path / top / "d").mkdir(parents=True)
        (tmp_path / top / "d" / "both").write_text(top)
        (tmp_path / top / "d" / top.replace("/", "-")).write_text(top)
    (tmp_path / "target/source/d").chmod(0o711)
    assert copy([tmp_path / "source"], tmp_path / "target").is_whole
    merged = tmp_path / "target/source/d"
    assert stat.S_IMODE(merged.stat().st_mode) == 0o711
    assert (merged / "both").read_text() == "source"
    assert sorted(path.name for path in merged.iterdir()) == ["both", "source", "target-source"]


def test_progress_is_shown_in_bytes_of_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(150_000))
    (tmp_path / "b").write_bytes(bytes(10))
    (tmp_path / "target").mkdir()
    shown: list[tuple[int, ...]] = []
    copy([tmp_path / "a", tmp_path / "b"], tmp_path / "target", into=True, progress=lambda *show: shown.append(show))
    assert shown == [(done, 150_010) for done in (65_536, 131_072, 150_000, 150_010)]


def test_a_file_of_50_mib_is_copied(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(1 << 20))
    assert copy([tmp_path / "large"], tmp_path / "new").is_whole
    subprocess.run(["cmp", tmp_path / "large", tmp_path / "new"], check=True)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory for trees that only rm(1) can remove."""
    place = tmp_path / "deep"
    place.mkdir()
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


def make_chain(top: Path, depth: int, name: str) -> None:
    """A chain of directories, too deep for a path, with a file in each."""
    top.mkdir()
    before = os.open(".", os.O_PATH)
    try:
        os.chdir(top)
        for number in range(depth):
            Path("f").write_text(str(number))
            os.mkdir(name)
            os.utime("f", ns=(MTIME_NS, MTIME_NS))
            os.chdir(name)
    finally:
        os.fchdir(before)
        os.close(before)


def depth_of_chain(top: Path, name: str) -> int:
    """How deep the chain is as far as each directory has its file and time."""
    before = os.open(".", os.O_PATH)
    depth = 0
    try:
        os.chdir(top)
        while Path("f").exists():
            assert Path("f").read_text() == str(depth)
            assert os.stat("f").st_mtime_ns == MTIME_NS
            depth += 1
            if not Path(name).exists():
                break
            os.chdir(name)
    finally:
        os.fchdir(before)
        os.close(before)
    return depth


def test_a_tree_3000_levels_deep_is_copied(deep: Path) -> None:
    make_chain(deep / "source", 3000, "d")
    assert copy([deep / "source"], deep / "new") == (True, [])
    assert depth_of_chain(deep / "new", "d") == 3000


def test_a_path_that_is_too_long_is_reported_and_the_rest_copied(deep: Path) -> None:
    name = "n" * 200
    make_chain(deep / "source", PATH_MOST // 200, name)
    is_whole, lines = copy([deep / "source"], deep / "new")
    assert not is_whole
    assert lines == [f"...{name}: not sent: the path is too long"]
    assert depth_of_chain(deep / "new", name) == (PATH_MOST - len("source")) // 201 + 1


@pytest.mark.parametrize(
    ("target", "into", "said"),
    [
        ("missing", True, "missing: No such file or directory: the target must be an existing directory"),
        ("file", True, "file: Not a directory: the target must be an existing directory"),
        ("missing/", False, "missing/: No such file or directory: the target must be an existing directory"),
        ("missing/new", False, "missing/new: No such file or directory: the directory of the target must exist"),
        ("file/new", False, "file/new: Not a directory: the directory of the target must exist"),
        ("", False, "the target of the copy has no name, or one that no file can have"),
        ("a\0b", False, "the target of the copy has no name, or one that no file can have"),
    ],
)
def test_a_target_that_cannot_be_used_is_an_error(
    target: str, into: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("1")
    with pytest.raises(CopyError) as error:
        copy([b"file"], target, into=into)  # type: ignore[arg-type] - a Path would drop the slash
    assert str(error.value) == said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_several_things_do_not_get_the_name_of_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with pytest.raises(CopyError, match="several things cannot get one name"):
        copy([tmp_path / "a", tmp_path / "b"], tmp_path / "new")


def test_what_is_missing_is_reported_and_the_rest_copied(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("1")
    (tmp_path / "target").mkdir()
    outcome = copy([tmp_path / "missing\n", "", b"a\0b", tmp_path / "there"], tmp_path / "target", into=True)
    line = f"{tmp_path}/missing\\n: not sent: No such file or directory"
    assert outcome == (
        False,
        [line, ": not sent: No such file or directory", "a\\x00b: not sent: Invalid argument"],
    )
    assert [*seen(tmp_path / "target")] == ["there"]


def test_a_failure_is_reported_by_one_side_only(tmp_path: Path) -> None:
    """With a report of its own the sender tells the other side only that something is missing."""
    lines: list[str] = []
    source, out = os.pipe()
    assert not send([b"/no such"], out, lines.append)
    os.close(out)
    assert not receive(source, os.fsencode(tmp_path), lines.append, into_directory=True)
    os.close(source)
    assert lines == ["/no such: not sent: No such file or directory"]
