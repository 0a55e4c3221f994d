"""Clients of other projects at fastpty-router: uWSGI's client in both modes, and socat on a terminal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client_harness import TerminalClient, terminal_client
from tests.support.harness import Router, children, eventually
from tests.support.peers import need

PROMPT = b"remote:"


@pytest.fixture
def router(start_router: Callable[..., Router], directory: Path) -> Router:
    return start_router(
        f"{directory}/raw", "--forkpty-urouter", f"{directory}/uwsgi", "--env", "PS1=remote:", sockets=2
    )


@contextmanager
def uwsgi_client(directory: Path, mode: str, rows: int = 24, columns: int = 80) -> Iterator[TerminalClient]:
    socket = f"{directory}/{'uwsgi' if mode == 'uconnect' else 'raw'}"
    command = [need("uwsgi"), "--plugins", "pty", f"--pty-{mode}", socket, "--pty-no-isig"]
    with terminal_client(command=command, rows=rows, columns=columns) as client:
        client.read_until(PROMPT)
        yield client


both_modes = pytest.mark.parametrize("mode", ["connect", "uconnect"])


@both_modes
def test_uwsgi_s_client_runs_commands_and_ends_with_the_shell(router: Router, directory: Path, mode: str) -> None:
    with uwsgi_client(directory, mode) as client:
        client.type(b"echo $((6*7))\r")
        client.read_until(b"\r\n42\r\n")
        client.type(b"exit 3\r")
        client.wait()
    router.wait_for_log("session 1: end: exit, exit status 3")


def test_uwsgi_s_client_s_window_is_followed(router: Router, directory: Path) -> None:
    with uwsgi_client(directory, "uconnect", 43, 132) as client:
        client.type(b"stty size\r")
        client.read_until(b"\r\n43 132\r\n")
        client.type(b"while test \"$(stty size)\" != '50 100'; do sleep 0.05; done; echo follo''wed\r")
        client.read_until(b"\r\n")
        client.resize(50, 100)
        client.read_until(b"followed")


@both_modes
def test_a_paste_of_64_kib_through_uwsgi_s_client_arrives_whole(router: Router, directory: Path, mode: str) -> None:
    """uWSGI's client sends many packets that arrive together. Its own router hangs on those."""
    text = b"".join(b"%06d %s\n" % (number, b"x" * 56) for number in range(1024))
    assert len(text) == 65_536
    with uwsgi_client(directory, mode) as client:
        client.type(b"stty raw -echo; echo re''ady; head -c %d | sha256sum; stty sane\r" % len(text))
        client.read_until(b"ready")
        client.type(text)
        client.read_until(hashlib.sha256(text).hexdigest().encode())


@both_modes
def test_uwsgi_s_client_interrupts_the_job_and_lives_on(router: Router, directory: Path, mode: str) -> None:
    with uwsgi_client(directory, mode) as client:
        client.type(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\r")
        client.read_until(b"started\r\n")
        client.type(b"\x03")
        client.read_until(PROMPT)
        client.type(b"exit\r")
        client.wait()


@both_modes
def test_uwsgi_s_client_killed_leaves_nothing_behind(router: Router, directory: Path, mode: str) -> None:
    with uwsgi_client(directory, mode) as client:
        client.type(b"sleep 1000\r")
        client.read_until(b"sleep 1000\r\n")
    router.wait_for_log("session 1: end: client left")
    eventually(lambda: not children(router.pid), "the shell is gone")


def test_socat_s_raw_terminal_is_a_terminal(router: Router, directory: Path) -> None:
    command = [need("socat"), "-,raw,echo=0", f"UNIX-CONNECT:{directory}/raw"]
    with terminal_client(command=command) as client:
        client.read_until(PROMPT)
        client.type(b"tty\r")
        client.read_until(b"/dev/pts/")
        client.type(b"exit\r")
        assert client.wait() == 0
