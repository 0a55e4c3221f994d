"""`fastpty cp`: files and directories arrive whole, in both directions."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.copying.records import Directory, End, EndFile, File, Link, Record, encode
from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter, terminal_client
from tests.support.extension_peer import ExtensionPeer, playing
from tests.support.harness import Router, children, eventually

MIB = 1 << 20


@pytest.fixture
def address(start_router: Callable[..., Router], directory: Path) -> str:
    start_router(f"{directory}/s")
    return f"{directory}/s"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def copy(*arguments: object) -> tuple[int, str, str]:
    """Status, output and error output of the command."""
    words = [str(argument) for argument in arguments]
    ended = subprocess.run(
        [*CLIENT, "cp", *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, text=True
    )
    return ended.returncode, ended.stdout, ended.stderr


def tree(directory: Path, *, seconds: bool = False) -> dict[str, object]:
    """What a directory holds: for each name the bytes, the link's target, or None for a directory; mode and time.

    seconds: compares whole ones, which is what tar(1) keeps.
    """
    found: dict[str, object] = {}
    for entry in sorted(directory.rglob("*")):
        what: object = None
        if entry.is_symlink():
            found[str(entry.relative_to(directory))] = os.readlink(entry)
            continue
        if entry.is_file():
            what = hashlib.sha256(entry.read_bytes()).hexdigest()
        status = entry.stat()
        found[str(entry.relative_to(directory))] = (
            what,
            status.st_mode,
            status.st_mtime_ns // (10**9 if seconds else 1),
        )
    return found


def fill(directory: Path) -> None:
    (directory / "inner" / "empty").mkdir(parents=True)
    (directory / "big").write_bytes(os.urandom(5 * MIB + 1))
    (directory / "none").touch()
    (directory / "inner" / "run").write_text("#!/bin/sh\n")
    (directory / "inner" / "run").chmod(0o750)
    (directory / "inner" / "a b\nc").write_text("an odd name\n")
    (directory / "inner" / "link").symlink_to("run")
    os.utime(directory / "none", ns=(1, 1_234_567_890_123_456_789))


def test_a_directory_arrives_there_as_it_is_here(address: str, here: Path, there: Path) -> None:
    fill(here)
    assert copy(address, here, f":{there}") == (0, "", "")
    assert tree(there / "here") == tree(here)


def test_a_directory_arrives_here_as_it_is_there(address: str, here: Path, there: Path) -> None:
    fill(there)
    assert copy(address, f":{there}/.", here) == (0, "", "")
    assert tree(here) == tree(there)


@pytest.mark.parametrize("upload", [True, False])
def test_a_file_gets_the_name_that_was_given(address: str, here: Path, there: Path, upload: bool) -> None:
    source, target = (here / "a", there / "b") if upload else (there / "a", here / "b")
    source.write_text("text")
    paths = (source, f":{target}") if upload else (f":{source}", target)
    assert copy(address, *paths) == (0, "", "")
    assert target.read_text() == "text"


def test_several_files_need_a_directory(address: str, here: Path, there: Path) -> None:
    for name in ("a", "b"):
        (here / name).write_text(name)
    status, _, errors = copy(address, here / "a", here / "b", f":{there}/no")
    assert status == 1
    assert "no: " in errors
    assert copy(address, here / "a", here / "b", f":{there}") == (0, "", "")
    assert sorted(os.listdir(there)) == ["a", "b"]


def test_relative_paths_begin_where_sessions_begin(address: str, here: Path, there: Path) -> None:
    (there / "a").write_text("text")
    assert copy("-w", there, address, ":a", here) == (0, "", "")
    assert (here / "a").read_text() == "text"


def test_what_cannot_be_copied_is_named_and_the_rest_is_copied(address: str, here: Path, there: Path) -> None:
    (here / "a").write_text("text")
    os.mkfifo(here / "pipe")
    status, _, errors = copy(address, here / "a", here / "pipe", here / "nosuch", f":{there}")
    assert status == 1
    assert (there / "a").read_text() == "text"
    assert [line for line in errors.splitlines() if "pipe" in line]
    assert [line for line in errors.splitlines() if "nosuch: not sent: No such file or directory" in line]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("S", "a"), "needs an address, what to copy, and where to"),
        (("S", "a", "b"), "give either the sources or the target as :PATH"),
        (("S", ":a", ":b"), "give either the sources or the target as :PATH"),
        (("S", "a", ":b", "c"), "give either the sources or the target as :PATH"),
    ],
)
def test_bad_usage_is_one_line(words: tuple[str, ...], problem: str) -> None:
    status, output, errors = copy(*words)
    assert (status, output) == (2, "")
    assert problem in errors
    assert errors.count("\n") == 1


def test_a_copy_is_refused_where_clients_choose_no_command(
    start_router: Callable[..., Router], directory: Path, here: Path
) -> None:
    start_router(f"{directory}/s", "--client-command", "no")
    assert copy(f"{directory}/s", f":{directory}", here) == (
        255,
        "",
        "fastpty: refused: clients may not choose a command here\n",
    )
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("who", "signum"),
    [
        *((who, signum) for who in ("client", "receiver", "worker") for signum in (signal.SIGTERM, signal.SIGINT)),
        *(("receiver", signum) for signum in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGXCPU, signal.SIGRTMIN)),
        ("client", signal.SIGKILL),
        ("worker", signal.SIGKILL),
    ],
)
def test_a_copy_that_is_cut_leaves_no_part_of_a_file(
    start_router: Callable[..., Router], directory: Path, here: Path, there: Path, who: str, signum: int
) -> None:
    router = start_router(f"{directory}/s")
    with open(here / "large", "wb") as large:
        large.truncate(64 << 30)  # it takes too long to finish before the signal
    with subprocess.Popen(
        [*CLIENT, "cp", f"{directory}/s", str(here / "large"), f":{there}"], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as client:
        try:
            eventually(lambda: os.listdir(there) and next(there.iterdir()).stat().st_size > MIB, "the copy has begun")
            receiver = children(router.pid)[0]
            os.kill({"client": client.pid, "worker": router.pid}.get(who, receiver), signum)
            assert client.wait(30) != 0
        finally:
            client.kill()
    eventually(lambda: os.listdir(there) == [], "the incomplete file is removed")


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_all_processes_of_the_command_leaves_no_part_of_a_file(
    address: str, here: Path, there: Path, signum: int
) -> None:
    """As a terminal sends it when a key is pressed."""
    with open(there / "large", "wb") as large:
        large.truncate(64 << 30)
    command = [*CLIENT, "cp", address, f":{there}/large", str(here)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as client:
        try:
            eventually(lambda: os.listdir(here) and next(here.iterdir()).stat().st_size > MIB, "the copy has begun")
            os.killpg(client.pid, signum)
            assert client.wait(30) != 0
        finally:
            client.kill()
    eventually(lambda: os.listdir(here) == [], "the incomplete file is removed")


def test_a_file_that_may_not_get_so_large_is_an_error_and_leaves_nothing(
    start_router: Callable[..., Router], directory: Path, here: Path, there: Path
) -> None:
    router = start_router(f"{directory}/s")
    resource.prlimit(router.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
    (here / "large").write_bytes(bytes(2 * MIB))
    status, _, errors = copy(f"{directory}/s", here / "large", f":{there}")
    assert (status, errors) == (1, "fastpty: large: not written: File too large\n")
    assert os.listdir(there) == []


def test_progress_is_shown_on_a_terminal_and_cleared(address: str, here: Path, there: Path) -> None:
    with open(here / "large", "wb") as large:
        large.truncate(64 << 30)
    with terminal_client("cp", address, str(here / "large"), f":{there}") as client:
        client.read_until(b"% ")
        client.read_until(b"MiB of 64.0 GiB  ")
        client.read_until(b"MiB/s")
        client.read_until(b" left")
        client.signal(signal.SIGTERM)
        assert client.wait() == -signal.SIGTERM
        client.read_until(b"\r\x1b[K")


# Archives


def run_shell(script: str, address: str, *words: Path) -> tuple[int, bytes, bytes]:
    """A script, in which `$CP` is the command, `$A` the address, and `$1` … the words."""
    environment = os.environ | {"CP": " ".join([*CLIENT, "cp"]), "A": address}
    command = ["bash", "-o", "pipefail", "-c", script, "bash", *map(str, words)]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_an_archive_from_standard_input_is_unpacked_there(address: str, here: Path, there: Path) -> None:
    fill(here)
    assert run_shell("tar -c -C $1 . | $CP $A - :$2", address, here, there) == (0, b"", b"")
    assert tree(there, seconds=True) == tree(here, seconds=True)


def test_a_directory_becomes_an_archive_on_standard_output(address: str, here: Path, there: Path) -> None:
    fill(there)
    assert run_shell("$CP $A :$2/. - | tar -x -C $1", address, here, there) == (0, b"", b"")
    assert tree(here) == tree(there)


def test_a_member_of_an_archive_is_not_setuid(address: str, here: Path, there: Path) -> None:
    """Who extracts it may be root, and the router be somebody else's."""
    (there / "a").touch()
    (there / "a").chmod(0o6755)
    assert run_shell("$CP $A :$2 - > $1/a.tar", address, here, there) == (0, b"", b"")
    with tarfile.open(here / "a.tar") as archive:
        assert [member.mode for member in archive] == [there.stat().st_mode & 0o777, 0o755]


def test_members_that_lead_out_of_the_target_are_left_out(address: str, here: Path, there: Path) -> None:
    (here / "a").touch()
    script = "tar -c -P -C $1 --transform='s,^,../,' a | $CP $A - :$2; echo $?"
    status, output, errors = run_shell(script, address, here, there)
    assert (status, output) == (0, b"1\n")
    assert b"../a: not sent: its name leads out of the target\n" in errors
    assert os.listdir(there) == []
    assert not (there.parent / "a").exists()


def test_half_an_archive_is_an_error(address: str, here: Path, there: Path) -> None:
    (here / "a").write_bytes(os.urandom(MIB))
    status, _, errors = run_shell("tar -c -C $1 a | head -c 100000 | $CP $A - :$2", address, here, there)
    assert status == 1
    assert b"standard input is not a complete tar archive" in errors
    assert os.listdir(there) == []


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("n" * 256, {}),
        ("n/" * 33_000 + "n", {}),
        ("n", {"mtime": "inf"}),
        ("n", {"mtime": "1e300"}),
        ("n", {"path": "n\0n"}),
    ],
)
def test_a_member_that_cannot_be_sent_is_left_out(
    address: str, here: Path, there: Path, name: str, headers: dict[str, str]
) -> None:
    wrong, right = tarfile.TarInfo(name), tarfile.TarInfo("right")
    wrong.pax_headers = headers
    with tarfile.open(here / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(wrong)
        archive.addfile(right)
    status, _, errors = run_shell("$CP $A - :$2 < $1/a.tar", address, here, there)
    assert status == 1
    assert errors.endswith(b": not sent: its name, size or time is not allowed\n")
    assert errors.count(b"\n") == 1
    assert os.listdir(there) == ["right"]


def test_an_archive_whose_checksum_is_wrong_is_an_error(address: str, here: Path, there: Path) -> None:
    with tarfile.open(here / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    packed = gzip.compress((here / "a.tar").read_bytes())
    (here / "a.tgz").write_bytes(packed[:-8] + bytes(8))
    status, _, errors = run_shell("$CP $A - :$2 < $1/a.tgz", address, here, there)
    assert status == 1
    assert b"standard input is not a complete tar archive" in errors


def test_no_archive_goes_to_a_terminal(address: str, there: Path) -> None:
    with terminal_client("cp", address, f":{there}", "-") as client:
        client.read_until(b"that is a terminal: redirect it")
        assert client.wait() == 2


# Hostile routers


def test_a_hostile_router_writes_only_messages_and_no_control_character(router: ScriptedRouter, here: Path) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.sock.sendall(extension.welcome(peer.nonce, extension.CAN_COPY | extension.CAN_STREAMS, 1 << 20))
        peer.read_start()
        peer.send(extension.STARTED)
        peer.output(b"\x1b[31mred")
        peer.send(extension.STDERR, b"one\n\x1b[31mtwo\n")
        peer.sock.sendall(extension.status(extension.EXITED, 1, output=peer.output_bytes, error=13))
        peer.read_to_end()

    (here / "a").touch()
    with playing(router, part):
        assert copy(router.address, here / "a", ":a") == (1, "", "one\n\\x1b[31mtwo\n")


@pytest.mark.parametrize("target", ["-", "."])
def test_a_hostile_router_cannot_add_what_was_not_asked_for(router: ScriptedRouter, here: Path, target: str) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.sock.sendall(extension.welcome(peer.nonce, extension.CAN_COPY | extension.CAN_STREAMS, 1 << 20))
        peer.read_start()
        peer.send(extension.STARTED)
        peer.output(encode(File(0o755, 0, 0, b".profile")) + encode(EndFile()) + encode(End(1, 0)))
        peer.end(0)

    with playing(router, part):
        status, _, errors = copy(router.address, ":a", target if target == "-" else here)
    assert status == 1
    assert errors == "fastpty: the other side sent something that was not asked for: .profile\n"
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    "record", [File(0o644, 0, 0, b"a/l/x"), File(0o644, 0, 0, b"a/l"), Directory(0o755, 0, b"a/l")]
)
def test_no_member_of_an_archive_leads_through_a_link(router: ScriptedRouter, here: Path, record: Record) -> None:
    """Some programs would follow it while they extract the archive."""

    def part(peer: ExtensionPeer) -> None:
        peer.sock.sendall(extension.welcome(peer.nonce, extension.CAN_COPY | extension.CAN_STREAMS, 1 << 20))
        peer.read_start()
        peer.send(extension.STARTED)
        peer.output(encode(Link(b"a/l", b"/tmp")) + encode(record))
        peer.end(0)

    with playing(router, part):
        status, _, errors = copy(router.address, ":a", "-")
    assert status == 1
    assert "malformed copy stream: the path leads through a link: a/l" in errors
