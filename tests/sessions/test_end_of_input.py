"""The end of a client's input ends the program that reads the terminal, whichever process started that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
    # Since Python 3.13 its own line editor switches signal characters off, as a full-screen program does.
    environment = {"TERM": "xterm", "PYTHON_BASIC_REPL": "1"}
    router = start_router(path, "--forkptyrouter-command", command, env=environment)
    with Client(path) as client:
        client.send(typed)
        client.half_close()
        assert b"END\r\n" in client.read_to_end()
    router.wait_for_log("session 1: end: exit, exit status")


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
