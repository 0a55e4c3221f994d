"""Attacks by other users of the machine on the path of a socket file, and on the log."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.errors import FastptyError
from fastpty.listening import bind as listening
from fastpty.net.address import UnixAddress
from tests.support.harness import Client, Router, run
from tests.support.peers import need_root

MALLORY = 54_009


@pytest.mark.parametrize("below", [False, True])
def test_a_directory_in_which_everybody_may_replace_files_is_refused(directory: Path, below: bool) -> None:
    open_to_all = directory / "open"
    (open_to_all / "deep").mkdir(parents=True)
    open_to_all.chmod(0o777)
    path = open_to_all / "deep" / "s" if below else open_to_all / "s"
    ended = run(str(path))
    assert f"every user may write to {open_to_all}" in ended.stderr
    assert f"chmod o-w {open_to_all}" in ended.stderr
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 1)
    assert not path.exists()


def test_a_directory_of_another_user_or_group_is_warned_of(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    theirs = directory / "theirs"
    theirs.mkdir()
    theirs.chmod(0o775)
    os.chown(theirs, MALLORY, MALLORY)
    router = start_router(f"{theirs}/s")
    router.wait_for_log(rf"group {MALLORY} may write to {theirs}")
    router.wait_for_log(rf"{theirs} belongs to uid {MALLORY}")


@pytest.mark.parametrize("mode", [0o1755, 0o1777])
def test_a_sticky_directory_of_another_user_is_warned_of(
    start_router: Callable[..., Router], shared: Path, mode: int
) -> None:
    """One of root's, such as /tmp, is fine."""
    shared.chmod(mode)
    assert "warning" not in start_router(f"{shared}/s").log
    os.chown(shared, MALLORY, MALLORY)
    start_router(f"{shared}/t").wait_for_log(rf"{shared} belongs to uid {MALLORY}, who may put another socket there")


def test_a_warning_shows_no_escape_sequence(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"@\x1b[2J{directory.name}")
    router.wait_for_log(r"warning: @\\x1b\[2J.* has no file mode")


def test_a_directory_of_the_account_that_the_router_becomes_is_fine(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    theirs = directory / "theirs"
    theirs.mkdir()
    os.chown(theirs, MALLORY, MALLORY)
    router = start_router(f"{theirs}/s", "--uid", str(MALLORY), "--gid", str(MALLORY))
    assert "warning" not in router.log


def test_a_symbolic_link_in_a_shared_directory_is_not_followed(shared: Path) -> None:
    victim = shared.parent / "victim"
    victim.write_text("root's")
    (shared / "s").symlink_to(victim)
    (shared / "dangling").symlink_to(shared.parent / "made")
    for name in ("s", "dangling"):
        assert "a symbolic link is there" in run(f"{shared}/{name}", "--chmod-socket=666").stderr
    assert victim.read_text() == "root's"
    assert not (shared.parent / "made").exists()


def test_a_symbolic_link_created_just_before_the_bind_is_not_followed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shared.parent / "made"
    bound = listening._bound

    def too_late(place: UnixAddress, *rest: object) -> listening.Listener:
        (shared / "s").symlink_to(target)
        return bound(place, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(listening, "_bound", too_late)
    with pytest.raises(FastptyError):
        listening.listen(UnixAddress(f"{shared}/s"), mode=0o666)
    assert not target.exists()
    assert (shared / "s").is_symlink()  # it was not removed


@pytest.mark.parametrize("how", ["link", "hard link"])
def test_a_file_that_replaces_the_socket_before_the_chown_keeps_its_owner(
    directory: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The account owns the directory, so it may rename root's files there."""
    need_root()
    victim = directory / "shadow"
    victim.write_text("root's")
    victim.chmod(0o600)
    path = directory / "s"
    own = listening.Listener.remember_file

    def swapped(self: listening.Listener, name: str) -> None:
        own(self, name)
        path.rename(directory / "away")
        if how == "link":
            path.symlink_to(victim)
        else:
            os.link(victim, path)

    monkeypatch.setattr(listening.Listener, "remember_file", swapped)
    with pytest.raises(FastptyError, match="somebody else replaced the socket"):
        listening.listen(UnixAddress(str(path)), mode=0o666, owner=(MALLORY, MALLORY))
    found = victim.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)


@pytest.mark.parametrize("how", ["link", "hard link"])
def test_the_socket_s_new_owner_cannot_change_the_mode_of_a_file_of_root_s(
    shared: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The account replaces the socket once it owns it; the following chmod must not reach the new file."""
    victim = shared.parent / "shadow"
    victim.write_text("root's")
    victim.chmod(0o600)
    path = shared / "s"
    chmod = os.chmod

    def swapped(file: str, mode: int) -> None:
        path.unlink()
        if how == "link":
            path.symlink_to(victim)
        else:
            os.link(victim, path)
        chmod(file, mode)

    monkeypatch.setattr(os, "chmod", swapped)
    for listener in listening.listen(UnixAddress(str(path)), mode=0o666, owner=(MALLORY, MALLORY)):
        listener.close()
    found = victim.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0)
    assert path.exists()  # another program's, so it was not removed


def test_a_stranger_s_stale_socket_in_a_shared_directory_is_not_removed(shared: Path) -> None:
    path = shared / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, MALLORY, MALLORY)
    before = path.lstat().st_ino
    assert f"a socket of uid {MALLORY} is there" in run(str(path)).stderr
    assert path.lstat().st_ino == before


def test_the_stale_socket_of_the_account_that_the_router_becomes_is_replaced(
    start_router: Callable[..., Router], shared: Path
) -> None:
    """It had given up root and could not remove the file at its end."""
    path = shared / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, MALLORY, MALLORY)
    start_router(str(path), "--uid", str(MALLORY), "--gid", str(MALLORY))
    with Client(str(path)) as client:
        client.read_until(b"$ ")


def test_no_escape_sequence_reaches_the_log_raw(start_router: Callable[..., Router], directory: Path) -> None:
    """Neither from a path, a command, a variable's value, nor the name of a client's socket."""
    hostile = "\x1b]0;owned\x07\x9b31m\n2026-01-01T00:00:00.000Z fastpty-router[1] forged\u2028"
    path = f"{directory}/s\x1b[2J"
    router = start_router(path, "--forkptyrouter-command", f"printf x; : {hostile}")
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(f"\0\x1b[2J\nforged{directory.name}")
        client.connect(path)
        assert client.recv(1) == b"x"
    router.wait_for_log("session 1: end")
    router.end()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", router.log)
    assert not [line for line in router.lines if line.startswith("2026-01-01T00:00:00.000Z")]


def test_an_error_about_a_hostile_name_shows_no_escape_sequence(directory: Path) -> None:
    for arguments in (["/no/\x1b[2J\n/s"], ["--allow-user", "\x1b[2J\nroot"], ["--\x1b[2J"]):
        ended = run(*arguments)
        assert ended.returncode in (1, 2)
        assert "\x1b" not in ended.stderr
        assert ended.stderr.count("\n") == 1
