"""Clients of a pty-viewer-socket see the shared terminal. Nothing that they send reaches its program."""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import RAW_CAT, Client, Router, children, eventually, frame
from tests.support.shared_pty import Shared
from tests.support.statistics import read_statistics

# Prints each line of its input with the window size, and each signal that it can catch.
WITNESS = """
import os, signal, sys
for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}):
    signal.signal(number, lambda number, _: os.write(1, b"signal %d\\n" % number))
os.write(1, b"READY\\n")
while line := sys.stdin.readline():
    size = os.get_terminal_size()
    os.write(1, b"line %d %d %s" % (size.lines, size.columns, line.encode()))
"""


@pytest.fixture
def watched(share: Callable[..., Shared], directory: Path) -> Callable[..., tuple[Shared, str]]:
    """Starts a router with a shared terminal; returns it and the path of its pty-viewer-socket."""

    def start(*arguments: str, command: str | None = None) -> tuple[Shared, str]:
        path = f"{directory}/viewers"
        return share("--pty-viewer-socket", path, *arguments, command=command), path

    return start


@pytest.fixture
def witness(directory: Path) -> str:
    (directory / "witness.py").write_text(WITNESS)
    return f"{sys.executable} {directory}/witness.py"


def unread_bytes(client: Client) -> int:
    """How many bytes the client has sent and the router has not read (SIOCOUTQ, unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4)))[0])


def legacy_frames() -> bytes:
    """Input, every signal, both window edges, and all other kinds of frames."""
    frames = [frame(0, payload=b"typed\n"), frame(100, 7), frame(101, 9)]
    return b"".join([*frames, *(frame(kind, 5) for kind in range(1, 256)), b"raw\n\x03\x1c\x1a\x04\x04"])


def test_a_viewer_sees_the_output_and_can_neither_type_nor_resize_nor_signal(
    watched: Callable[..., tuple[Shared, str]], witness: str
) -> None:
    shared, path = watched(command=witness)
    program = shared.program
    with shared.join() as client, Client(path) as viewer:
        viewer.read_until(b"READY\r\n")
        viewer.send(legacy_frames())
        eventually(lambda: unread_bytes(viewer) == 0, "the router has read them")
        client.send(b"mark\n")
        seen = client.read_until(b"line 24 80 mark\r\n")
        viewer.read_until(b"line 24 80 mark\r\n")
    assert seen == b"READY\r\nmark\r\nline 24 80 mark\r\n"
    assert shared.program == program


def test_a_viewer_of_a_program_that_has_ended_can_type_nothing_to_the_next_one(
    watched: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    command = f"echo READY; read line; echo got $line; until [ -e {directory}/go ]; do sleep 0.01; done; exit"
    shared, path = watched(command=command)
    with shared.join() as client, Client(path) as viewer:
        client.read_until(b"READY\r\n")
        client.send(b"one\n")
        client.read_until(b"got one\r\n")
        viewer.send(b"typed\n")
        eventually(lambda: unread_bytes(viewer) == 0, "the router has read it")
        (directory / "go").touch()
        client.read_until(b"READY\r\n")
        client.send(b"two\n")
        client.read_until(b"got two\r\n")
        assert b"typed" not in client.seen


def test_a_viewer_s_flood_takes_no_room_from_those_who_type(watched: Callable[..., tuple[Shared, str]]) -> None:
    """The program does not read, so input would fill the terminal."""
    shared, path = watched(command="stty raw -echo isig; printf READY; exec sleep 1000")
    with shared.join() as client, Client(path) as viewer:
        client.read_until(b"READY")
        for _ in range(256):
            viewer.send(bytes(65_536))
        client.send(b"\x03")
        shared.router.wait_for_log("session .* end: exit, killed by SIGINT")


def test_a_viewer_that_does_not_read_blocks_nobody(
    watched: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    """Neither the program, nor a client that types, nor another viewer."""
    shared, path = watched(command=RAW_CAT)
    with Client(path) as stalled, Client(path) as viewer, shared.join() as client:
        client.read_until(b"READY")
        viewer.read_until(b"READY")
        shared.router.wait_for_log("session .*: join", 3)
        for number in range(64):
            text = b"%06d" % number * 10_000
            sender = threading.Thread(target=client.send, args=(text,))
            sender.start()
            assert client.read_exactly(len(text)) == text
            assert viewer.read_exactly(len(text)) == text
            sender.join()
        stalled.socket.shutdown(socket.SHUT_RDWR)
        shared.router.wait_for_log(r"end: client left, no process after .* s, 0 bytes in, ")


def test_a_viewer_that_leaves_ends_its_own_session_only(watched: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = watched(command=RAW_CAT)
    with shared.join() as client:
        client.read_until(b"READY")
        with Client(path) as viewer:
            viewer.send(b"typed")
            viewer.read_until(b"READY")
        shared.router.wait_for_log(r"end: client left, no process after .* s, 0 bytes in, 5 bytes out")
        client.send(b"x")
        assert client.read_exactly(1) == b"x"


def test_a_viewer_gets_the_last_output_and_is_disconnected(watched: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = watched("--pty-once", command="echo READY; read line; echo last; exit")
    with shared.join() as client, Client(path) as viewer, Client(path) as half_closed:
        half_closed.half_close()
        client.read_until(b"READY\r\n")
        client.send(b"\n")
        for each in (viewer, half_closed):
            assert each.read_to_end().endswith(b"last\r\n")


def test_a_viewer_socket_alone_shows_a_terminal(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router("--pty-viewer-socket", f"{directory}/viewers", "--pty-exec", "echo on; exec sleep 1000")
    with Client(f"{directory}/viewers") as viewer:
        viewer.read_until(b"on\r\n")
        (program,) = children(router.pid)
        viewer.send(frame(signal.SIGTERM) + b"\x03")
    router.wait_for_log("end: client left")
    assert children(router.pid) == [program]


def test_the_log_and_the_statistics_tell_viewers_from_those_who_type(
    watched: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    shared, path = watched("--stats", f"{directory}/stats")
    with shared.join(), Client(path):
        shared.router.wait_for_log(rf"join: .* on {path} \(pty-viewer\)")
        shared.router.wait_for_log(rf"join: .* on {shared.path} \(pty\)")
        sessions = [
            each for worker in read_statistics(f"{directory}/stats")["workers"] for each in worker["sessions"]
        ]
    assert sorted(str(each["protocol"]) for each in sessions) == ["None", "pty", "pty-viewer"]


def test_a_browser_at_a_viewer_socket_is_sent_away(start_router: Callable[..., Router]) -> None:
    router = start_router("--pty-viewer-socket", "127.0.0.1:0", "--pty-exec", "exec sleep 1000")
    port = int(router.wait_for_log(r"listening on 127.0.0.1:(\d+) \(pty-viewer\)")[0][1])
    with Client(("127.0.0.1", port)) as browser:
        browser.send(b"GET / HTTP/1.1\r\n\r\n")
        assert browser.read_to_end().startswith(b"HTTP/1.0 400 ")
