from __future__ import annotations

import os
import pty
import signal
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpty.client.streams import reopened
from fastpty.client.terminal import RawTerminal, window_size
from fastpty.errors import FastptyError
from tests.support.client_harness import (
    CLIENT,
    ScriptedRouter,
    TerminalClient,
    receive_until,
    terminal_client,
)
from tests.support.harness import eventually

FATAL = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM]


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def client_pid(peer: socket.socket) -> int:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def attached(client: TerminalClient, peer: socket.socket) -> None:
    """Waits until the client is in its loop, with the terminal raw."""
    peer.sendall(b"ready")
    client.read_until(b"ready")
    assert client.is_raw


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"])
def test_a_client_killed_by_a_signal_restores_the_terminal_and_dies_of_it(router: ScriptedRouter, name: str) -> None:
    signum = signal.Signals[name]
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        attached(client, peer)
        client.signal(signum)
        assert client.wait() == -signum
        assert client.modes_are_as_before
        assert client.shown == b""


def test_a_client_killed_while_its_output_is_stuck_restores_the_terminal(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        attached(client, peer)
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(8 * 1024 * 1024))
        client.signal(signal.SIGTERM)
        eventually(lambda: client.modes_are_as_before, "the terminal's modes")
        assert client.wait() == -signal.SIGTERM


def test_the_terminal_is_restored_when_the_session_ends(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        attached(client, peer)
        peer.close()
        assert client.wait() == 0
        assert client.modes_are_as_before


def test_the_terminal_is_restored_when_the_client_crashes(router: ScriptedRouter) -> None:
    crash = "from fastpty import cli; from fastpty.client import link; link.Link.receive = None; cli.main()"
    with (
        terminal_client("connect", router.address, command=[sys.executable, "-c", crash]) as client,
        router.accept() as peer,
    ):
        eventually(lambda: client.is_raw, "raw mode")
        peer.sendall(b"x")
        assert client.wait() == 1
        assert b"TypeError" in client.shown
        assert client.modes_are_as_before


def test_a_client_that_cannot_connect_does_not_touch_the_terminal(tmp_path: Path) -> None:
    with terminal_client("connect", f"{tmp_path}/none") as client:
        assert client.wait() == 255
        assert client.modes_are_as_before
        assert b"\r\n" in client.shown


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (b"early\n", b"early\r"),
        (b"one\ntwo\nthr", b"one\rtwo\rthr"),
        (b"\x04", b"\x04"),
        (b"ls\nexit\n\x04", b"ls\rexit\r\x04"),
        (b"half\x04rest", b"half\x04rest"),
        (b"ab\x7fc\n", b"ac\r"),
    ],
)
def test_keys_that_were_typed_ahead_are_sent_as_typed(router: ScriptedRouter, typed: bytes, sent: bytes) -> None:
    """The local terminal was in canonical mode when they were typed, so it has already made lines of them."""
    with (
        terminal_client("connect", router.address, typed_ahead=typed) as client,
        router.accept() as peer,
    ):
        attached(client, peer)
        client.type(b"late\r")
        assert receive_until(peer, b"late\r") == sent + b"late\r"


def test_escapes_that_were_typed_ahead_are_obeyed(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address, typed_ahead=b"ls\n~.\n") as client, router.accept() as peer:
        assert client.wait() == 255
        assert client.modes_are_as_before
        assert peer.recv(100) == b"ls\r"


def test_a_signal_that_was_ignored_stays_ignored(router: ScriptedRouter) -> None:
    with (
        terminal_client(
            "connect", router.address, command=["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *CLIENT]
        ) as client,
        router.accept() as peer,
    ):
        client.signal(signal.SIGHUP)
        peer.sendall(b"still here")
        peer.close()
        assert client.wait() == 0


def test_a_stopped_client_leaves_the_terminal_as_it_was_and_takes_it_again(router: ScriptedRouter) -> None:
    script = '"$@"; echo "status $?"; read line; fg >/dev/null; echo "status $?"'
    shell = ["bash", "-mc", script, "bash", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        attached(client, peer)
        os.kill(client_pid(peer), signal.SIGTSTP)
        client.read_until(b"status 148\r\n")
        assert client.modes_are_as_before
        client.type(b"go on\n")
        client.read_until(b"go on\r\n")
        eventually(lambda: client.is_raw, "raw mode after fg")
        client.type(b"\x03")
        assert peer.recv(10) == b"\x03"
        peer.close()
        client.read_until(b"status 0\r\n")
        assert client.wait() == 0
        assert client.modes_are_as_before


def test_a_client_started_in_the_background_waits_for_the_foreground(router: ScriptedRouter) -> None:
    shell = ["bash", "-mc", '"$@" & read line; fg >/dev/null; echo "status $?"', "bash", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        pid = client_pid(peer)
        eventually(lambda: state(pid) == "T", "the stop")
        assert client.modes_are_as_before
        client.type(b"go on\n")
        client.read_until(b"go on\r\n")
        attached(client, peer)
        peer.close()
        client.read_until(b"status 0\r\n")


def test_a_client_that_was_halted_and_goes_on_is_raw_again(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        attached(client, peer)
        client.signal(signal.SIGSTOP)
        eventually(lambda: state(client.pid) == "T", "the stop")
        termios.tcsetattr(client.terminal, termios.TCSANOW, client.modes)  # as a shell does
        client.signal(signal.SIGCONT)
        eventually(lambda: client.is_raw, "raw mode")
        client.signal(signal.SIGTERM)
        assert client.wait() == -signal.SIGTERM
        assert client.modes_are_as_before


def test_a_window_that_changed_during_a_stop_is_announced(router: ScriptedRouter) -> None:
    with terminal_client("uconnect", router.address) as client, router.accept() as peer:
        attached(client, peer)
        peer.recv(100)
        client.signal(signal.SIGSTOP)
        eventually(lambda: state(client.pid) == "T", "the stop")
        client.resize(30, 90)
        client.signal(signal.SIGCONT)
        assert peer.recv(100) == struct.pack("<BHBBHB", 0, 30, 100, 0, 90, 101)


def test_a_client_in_the_background_does_not_change_the_terminal(router: ScriptedRouter) -> None:
    """Stopped and then continued by `bg`, it must not make the shell's terminal raw, now or at its end."""
    script = '"$@"; bg >/dev/null; read line; echo "got $line"; wait $!; wait; echo over'
    shell = ["bash", "-mc", script, "bash", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        attached(client, peer)
        pid = client_pid(peer)
        os.kill(pid, signal.SIGTSTP)
        eventually(lambda: client.modes_are_as_before and state(pid) == "S", "bg")
        peer.sendall(b"output goes on")
        client.read_until(b"output goes on")
        assert client.modes_are_as_before
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not is_alive(pid), "its end")  # or it might read the line first, and be stopped for that
        client.type(b"a line\n")
        client.read_until(b"got a line\r\n")
        client.read_until(b"over")
        assert client.modes_are_as_before


def test_a_client_that_outlives_its_shell_does_not_change_the_terminal(router: ScriptedRouter) -> None:
    """The kernel continues what a shell leaves stopped. The terminal belongs to the next shell then."""
    shell = ["bash", "-mc", 'trap "" HUP; "$@"; read line', "bash", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        attached(client, peer)
        pid = client_pid(peer)
        os.kill(pid, signal.SIGTSTP)
        eventually(lambda: state(pid) == "T", "the stop")
        client.signal(signal.SIGKILL)
        peer.sendall(b"output goes on")
        client.read_until(b"output goes on")
        assert client.modes_are_as_before
        peer.close()
        eventually(lambda: not is_alive(pid), "its end")
        assert client.modes_are_as_before


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and state(pid) != "Z"


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_raw_mode_passes_every_byte_as_it_is_and_keeps_iutf8(terminal: int) -> None:
    modes = termios.tcgetattr(terminal)
    modes[0] |= 0x4000  # IUTF8
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    with RawTerminal(terminal):
        raw = termios.tcgetattr(terminal)
        assert raw[0] & 0x4000
        assert not raw[0] & (termios.ICRNL | termios.IXON | termios.ISTRIP)
        assert not raw[1] & termios.OPOST
        assert not raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    assert termios.tcgetattr(terminal) == modes


def test_an_error_inside_restores_the_terminal(terminal: int) -> None:
    before = termios.tcgetattr(terminal)
    with pytest.raises(FastptyError), RawTerminal(terminal):
        raise FastptyError("anything")
    assert termios.tcgetattr(terminal) == before


def test_a_pipe_is_not_changed() -> None:
    read_end, write_end = os.pipe()
    with RawTerminal(read_end) as raw:
        raw.ensure_raw()
    assert window_size(read_end) is None
    os.close(read_end)
    os.close(write_end)


def test_a_window_size_is_rows_and_columns(terminal: int) -> None:
    termios.tcsetwinsize(terminal, (43, 132))
    assert window_size(terminal) == (43, 132)
    termios.tcsetwinsize(terminal, (0, 0))
    assert window_size(terminal) is None


def test_a_terminal_and_a_pipe_are_opened_again_and_nothing_else_is(terminal: int, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    pipe = os.pipe()
    sockets = socket.socketpair()
    file = os.open(tmp_path / "f", os.O_CREAT | os.O_WRONLY)
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (slave, pipe[1]):
        opened = reopened(fd, os.O_WRONLY)
        assert opened is not None
        assert not os.get_blocking(opened)
        assert os.get_blocking(fd)
        os.close(opened)
    for fd in (master, sockets[0].fileno(), file, null):
        assert reopened(fd, os.O_WRONLY) is None
    for fd in (master, slave, *pipe, file, null):
        os.close(fd)
    for sock in sockets:
        sock.close()
