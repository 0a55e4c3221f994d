"""The router as a command: its protocols, its help, and its error messages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty import __version__
from tests.support.harness import (
    Client,
    Router,
    children,
    read_until_ready,
    run,
)
from tests.support.peers import need_root


def test_both_protocols_work_on_several_sockets_at_once(start_router: Callable[..., Router], directory: Path) -> None:
    raw = [f"{directory}/raw1", f"{directory}/raw2"]
    framed = [f"{directory}/u1", f"{directory}/u2"]
    start_router(
        "--forkpty-router", raw[0], "--forkptyrouter", raw[1], "--forkpty-urouter", framed[0],
        "--forkptyurouter", framed[1], sockets=4,
    )  # fmt: skip
    for path in raw + framed:
        with Client(path) as client:
            text = b"echo $((6*7))\n"
            client.send(b"\0" + bytes([len(text)]) + b"\0\0" + text if path in framed else text)
            client.read_until(b"42\r\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "nothing to listen on"),
        (["--no-such-flag", "/tmp/x"], 2, "unknown option --no-such-flag"),
        (["--chmod-socket=888", "/tmp/x"], 2, "'888'"),
        (["--chown-socket", "nobodyy", "/tmp/x"], 2, "no user 'nobodyy' here (did you mean 'nobody'?)"),
        (["--chown-socket", "nobody:nogrou", "/tmp/x"], 2, "no group 'nogrou' here (did you mean 'nogroup'?)"),
        (["/no/such/directory/socket"], 1, "/no/such/directory/socket"),
        (["/proc/socket"], 1, "/proc/socket"),
        (["/etc/passwd"], 2, "/etc/passwd is a file, not a socket"),
        (["--listen-raw", "/etc/passwd"], 1, "/etc/passwd"),
        (["0.0.0.0:0"], 2, "insecure-tcp"),
        ([":0"], 2, "insecure-tcp"),
        (["192.0.2.1:7", "--insecure-tcp"], 1, "192.0.2.1:7"),
        (["fd://77"], 1, "fd://77"),
        (["--ini", "/no/such.ini"], 2, "/no/such.ini"),
        (["--forkptyrouter-rows", "70000", "/tmp/x"], 2, "'70000'"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_a_status(arguments: list[str], status: int, words: str) -> None:
    ended = run(*arguments)
    assert words in ended.stderr
    assert ended.stderr.startswith("fastpty-router: ")
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == status
    assert ended.stdout == ""


def test_help_fits_80_columns_and_version_is_printed() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert run("--version").stdout == f"fastpty-router {__version__}\n"


def test_as_process_1_it_reaps_orphans(directory: Path) -> None:
    """In a container no other process may reap orphans."""
    need_root()
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "fastpty.router", f"{directory}/s"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        read_until_ready(process.stderr)
        with Client(f"{directory}/s") as client:
            # A zombie keeps its process id.
            client.send(
                b"orphan=$( (sh -c 'echo $$; exec >&-; exit 3' &) ); while kill -0 $orphan; do :; done; echo go''ne\n"
            )
            client.read_until(b"gone\r\n")
    finally:
        (router,) = children(process.pid)
        os.kill(router, signal.SIGTERM)
        process.wait(30)
        process.stderr.close()
