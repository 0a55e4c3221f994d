"""Our client against uWSGI's own router, as a person at a terminal uses it.

Its limits are left alone here: it wedges when two packets arrive in one read, and drops what is pending
when a client half-closes.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client_harness import TerminalClient, piped_client, terminal_client
from tests.support.real_uwsgi import RealRouter


@pytest.fixture
def router(tmp_path: Path) -> Iterator[RealRouter]:
    started = RealRouter(tmp_path)
    yield started
    started.stop()


@contextmanager
def shell(router: RealRouter, mode: str, rows: int = 24, columns: int = 80) -> Iterator[TerminalClient]:
    """A client at the remote shell's prompt."""
    path = router.framed if mode == "uconnect" else router.raw
    with terminal_client(mode, path, rows=rows, columns=columns) as client:
        client.read_until(b"remote:")
        yield client


both_modes = pytest.mark.parametrize("mode", ["connect", "uconnect"])


@both_modes
def test_a_shell_runs_commands_and_its_exit_ends_the_client(router: RealRouter, mode: str) -> None:
    with shell(router, mode) as client:
        client.type(b"echo $((6*7))\r")
        client.read_until(b"\r\n42\r\n")
        client.type(b"exit\r")
        assert client.wait() == 0
        assert client.modes_are_as_before


def test_the_remote_window_is_as_large_as_the_local_one_and_follows_it(router: RealRouter) -> None:
    with shell(router, "uconnect", 43, 132) as client:
        client.type(b"stty size\r")
        client.read_until(b"\r\n43 132\r\n")
        client.read_until(b"remote:")
        # The rows come first, so once the columns are there both are.
        client.type(b"while test \"$(stty size)\" != '50 100'; do sleep 0.05; done; echo follo''wed\r")
        client.read_until(b"\r\n")
        client.resize(50, 100)
        client.read_until(b"followed")


@both_modes
def test_an_interrupt_goes_to_the_remote_job_and_the_client_lives_on(router: RealRouter, mode: str) -> None:
    with shell(router, mode) as client:
        # From inside the job: between its own two commands the remote shell can lose an interrupt.
        client.type(b"sh -c 'echo sta\"\"rted; exec sleep 1000'\r")
        client.read_until(b"started\r\n")
        client.type(b"\x03")
        client.read_until(b"remote:")
        client.type(b"echo still he''re\r")
        client.read_until(b"still here")
        client.type(b"\x04")
        assert client.wait() == 0


@both_modes
def test_a_full_screen_program_sees_raw_keys(router: RealRouter, mode: str) -> None:
    with shell(router, mode) as client:
        client.type(b"stty raw -echo; echo re''ady; head -c 4 | od -An -tx1; stty sane\r")
        client.read_until(b"ready")
        client.type(b"\x03\x1a\x13\x1c")
        client.read_until(b"03 1a 13 1c")


def test_a_large_paste_goes_through_the_raw_router(router: RealRouter) -> None:
    text = b"".join(b"%06d %s\n" % (number, b"x" * 56) for number in range(4096))
    with shell(router, "connect") as client:
        client.type(b"stty raw -echo; echo re''ady; head -c %d | sha256sum; stty sane\r" % len(text))
        client.read_until(b"ready")
        client.type(text)
        client.read_until(hashlib.sha256(text).hexdigest().encode())


def test_the_largest_frame_goes_through_the_uwsgi_router(router: RealRouter) -> None:
    """One frame at a time: uWSGI hangs on two. From a pipe, because a terminal would divide the frame."""
    with piped_client("uconnect", router.framed) as client:
        for size in (4092, 4091, 4092):
            assert client.stdin is not None
            client.stdin.write(b"stty raw -echo; echo re''ady; head -c %d | wc -c; stty sane\n" % size)
            client.stdin.flush()
            read_until(client, b"ready")
            client.stdin.write(b"x" * size)
            client.stdin.flush()
            assert b"%d" % size in read_until(client, b"remote:")


def read_until(client: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    assert client.stdout is not None
    shown = b""
    while wanted not in shown:
        some = client.stdout.read1(65536)  # type: ignore[attr-defined]
        assert some, f"the client ended after {shown!r}"
        shown += some
    return shown


@both_modes
def test_much_output_comes_whole(router: RealRouter, mode: str) -> None:
    with shell(router, mode) as client:
        client.type(b"stty -opost; seq 1 200000 | tee /dev/stderr 2>&1 >/dev/null; stty opost\r")
        client.read_until(b"\n1\n")
        shown = client.read_until(b"\n200000\n")
        assert shown.split() == [str(number).encode() for number in range(2, 200001)]


def test_output_without_a_terminal_comes_to_stdout(router: RealRouter) -> None:
    with piped_client("connect", router.raw) as client:
        assert client.stdin is not None
        client.stdin.write(b"stty -echo; echo he''llo; exit\n")
        client.stdin.flush()  # and no end of input, on which uWSGI would drop the output
        status = client.wait(60)
        assert client.stdout is not None
        assert b"hello" in client.stdout.read()
        assert status == 0


@both_modes
def test_a_client_restores_the_terminal_and_complains_when_its_router_is_killed(
    router: RealRouter, mode: str
) -> None:
    with shell(router, mode) as client:
        router.kill()
        assert client.wait() == 255
        assert b"fastpty: the connection broke: the router has ended" in client.shown
        assert client.modes_are_as_before
