"""Whoever sends the records gets at nothing outside the target."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fastpty.copying import links
from fastpty.copying.records import CutFile, Data, Failed, File, Link, Record, top_names
from fastpty.errors import CopyError
from tests.support.copying import MTIME_NS, directory, file, seen, take, whole


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("old")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def outside(target: Path) -> Path:
    return target.parent / "outside"


def is_untouched(outside: Path) -> bool:
    return [path.name for path in outside.iterdir()] == ["kept"] and (outside / "kept").read_text() == "old"


NOT_FOLLOWED = "l is a link or not a directory, and no link is followed"


def test_a_file_does_not_go_through_a_link_of_the_stream(target: Path, outside: Path) -> None:
    """The link is not there yet when the file comes, wherever it leads."""
    for text in (b"../outside", os.fsencode(outside), b"."):
        outcome = take(whole(Link(b"l", text), *file(b"l/x"), *file(b"l/kept")), target)
        assert outcome.lines[0] == "l/x: not written: No such file or directory"
        assert not outcome.is_whole
        assert is_untouched(outside)


def test_a_link_does_not_take_the_place_of_a_directory(target: Path, outside: Path) -> None:
    records = (directory(b"l"), Link(b"l", b"d"), directory(b"d"), *file(b"l/x"))
    assert take(whole(*records), target) == (False, ["l: not written: Is a directory"])
    assert [*seen(target)] == ["d", "l", "l/x"]


def test_an_existing_link_is_not_followed_to_a_directory(target: Path, outside: Path) -> None:
    (target / "l").symlink_to(outside)
    outcome = take(whole(*file(b"l/kept"), *file(b"l/x"), Link(b"l/y", b"z"), *file(b"other")), target)
    assert outcome == (False, [f"l/{name}: not written: {NOT_FOLLOWED}" for name in ("kept", "x", "y")])
    assert is_untouched(outside)
    assert (target / "other").read_text() == "new"


def test_an_existing_link_is_no_directory_to_merge(target: Path, outside: Path) -> None:
    """Its mode stays, and one line is enough for it and all below it."""
    (target / "l").symlink_to(outside)
    mode = outside.stat().st_mode
    outcome = take(whole(directory(b"l", 0o777), *file(b"l/x"), directory(b"l/d"), *file(b"m")), target)
    assert outcome == (False, [f"l: not written: {NOT_FOLLOWED}"])
    assert is_untouched(outside)
    assert outside.stat().st_mode == mode
    assert [*seen(target)] == ["l", "m"]


def test_an_existing_link_is_replaced_by_a_file(target: Path, outside: Path) -> None:
    (target / "l").symlink_to(outside / "kept")
    assert take(whole(*file(b"l")), target).is_whole
    assert is_untouched(outside)
    assert not (target / "l").is_symlink()
    assert (target / "l").read_text() == "new"


def test_a_planted_temporary_name_is_not_used(target: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can guess it. If somebody does, neither a link nor a file with that name is written to."""
    monkeypatch.setattr(os, "urandom", bytes)
    planted = target / f".fastpty-{bytes(8).hex()}"
    for plant in (lambda: planted.symlink_to(outside / "kept"), lambda: os.link(outside / "kept", planted)):
        plant()
        outcome = take(whole(*file(b"f"), Link(b"l", b"x")), target)
        assert outcome == (False, [f"{name}: not written: File exists" for name in "fl"])
        assert is_untouched(outside)
        planted.unlink()


def test_a_target_that_is_a_link_to_a_file_is_replaced(target: Path, outside: Path) -> None:
    (target / "l").symlink_to(outside / "kept")
    assert take(whole(*file(b"x")), target / "l").is_whole
    assert is_untouched(outside)
    assert (target / "l").read_text() == "new"


def test_a_directory_swapped_for_a_link_is_not_followed(target: Path, outside: Path) -> None:
    """Somebody else swaps it while a file is copied into another directory, and again in the middle of a file."""

    def swap(*_: int) -> None:
        for name in ("d", "e"):
            if not (target / name).is_symlink():
                (target / name).rename(target / f"moved {name}")
                (target / name).symlink_to(outside)

    records = (directory(b"d"), directory(b"e"), *file(b"e/x"), *file(b"d/kept"), *file(b"d/y"))
    is_whole, lines = take(whole(*records), target, progress=swap)
    assert not is_whole
    refusal = "is a link or not a directory, and no link is followed"
    assert lines == [
        "d/kept: not written: d " + refusal,
        "d/y: not written: d " + refusal,
    ]
    assert is_untouched(outside)
    assert (target / "moved e" / "x").read_text() == "new"


def test_a_directory_swapped_for_a_link_is_not_given_a_mode(target: Path, outside: Path) -> None:
    mode = outside.stat().st_mode

    def swap(*_: int) -> None:
        (target / "d").rename(target / "moved")
        (target / "d").symlink_to(outside)

    records = (directory(b"d", 0o777), Link(b"d/l", b"x"), *file(b"x"))
    refusal = "not written: d is a link or not a directory, and no link is followed"
    assert take(whole(*records), target, progress=swap) == (False, [f"d/l: {refusal}", f"d: {refusal}"])
    assert outside.stat().st_mode == mode
    assert is_untouched(outside)


def test_a_directory_swapped_for_another_one_is_not_given_a_mode(target: Path) -> None:
    """Who may write in the target could open a private directory of the user who copies."""
    (target / "private").mkdir(0o700)

    def swap(*_: int) -> None:
        (target / "d").rename(target / "moved")
        (target / "private").rename(target / "d")

    records = (directory(b"d", 0o777), Link(b"d/l", b"x"), *file(b"x"))
    assert take(whole(*records), target, progress=swap) == (
        False,
        ["d: not written: another directory has taken its place"],
    )
    assert (target / "d").stat().st_mode & 0o777 == 0o700


def test_a_new_directory_keeps_the_setgid_bit_of_the_one_above_it(target: Path) -> None:
    """There everything has the same group. The sender has no say in this."""
    os.chown(target, -1, os.getgid())
    target.chmod(0o2755)
    assert take(whole(directory(b"d", 0o755), directory(b"d/e", 0o755)), target) == (True, [])
    assert (target / "d" / "e").stat().st_mode & 0o7777 == 0o2755


def test_a_directory_in_the_way_of_a_file_or_link_stays(target: Path) -> None:
    for name in ("empty", "full/of things"):
        (target / name).mkdir(parents=True)
    outcome = take(whole(*file(b"empty"), *file(b"full"), Link(b"empty", b"full")), target)
    assert outcome == (False, [f"{name}: not written: Is a directory" for name in ("empty", "full", "empty")])
    assert [*seen(target)] == ["empty", "full", "full/of things"]


def test_a_file_in_the_way_of_a_directory_stays(target: Path) -> None:
    (target / "l").write_text("old")
    assert take(whole(directory(b"l"), *file(b"l/x")), target) == (False, [f"l: not written: {NOT_FOLLOWED}"])
    assert (target / "l").read_text() == "old"


def test_a_mode_is_nothing_but_permissions(target: Path) -> None:
    """No setuid, setgid or sticky bit, and no kind of file, is taken from the stream."""
    before = os.umask(0)
    try:
        for number, kind in enumerate((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFLNK, 0)):
            name = b"%d" % number
            records = (*file(b"f" + name, mode=kind | 0o7777), directory(b"d" + name, kind | 0o7777))
            assert take(whole(*records), target) == (True, [])
    finally:
        os.umask(before)
    assert {path.stat().st_mode for path in target.glob("f*")} == {stat.S_IFREG | 0o777}
    assert {path.stat().st_mode for path in target.glob("d*")} == {stat.S_IFDIR | 0o777}


def test_a_file_that_arrives_can_be_read_by_nobody_else(target: Path) -> None:
    modes = []

    def look(*_: int) -> None:
        modes.extend(oct(path.stat().st_mode) for path in sorted(target.rglob("*")))

    before = os.umask(0)
    try:
        assert take(whole(directory(b"d", 0o777), *file(b"d/f", mode=0o666)), target, progress=look).is_whole
    finally:
        os.umask(before)
    assert modes == ["0o40700", "0o100600"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"l", b"/etc/passwd"),
        (b"l", b"/"),
        (b"l", b".."),
        (b"l", b"../outside"),
        (b"l", b"./../outside"),
        (b"l", b"x/../../outside"),
        (b"l", b"d/.."),
        (b"d/l", b"../.."),
        (b"d/l", b"../../outside/kept"),
        (b"d/l", b"..//.././outside"),
        (b"d/l", b"x/.."),
        (b"l", b""),
    ],
)
def test_a_link_that_could_lead_out_of_the_target_is_not_created(
    path: bytes, text: bytes, target: Path, outside: Path
) -> None:
    outcome = take(whole(directory(b"d"), Link(path, text)), target)
    assert outcome == (False, [f"{path.decode()}: not written: it could lead out of the target"])
    assert [*seen(target)] == ["d"]


@pytest.mark.parametrize(
    ("path", "text"),
    [(b"l", b"x"), (b"l", b"d/x/y"), (b"d/l", b"../x"), (b"d/l", b".."), (b"l", b"./x"), (b"l", b"l")],
)
def test_a_link_that_stays_in_the_target_is_created(path: bytes, text: bytes, target: Path) -> None:
    assert take(whole(directory(b"d"), Link(path, text)), target) == (True, [])
    assert os.readlink(os.fsencode(target) + b"/" + path) == text


def test_a_link_does_not_lead_through_another_one(target: Path) -> None:
    """`up/../x` would be inside if `up` were a directory. Links that come later count, too."""
    records = (
        *(directory(b"d"), directory(b"d/e"), Link(b"early", b"d/e/up/x")),
        *(Link(b"d/e/up", b"../.."), Link(b"late", b"d/e/up/../x"), Link(b"d/beside", b"e/up")),
    )
    is_whole, lines = take(whole(*records), target)
    assert not is_whole
    assert lines == [
        "early: not written: it leads through another link",
        "late: not written: it could lead out of the target",
    ]
    assert [*seen(target)] == ["d", "d/beside", "d/e", "d/e/up"]


def test_in_a_new_directory_a_link_does_not_lead_to_its_neighbours(target: Path) -> None:
    """The target is then the directory `new`, not the one in which it is created."""
    records = (directory(b"d"), Link(b"d/l", b"../outside"), Link(b"d/m", b".."), Link(b"d/n", b"x"))
    outcome = take(whole(*records), target / "new")
    refusal = "not written: it could lead out of the target"
    assert outcome == (False, [f"new/l: {refusal}", f"new/m: {refusal}"])
    assert [*seen(target)] == ["new", "new/n"]
    outcome = take(whole(Link(b"l", b"../outside/kept")), target / "link")
    assert outcome == (False, [f"link: {refusal}"])


def test_a_directory_with_links_gets_its_time_and_mode_when_they_are_there(target: Path) -> None:
    """So do those above it: their modes may forbid to create the link."""
    links = (Link(b"d/e/l", b"x"), directory(b"d/f", 0o500), *file(b"d/f/x"))
    assert take(whole(directory(b"d", 0o500), directory(b"d/e", 0o500), *links), target) == (True, [])
    assert [*seen(target)] == ["d", "d/e", "d/e/l", "d/f", "d/f/x"]
    assert {(oct(path.stat().st_mode), path.stat().st_mtime_ns) for path in target.rglob("*") if path.is_dir()} == {
        ("0o40500", MTIME_NS)
    }


def test_the_links_that_are_kept_are_bounded(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (links.LINKS_MOST, links.TEXT_MOST) == (100_000, 16 << 20)
    monkeypatch.setattr(links, "LINKS_MOST", 3)
    with pytest.raises(CopyError, match="more than 3 links"):
        take(whole(*(Link(b"%d" % number, b"x") for number in range(4))), target)
    assert take(whole(*(Link(b"%d" % number, b"x") for number in range(3))), target).is_whole


def test_the_text_that_is_kept_for_links_is_bounded(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of links that replace each other, and that of directories that wait for their links."""
    monkeypatch.setattr(links, "TEXT_MOST", 100)
    with pytest.raises(CopyError, match="too many links"):
        take(whole(*(Link(b"l", b"%d" % number) for number in range(1000, 1030))), target)
    assert take(whole(*(Link(b"l", b"%d" % number) for number in range(1000, 1020))), target).is_whole
    names = [b"d" * 30 + b"%d" % number for number in range(2)]
    assert take(whole(*(Link(name + b"ll", b"x") for name in names)), target).is_whole
    with pytest.raises(CopyError, match="too many links"):
        take(whole(*(record for name in names for record in (directory(name), Link(name + b"/l", b"x")))), target)


def test_a_second_thing_does_not_get_beside_the_target(target: Path) -> None:
    for second in (file(b"other"), (directory(b""),), (Link(b"other", b"x"),)):
        with pytest.raises(CopyError, match="several things"):
            take(whole(*file(b"f"), *second), target / "new")
        assert [*seen(target)] == ["new"]


def test_nothing_comes_that_was_not_asked_for(target: Path) -> None:
    """As in CVE-2019-6111 of scp: a server that is asked for one file sends a .profile."""
    names = top_names([b"/etc/hosts", b"d/"])
    assert take(whole(*file(b"hosts"), directory(b"d"), *file(b"d/.profile")), target, names=names).is_whole
    for other in (file(b".profile"), (directory(b".ssh"),), (directory(b""),), (Link(b"hosts2", b"x"),)):
        with pytest.raises(CopyError, match="something that was not asked for"):
            take(whole(*other), target, names=names)
    assert [*seen(target)] == ["d", "d/.profile", "hosts"]


def test_the_names_that_are_asked_for_are_those_that_a_sender_sends() -> None:
    assert top_names([b"/etc/hosts", b"d//", b"../x", b"a b"]) == {b"hosts", b"d", b"x", b"a b"}
    for content in (b".", b"..", b"d/.", b"d/..", b"/", b"d/./", b""):
        assert top_names([b"f", content]) is None


def test_the_text_of_the_other_side_is_short_and_printable(target: Path) -> None:
    records: tuple[Record, ...] = (
        Failed(b"\x1b[2Jcleared\n\xff" + b"x" * 1000),
        File(0, 0, 0, b"f"),
        CutFile(b"\x07" + "ü".encode() * 1000),
    )
    is_whole, lines = take(whole(*records), target)
    assert not is_whole
    assert lines == ["\\x1b[2Jcleared\\n\ufffd" + "x" * 387, "\\x07" + "ü" * 199 + "\ufffd"]


@pytest.mark.parametrize(
    "ending", [(), (Data(b"more"),), (File(0, 0, 0, b"g"),), (Data(b"more"), Data(b""))], ids=str
)
def test_a_stream_that_is_cut_or_wrong_in_the_middle_of_a_file_leaves_nothing_of_it(
    ending: tuple[Record, ...], target: Path
) -> None:
    (target / "f").write_text("old")
    stream = whole(directory(b"d"), File(0, 0, 7, b"d/f"), Data(b"some"), *ending)[:-21]
    with pytest.raises(CopyError):
        take(stream, target)
    assert [*seen(target)] == ["d", "f"]
    assert (target / "f").read_text() == "old"


def test_a_stream_that_is_cut_between_files_leaves_those_that_were_complete(target: Path) -> None:
    """That is an error all the same. Directories get their modes, and no link is created."""
    stream = whole(directory(b"d", 0o755), *file(b"d/f"), Link(b"d/l", b"f"), directory(b"e", 0o711))[:-21]
    with pytest.raises(CopyError, match="cut"):
        take(stream, target)
    assert [*seen(target)] == ["d", "d/f", "e"]
    assert [oct((target / name).stat().st_mode) for name in "de"] == ["0o40755", "0o40711"]


def test_a_file_that_the_sender_could_not_read_is_not_created(target: Path) -> None:
    (target / "f").write_text("old")
    records = (File(0, 0, 6, b"f"), Data(b"new"), CutFile(b"f: Input/output error"), *file(b"g"))
    assert take(whole(*records), target) == (False, ["f: Input/output error"])
    assert (target / "f").read_text() == "old"
    assert [*seen(target)] == ["f", "g"]


def test_an_exception_while_a_file_arrives_leaves_nothing_of_it(target: Path) -> None:
    """As when a handler of a signal raises."""

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(whole(*file(b"f")), target, progress=interrupt)
    assert [*seen(target)] == []


def test_a_failure_of_the_sender_is_one_of_the_copy(target: Path) -> None:
    assert take(whole(Failed(b"x: not sent"), *file(b"f")), target) == (False, ["x: not sent"])
    assert [*seen(target)] == ["f"]


def test_a_file_without_its_directory_is_reported(target: Path) -> None:
    outcome = take(whole(*file(b"d/f"), *file(b"g")), target)
    assert outcome == (False, ["d/f: not written: No such file or directory"])
    assert [*seen(target)] == ["g"]
