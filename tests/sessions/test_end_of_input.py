"""The end of a client's input ends the program that reads the terminal, whichever process started that."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import connected_as, peer_router
from tests.support.harness import Client, Router
from tests.support.peers import need, need_root

Start = Callable[..., Router]

ECHO = b"echo EN''D\n"  # so that the typed text is not the printed one


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("/bin/cat", b"END\n"),
        ("bash -l", ECHO),
        ("zsh -f -l", ECHO),
        ("fish --no-config", ECHO),
        ("python3 -i", b"print('EN' + 'D')\n"),
        ("sh -c 'bash; true'", ECHO),
        ("bash -c 'bash -c \"bash; true\"; true'", ECHO),
        ("su -", ECHO),
        ("/bin/sh", b"bash\n" + ECHO),
        ("/bin/sh", b"bash\nzsh -f\nsleep 0.3\n" + ECHO),
    ],
)
def test_the_end_of_input_ends_whatever_reads_the_terminal(
    start_router: Start, directory: Path, command: str, typed: bytes
) -> None:
    if command == "su -":
        need_root()
    for tool in ("bash", "zsh", "fish"):
        if tool in f"{command} {typed.decode()}":
            need(tool)
    path = f"{directory}/s"
    router = start_router(path, "--forkptyrouter-command", command, env={"TERM": "xterm"})
    with Client(path) as client:
        client.send(typed)
        client.half_close()
        assert b"END\r\n" in client.read_to_end()
    router.wait_for_log("session 1: end: exit, exit status")


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("/bin/cat", b"EN\x16D"),
        ("/bin/sh", ECHO),
        ("bash -l", ECHO),
        ("zsh -f -l", ECHO),
        ("fish --no-config", ECHO),
        ("bash -c 'bash -c \"bash; true\"; true'", ECHO),
        ("/bin/sh", b"bash\nsleep 0.3\n" + ECHO),
    ],
)
def test_a_last_line_without_a_newline_is_run(
    start_router: Start, directory: Path, command: str, typed: bytes
) -> None:
    """As a shell runs the last line of a script that lacks the final newline."""
    for tool in ("bash", "zsh", "fish"):
        if tool in f"{command} {typed.decode()}":
            need(tool)
    path = f"{directory}/s"
    router = start_router(path, "--forkptyrouter-command", command, env={"TERM": "xterm"})
    with Client(path) as client:
        client.send(typed.removesuffix(b"\n"))
        client.half_close()
        assert b"END" in client.read_to_end()
    router.wait_for_log("session 1: end: exit, exit status")


def test_python_runs_a_last_line_without_a_newline(start_router: Start, directory: Path) -> None:
    """The prompt is awaited: since Python 3.13 its editor takes a ^D that was typed before as a part of the line."""
    path = f"{directory}/s"
    start_router(path, "--forkptyrouter-command", "python3 -i", env={"TERM": "xterm"})
    with Client(path) as client:
        client.read_until(b">>> ")
        client.send(b"print('EN' + 'D')")
        client.half_close()
        assert b"END\r\n" in client.read_to_end()


@pytest.mark.parametrize(
    ("user", "typed", "shown", "ending"),
    [
        ("root", b"x", b"x", b"^M"),
        ("root", "ü".encode(), b"M-CM-<", b"^M"),
        ("root", b"x\n", b"x\r\n", b"^U"),
        ("root", b"x\r", b"x^M", b"^U"),
        ("root", b"", b"", b"^U"),
        ("nobody", b"x", b"x", b"^M"),
        ("nobody", b"x\n", b"x\r\n", b"^U"),
    ],
)
def test_enter_is_typed_only_for_a_line_that_the_client_has_begun(
    start_router: Start, directory: Path, user: str, typed: bytes, shown: bytes, ending: bytes
) -> None:
    """Otherwise it could confirm what a program asks. Other text on the line is erased, with ^U."""
    need_root()
    path = f"{directory}/s"
    modes = "-icanon -echo -icrnl"  # as a line editor reads
    command = f"stty {modes}; printf READY; exec cat -v"
    peer_router(start_router, path, "--allow-user", user, "--forkptyrouter-command", command)
    account = pwd.getpwnam(user)
    with Client(connected_as(path, account.pw_uid, account.pw_gid)) as client:
        client.read_until(b"READY")
        client.send(typed)
        client.half_close()
        keys = client.read_until(shown + b"^D", ending + b"^D").partition(b"READY" + shown)[2]
    assert re.fullmatch(rb"(\^D)+" + re.escape(ending) + rb"\^D", keys)


def test_a_long_stream_without_a_final_newline_is_run_to_its_end(start_router: Start, directory: Path) -> None:
    """With splice the router does not see the last byte."""
    path = f"{directory}/s"
    start_router(path, "--forkptyrouter-command", "bash -l", env={"TERM": "xterm"})
    with Client(path) as client:
        client.send(b"stty -echo; PS1=\n" + b": 1234567890123456789012345678901234567890\n" * 2000 + ECHO[:-1])
        client.half_close()
        assert b"END\r\n" in client.read_to_end()


def test_a_program_that_takes_the_terminal_raw_gets_no_character_at_the_end_of_input(
    start_router: Start, directory: Path
) -> None:
    """In a process group of its own, as below a shell."""
    path = f"{directory}/s"
    command = "bash -ic 'stty raw -echo; printf READY; timeout --foreground 0.5 cat; printf END'; true"
    start_router(path, "--forkptyrouter-command", command)
    with Client(path) as client:
        client.read_until(b"READY")
        client.send(b"data")
        client.half_close()
        assert client.read_to_end().endswith(b"READYdataEND")
