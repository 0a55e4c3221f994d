"""How a session ends for the person at the terminal: the message, the exit status, and the terminal's state."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.client.modes import ModeTracker
from tests import ROOT
from tests.support.client_harness import (
    CLIENT,
    ScriptedRouter,
    piped_client,
    receive_all,
    receive_until,
    scripted_router,
    send_notice,
    terminal_client,
)
from tests.support.harness import Router, eventually
from tests.support.programs import broken_program
from tests.support.tls_harness import Authority


def connect(address: str, *options: str) -> tuple[int, bytes, str]:
    """Status, output and complaints of a client whose input stays open."""
    command = [*CLIENT, "connect", *options, address]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        output, complaint = client.stdout.read(), client.stderr.read()
        return client.wait(60), output, complaint.decode()


# The router ends the session


@pytest.mark.parametrize(
    ("options", "output", "notice"),
    [
        (["--deny-user", str(os.getuid())], b"", "refused"),
        (
            ["--forkptyrouter-timeout", "1", "--forkptyrouter-command", "/bin/cat"],
            b"\r\n",
            "the session was idle for too long",
        ),
        (["--session-lifetime", "1", "--forkptyrouter-command", "/bin/cat"], b"\r\n", "the session's time is over"),
    ],
)
@pytest.mark.parametrize("protocol", ["raw", "fpty"])
def test_the_client_exits_with_an_error_when_the_router_ends_the_session(
    start_router: Callable[..., Router],
    directory: Path,
    options: list[str],
    output: bytes,
    notice: str,
    protocol: str,
) -> None:
    """In the raw protocol the router's line begins on a line of its own."""
    start_router(f"{directory}/s", *options)
    status, shown, complaint = connect(f"{directory}/s", "--protocol", protocol)
    assert (status, shown) == (255, output if protocol == "raw" else b"")
    assert complaint.startswith(f"fastpty: {notice}")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(("protocol", "status"), [("raw", 255), ("fpty", 127)])
def test_the_client_exits_with_an_error_when_the_program_cannot_be_executed(
    start_router: Callable[..., Router], directory: Path, protocol: str, status: int
) -> None:
    program = broken_program(directory)
    start_router(f"{directory}/s", "--forkptyrouter-command", program)
    complaint = f"fastpty: cannot execute {program}: No such file or directory\n"
    assert connect(f"{directory}/s", "--protocol", protocol) == (status, b"", complaint)


def unread(peer: socket.socket) -> int:
    """The bytes sent through a local socket that its other end has not read (unix(7), SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)))
    return int(count)


def test_a_notice_that_comes_in_two_pieces_is_one(router: ScriptedRouter) -> None:
    def part(peer: socket.socket) -> None:
        send_notice(peer, b"output\r\nfastpty: the sess")
        eventually(lambda: unread(peer) == 0, "the client has read the first piece")
        peer.sendall(b"ion's time is over\r\n")

    with router.playing(part):
        assert connect(router.address) == (255, b"output\r\n", "fastpty: the session's time is over\n")


@pytest.fixture(params=["raw", "uwsgi", "TCP", "TLS"])
def start(
    request: pytest.FixtureRequest, start_router: Callable[..., Router], directory: Path, authority: Authority
) -> Callable[..., tuple[Router, list[str]]]:
    """Starts a router of one kind; returns it and the arguments of a client that gets notices from it."""

    def start(command: str, *options: str) -> tuple[Router, list[str]]:
        options = ("--forkptyrouter-command", command, *options)
        if request.param == "raw":
            return start_router(f"{directory}/s", *options), ["--protocol", "raw", f"{directory}/s"]
        if request.param == "uwsgi":
            router = start_router("--forkpty-urouter", f"{directory}/s", *options)
            return router, ["--protocol", "uwsgi", f"{directory}/s"]
        tls = authority.options("server") if request.param == "TLS" else []
        router = start_router("127.0.0.1:0", *tls, *options)
        port = router.wait_for_log(r"listening on 127.0.0.1:(\d+)")[0][1]
        return router, ["--protocol", "raw", *(authority.options("alice") if tls else []), f"localhost:{port}"]

    return start


@pytest.mark.parametrize("before", ["", "output\\n"])
def test_a_last_line_of_a_program_that_looks_like_a_notice_is_output(
    start: Callable[..., tuple[Router, list[str]]], before: str
) -> None:
    _, arguments = start(f"printf '{before}fastpty: refused: you may not\\n'")
    shown = f"{before}fastpty: refused: you may not\n".replace("\\n", "\n").replace("\n", "\r\n").encode()
    assert connect(arguments[-1], *arguments[:-1]) == (0, shown, "")


def expect_to_hear_of_the_stop(router: Router, *arguments: str) -> None:
    """Connects, stops the router, and expects its line and the exit status."""
    with piped_client("connect", *arguments) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.read(5) == b"READY"
        router.process.terminate()
        assert (client.stdout.read(), client.stderr.read()) == (b"\r\n", b"fastpty: the router was stopped\n")
        assert client.wait(60) == 255


def test_a_router_that_is_stopped_tells_its_clients(start: Callable[..., tuple[Router, list[str]]]) -> None:
    router, arguments = start("stty -echo; printf READY; exec cat")
    expect_to_hear_of_the_stop(router, *arguments)


def test_a_session_s_time_that_is_over_is_told_to_every_client(
    start: Callable[..., tuple[Router, list[str]]],
) -> None:
    _, arguments = start("stty -echo; printf 'fastpty: mine'; exec cat", "--session-lifetime", "1")
    status, output, complaint = connect(arguments[-1], *arguments[:-1])
    assert (status, complaint) == (255, "fastpty: the session's time is over\n")
    assert output == b"fastpty: mine\r\n"


def test_a_router_that_is_stopped_tells_the_viewers_of_a_shared_terminal(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router("--pty-socket", path, "--pty-exec", "stty -echo; printf READY; exec cat")
    expect_to_hear_of_the_stop(router, path)


def test_a_program_s_line_that_looks_like_a_notice_is_output(router: ScriptedRouter) -> None:
    with router.playing(lambda peer: peer.sendall(b"fastpty: hello\r\nbye\r\n")):
        assert connect(router.address) == (0, b"fastpty: hello\r\nbye\r\n", "")


def test_a_line_that_looks_like_a_notice_shows_while_the_session_goes_on(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"fastpty: hello\r\n")
        client.read_until(b"fastpty: hello\r\n")
        peer.close()
        assert client.wait() == 0


# The person ends it


def test_disconnected_begins_on_a_line_of_its_own(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"prompt# ")
        client.read_until(b"prompt# ")
        client.type(b"~.")
        assert client.wait() == 255
        assert client.shown == b"\r\nfastpty: disconnected\r\n"


def test_no_empty_line_comes_before_disconnected(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"a line\r\n")
        client.read_until(b"a line\r\n")
        client.type(b"~.")
        assert client.wait() == 255
        assert client.shown == b"fastpty: disconnected\r\n"


def test_a_quiet_client_disconnects_without_a_message(router: ScriptedRouter) -> None:
    with terminal_client("connect", "-q", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready\r\n")
        client.read_until(b"ready\r\n")
        client.type(b"~.")
        assert (client.wait(), client.shown) == (255, b"")


def test_a_client_that_is_suspended_by_its_escape_goes_on(router: ScriptedRouter) -> None:
    shell = ["bash", "-mc", '"$@"; echo "status $?"; read line; fg >/dev/null; echo "status $?"', "bash", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        client.type(b"x\r~\x1a")
        client.read_until(b"status 148\r\n")
        assert client.modes_are_as_before
        client.type(b"go on\n")
        client.read_until(b"go on\r\n")
        eventually(lambda: client.is_raw, "raw mode after fg")
        client.type(b"y")
        assert receive_until(peer, b"y") == b"x\ry"
        peer.close()
        client.read_until(b"status 0\r\n")


def test_an_escape_shows_the_connection_and_its_counts(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"12345")
        client.read_until(b"12345")
        client.type(b"~#")
        client.read_until(f"{router.address}, raw protocol, for ".encode())
        client.read_until(b"0 bytes sent, 5 bytes received\r\n")


def test_a_verbose_client_names_the_router_and_counts(router: ScriptedRouter) -> None:
    def part(peer: socket.socket) -> None:
        assert receive_all(peer) == b""
        peer.sendall(b"bye")

    with router.playing(part):
        status, output, complaint = connect(router.address, "-v", "-n")
    assert (status, output) == (0, b"bye")
    first, last = complaint.splitlines()
    assert first.startswith(f"fastpty: connected to {router.address} (listening: process ")
    assert last.startswith("fastpty: 0 bytes sent, 3 bytes received in ")


def test_a_client_without_input_reads_none(router: ScriptedRouter, tmp_path: Path) -> None:
    """For a loop over the lines of a file: `while read line; do fastpty connect -n ADDR; done`."""
    (tmp_path / "lines").write_text("first\nsecond\n")
    script = f'{{ "$@"; cat; }} < {tmp_path}/lines'
    with router.playing(lambda peer: peer.sendall(receive_all(peer) + b"end\n")):
        ended = subprocess.run(
            ["sh", "-c", script, "sh", *CLIENT, "connect", "-n", router.address],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
    assert ended.stdout == b"end\nfirst\nsecond\n"


# What the program left on


FULL_SCREEN = b"\x1b[?1049h\x1b[?1000;1006h\x1b[?2004h\x1b[?25l\x1b[>1u\x1b="


@pytest.mark.parametrize("end", ["escape", "signal", "broken"])
def test_an_abrupt_end_turns_off_the_terminal_modes_that_the_program_turned_on(tmp_path: Path, end: str) -> None:
    with (
        scripted_router(tmp_path, tcp=True) as router,
        terminal_client("connect", router.address) as client,
        router.accept() as peer,
    ):
        peer.sendall(FULL_SCREEN + b"\r\n")
        client.read_until(b"\x1b=\r\n")
        if end == "escape":
            client.type(b"~.")
        elif end == "signal":
            client.signal(signal.SIGTERM)
        else:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
        client.wait()
        assert client.shown.startswith(b"\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[<1u\x1b>\x1b[?1049l\x1b[?25h")


def test_a_program_that_turned_its_modes_off_leaves_nothing_to_undo(router: ScriptedRouter) -> None:
    off = b"\x1b>\x1b[<u\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1006l\x1b[?1049l\r\n"
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(FULL_SCREEN + off)
        client.read_until(off)
        peer.close()
        assert (client.wait(), client.shown) == (0, b"")


def test_no_escape_sequence_is_added_where_the_output_is_no_terminal(router: ScriptedRouter) -> None:
    with router.playing(lambda peer: peer.sendall(FULL_SCREEN)):
        assert connect(router.address) == (0, FULL_SCREEN, "")


SEQUENCES = [
    b"\x1b[?1000h", b"\x1b[?1000l", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?1;2004h", b"\x1b[>5u", b"\x1b[<2u",
    b"\x1b[=1;2u", b"\x1b[>4;2m", b"\x1b[>4m", b"\x1b=", b"\x1b>", b"\x1bc", b"\x1b[31m", b"\x1b]0;title\x07",
    b"\x1b", b"[?", b"text\r\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(SEQUENCES)).map(b"".join), st.lists(st.integers(0, 400)))
def test_modes_are_the_same_however_the_output_is_split(output: bytes, cuts: list[int]) -> None:
    whole, split = ModeTracker(), ModeTracker()
    whole.feed(output)
    edges = [0, *sorted(cut % (len(output) + 1) for cut in cuts), len(output)]
    for start, end in itertools.pairwise(edges):
        split.feed(output[start:end])
    assert split.undo() == whole.undo()


@pytest.mark.parametrize(
    ("output", "undone"),
    [
        (b"\x1b[?1002;1006h", b"\x1b[?1002l\x1b[?1006l"),
        (b"\x1b[>1u\x1b[>3u\x1b[<u", b"\x1b[<1u"),
        (b"\x1b[>1u\x1b[?1049h\x1b[>3u\x1b[>5u", b"\x1b[<2u\x1b[?1049l\x1b[<1u"),
        (b"\x1b[?1049h\x1b[>3u\x1b[?1049l", b""),
        (b"\x1b[?2031h\x1b[?2048h", b"\x1b[?2031l\x1b[?2048l"),
        (b"\x1b[>4;2m", b"\x1b[>4m"),
        (b"\x1b[?1049h\x1b[?25l\x1bc", b""),
        (b"\x1b[?7l\x1b[?12h", b""),
        (b"\x1b[?" + b"9" * 5000 + b"h", b""),
    ],
)
def test_only_modes_that_are_on_are_turned_off(output: bytes, undone: bytes) -> None:
    tracker = ModeTracker()
    tracker.feed(output)
    assert tracker.undo() == undone
