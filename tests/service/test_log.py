"""The log of sessions, and logs that are full or that nobody reads: they stop neither the router nor its sessions."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tests.support.harness import (
    Client,
    Router,
    eventually,
    read_until_ready,
)


@contextmanager
def router_whose_log_is_a_pipe(directory: Path, command: str) -> Iterator[tuple[BinaryIO, subprocess.Popen[bytes]]]:
    """The reading end of the log, and the router, which is ready. Nothing more of the log is read."""
    reader, writer = os.pipe()
    argv = [sys.executable, "-m", "fastpty.router", f"{directory}/s", "--forkptyrouter-command", command]
    with open(reader, "rb") as log, subprocess.Popen(argv, stderr=writer) as process:
        os.close(writer)
        try:
            read_until_ready(log)
            yield log, process
        finally:
            process.kill()


def test_a_log_reader_that_has_stopped_does_not_stop_the_sessions(directory: Path) -> None:
    with router_whose_log_is_a_pipe(directory, "/bin/true") as (log, process):
        for _ in range(600):  # two lines each, more than a pipe holds
            with Client(f"{directory}/s") as client:
                client.read_to_end()
        os.set_blocking(log.fileno(), False)
        shown = log.read()
        with Client(f"{directory}/s") as client:
            client.read_to_end()
        process.terminate()
        assert process.wait(30) == 0
        os.set_blocking(log.fileno(), True)
        shown += log.read()
    lost = sum(int(number) for number in re.findall(rb"\] (\d+) lines lost\n", shown))
    assert lost > 0
    assert lost + len(re.findall(rb"\] session \d+: ", shown)) == 2 * 601


def test_a_long_line_in_an_unread_log_does_not_stop_the_sessions(directory: Path) -> None:
    """A writable pipe may still block a line longer than PIPE_BUF."""
    with router_whose_log_is_a_pipe(directory, "true " + "x" * 100_000) as (_, process):
        for _ in range(2):
            with Client(f"{directory}/s") as client:
                assert client.read_to_end() == b""
        process.terminate()
        assert process.wait(30) == 0


def test_each_session_leaves_a_start_and_an_end_in_the_log(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "cat; exit 4")
    with Client(f"{directory}/s") as client:
        client.send(b"abc\n\x04")
        assert client.read_to_end() == b"abc\r\nabc\r\n"
    about = (
        rf"pid {os.getpid()} uid {os.geteuid()} gid {os.getegid()} \({pwd.getpwuid(os.geteuid()).pw_name}\) "
        rf"on {directory}/s \(raw\): pts/\d+: process \d+: cat; exit 4$"
    )
    router.wait_for_log(f"session 1: start: {about}")
    router.wait_for_log(
        rf"session 1: end: exit, exit status 4 after \d+\.\d{{3}} s, 5 bytes in, 10 bytes out; {about}"
    )
    for line in router.lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z fastpty-router\[\d+\] ", line)


def test_a_command_with_control_characters_stays_one_line_of_the_log(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "echo a\n\x1b[31mb; true")
    with Client(f"{directory}/s") as client:
        client.read_to_end()
    assert router.wait_for_log(r"process \d+: echo a\\x0a\\x1b\[31mb; true$")


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def test_a_full_log_does_not_stop_the_router(directory: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([sys.executable, "-m", "fastpty.router", f"{directory}/s"], stderr=full)
    try:
        eventually(lambda: answers(f"{directory}/s"), "the router listens")
        with Client(f"{directory}/s") as client:
            client.send(b"exit\n")
            client.read_to_end()
    finally:
        process.terminate()
        assert process.wait(30) == 0
