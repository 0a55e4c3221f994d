"""Warnings about a stranger who listens at the address, and messages about unusable standard descriptors."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter
from tests.support.harness import Router
from tests.support.peers import need_root

MALLORY = 54_009


def connect(
    address: str, *, stdin: object = subprocess.DEVNULL, stdout: object = subprocess.PIPE, shell: str = ""
) -> tuple[int, str, str]:
    """Returns status, output and messages of a client; `shell` holds redirections."""
    command = [*CLIENT, "connect", address]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    ended = subprocess.run(
        command, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )  # type: ignore[call-overload]
    return ended.returncode, ended.stdout or "", ended.stderr


@pytest.mark.parametrize(
    ("redirection", "why"),
    [
        ("0>/dev/null", "cannot read the input: standard input is not open for reading"),
        (">&-", "cannot write the output: standard output is not open for writing"),
        ("1</dev/null", "cannot write the output: standard output is not open for writing"),
    ],
)
def test_unusable_standard_descriptors_are_reported_before_a_session_begins(
    start_router: Callable[..., Router], directory: Path, redirection: str, why: str
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "echo IN")
    assert connect(f"{directory}/s", shell=redirection) == (255, "", f"fastpty: {why}\n")
    router.end()
    assert "session 1" not in router.log


def test_a_directory_as_standard_input_is_reported_in_one_line() -> None:
    """Python itself does not start with one."""
    ended = subprocess.run(f"{ROOT}/bin/fastpty connect /none </tmp", shell=True, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (255, b"")
    assert ended.stderr == b"fastpty: cannot read the input: standard input is a directory\n"


def test_the_command_finds_its_interpreter_by_any_name(directory: Path) -> None:
    """It is called by its path, through PATH, and through a link."""
    command = Path(sysconfig.get_path("scripts")) / "fastpty"
    (directory / "link").symlink_to(command)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    for name in (str(command), "fastpty", f"{directory}/link"):
        ended = subprocess.run([name, "--version"], env=environment, capture_output=True, timeout=60)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout.startswith(b"fastpty ")


@pytest.mark.parametrize(
    "begin",
    ["#!{python}\n", "#!/usr/bin/env {python}\n", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"],
)
def test_the_command_uses_the_interpreter_of_the_router(directory: Path, begin: str) -> None:
    """It is in the first lines of fastpty-router, which pip writes differently for a path with spaces."""
    commands = directory / "commands of mine"
    commands.mkdir()
    shutil.copy(ROOT / "bin" / "fastpty", commands)
    python = sys.executable
    if "exec" in begin:
        python = f"{commands}/python"
        os.symlink(sys.executable, python)
    (commands / "fastpty-router").write_text(begin.format(python=python))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([commands / "fastpty", "--version"], env=environment, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"fastpty ")


def test_the_wrong_end_of_a_pipe_is_reported(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", "echo IN")
    reading, writing = os.pipe()
    try:
        assert "standard input is not open for reading" in connect(f"{directory}/s", stdin=writing)[2]
        assert "standard output is not open for writing" in connect(f"{directory}/s", stdout=reading)[2]
    finally:
        os.close(reading)
        os.close(writing)


def test_unreadable_input_is_not_taken_for_an_end_of_input(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", "cat")
    with open("/proc/self/mem", "rb") as bad, socket.socket() as unconnected:
        assert connect(f"{directory}/s", stdin=bad)[::2] == (
            255, "fastpty: cannot read the input: Input/output error\n"
        )  # fmt: skip
        status, _, complaint = connect(f"{directory}/s", stdin=unconnected)
        assert (status, complaint.startswith("fastpty: cannot read the input: ")) == (255, True)


def test_a_file_that_cannot_be_written_is_reported(start_router: Callable[..., Router], directory: Path) -> None:
    """EIO means a disk error here. From a terminal it means that the terminal has gone, which is a quiet end."""
    start_router(f"{directory}/s", "--forkptyrouter-command", "echo IN")
    with open("/proc/self/mem", "r+b", buffering=0) as bad:
        assert connect(f"{directory}/s", stdout=bad)[::2] == (
            255, "fastpty: cannot write the output: Input/output error\n"
        )  # fmt: skip


def test_no_message_is_written_to_standard_output(directory: Path) -> None:
    assert connect(f"{directory}/none", shell="2>&-") == (255, "", "")


def listening_as(uid: int, name: str) -> socket.socket:
    """A listening socket that the kernel reports as this user's: that of listen(2)."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(name)
    os.seteuid(uid)
    try:
        server.listen()
    finally:
        os.seteuid(0)
    return server


def warned(name: str, uid: int, address: str) -> str:
    """The messages of a client of `address`, where a program of this user listens at `name`."""
    with listening_as(uid, name) as server:
        router = ScriptedRouter(server)
        with router.playing(lambda peer: peer.sendall(b"bye")):
            status, output, complaint = connect(address)
    assert (status, output) == (0, "bye")
    return complaint


def test_a_stranger_in_the_place_of_a_router_causes_a_warning(shared: Path) -> None:
    path = f"{shared}/s"
    assert warned(path, MALLORY, path) == (
        f"fastpty: warning: the listener at {path} is uid {MALLORY}, neither root, nor you, nor the owner of {shared}: "
        "that user reads what you type\n"
    )
    link = shared.parent / "link"
    link.symlink_to(path)
    os.unlink(path)
    assert f"uid {MALLORY}" in warned(path, MALLORY, str(link))


def test_a_stranger_with_the_abstract_name_of_a_router_causes_a_warning(directory: Path) -> None:
    need_root()
    name = f"fastpty-taken-{directory.name}"
    assert f"the listener at @{name} is uid {MALLORY}," in warned(f"\0{name}", MALLORY, f"@{name}")
    assert warned(f"\0{name}-root", 0, f"@{name}-root") == ""


@pytest.mark.parametrize("way", ["a directory", "a link", "a link to a directory"])
def test_a_stranger_who_has_made_the_way_to_the_socket_causes_a_warning(
    shared: Path, directory: Path, way: str
) -> None:
    """Any user can make a private directory, or a link to one, in /tmp."""
    place = shared / "d" if way == "a directory" else directory / "private"
    place.mkdir(mode=0o755)
    os.chown(place, MALLORY, MALLORY)
    address = path = f"{place}/s"
    if way != "a directory":
        (shared / "l").symlink_to(path if way == "a link" else place)
        os.chown(shared / "l", MALLORY, MALLORY, follow_symlinks=False)
        address = f"{shared}/l" if way == "a link" else f"{shared}/l/s"
        # Only the user who made the link can follow it where fs.protected_symlinks is set.
        if Path("/proc/sys/fs/protected_symlinks").read_text() == "1\n":
            shared.chmod(0o777)
    assert warned(path, MALLORY, address) == (
        f"fastpty: warning: the listener at {address} is uid {MALLORY}, neither root, nor you, "
        f"nor the owner of {shared}: that user reads what you type\n"
    )


def test_a_directory_of_root_s_in_a_shared_one_is_trusted_but_not_if_others_can_replace_it(shared: Path) -> None:
    place = shared / "d"
    place.mkdir(mode=0o755)
    assert warned(f"{place}/s", MALLORY, f"{shared}/./d/../d/s") == ""
    os.unlink(f"{place}/s")
    shared.chmod(0o777)  # not sticky
    assert f"nor the owner of {shared}: " in warned(f"{place}/s", MALLORY, f"{place}/s")


@pytest.mark.parametrize(("mode", "owner"), [(0o1777, MALLORY), (0o755, 0)])
def test_a_socket_that_the_owner_of_its_directory_allows_causes_no_warning(
    shared: Path, mode: int, owner: int
) -> None:
    """Only root can put a socket there, so root has: a router that then became another user."""
    path = f"{shared}/s"
    with listening_as(MALLORY, path) as server:
        shared.chmod(mode)
        os.chown(shared, owner, owner)
        router = ScriptedRouter(server)
        with router.playing(lambda peer: peer.sendall(b"bye")):
            assert connect(path) == (0, "bye", "")
