from __future__ import annotations

import fcntl
import hashlib
import os
import random
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.client_harness import (
    CLIENT,
    ScriptedRouter,
    piped_client,
    receive_all,
    receive_until,
    terminal_client,
)
from tests.support.peers import need

MIB = 1024 * 1024


def echo(peer: socket.socket) -> None:
    """Sends back what it has read before it reads more. A client that works the same way would deadlock with it."""
    while data := peer.recv(65536):
        peer.sendall(data)


def unframed(stream: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """The stdin payloads, joined, and all other frames as (modifier2, value)."""
    stdin, others, at = bytearray(), [], 0
    while at < len(stream):
        modifier1, size, modifier2 = struct.unpack_from("<BHB", stream, at)
        assert modifier1 == 0
        at += 4
        if modifier2 == 0:
            assert size <= 4092
            stdin += stream[at : at + size]
            at += size
        else:
            others.append((modifier2, size))
    assert at == len(stream)
    return bytes(stdin), others


def run(*arguments: str, data: bytes = b"", command: list[str] | None = None) -> tuple[int, bytes, bytes]:
    with piped_client(*arguments, command=command or CLIENT) as client:
        output, complaint = client.communicate(data, timeout=60)
        return client.returncode, output, complaint


# Bytes both ways


@pytest.mark.parametrize("size", [0, 1, 4096, 10 * MIB])
def test_echoed_input_comes_back_unchanged(router: ScriptedRouter, size: int) -> None:
    data = random.Random(size).randbytes(size)
    with router.playing(echo):
        status, output, complaint = run("connect", router.address, data=data)
    assert (status, complaint) == (0, b"")
    assert hashlib.sha256(output).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("spelling", [("connect", "--uwsgi"), ("uconnect",), ("--pty-uconnect",)])
def test_in_uwsgi_mode_input_goes_in_frames_that_uwsgis_router_takes(
    router: ScriptedRouter, spelling: tuple[str, ...]
) -> None:
    data = random.Random(1).randbytes(MIB)
    received = []
    with router.playing(lambda peer: received.append(receive_all(peer))):
        assert run(*spelling, router.address, data=data) == (0, b"", b"")
    assert unframed(received[0]) == (data, [])


def test_after_the_end_of_its_input_the_output_still_comes(router: ScriptedRouter) -> None:
    def answer(peer: socket.socket) -> None:
        peer.sendall(b"you said " + receive_all(peer))

    with router.playing(answer):
        assert run("connect", router.address, data=b"hello\n") == (0, b"you said hello\n", b"")


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-", "</dev/null 2>&-"])
def test_an_empty_or_closed_standard_input_ends_the_input(router: ScriptedRouter, redirection: str) -> None:
    def answer(peer: socket.socket) -> None:
        assert receive_all(peer) == b""
        peer.sendall(b"bye\n")

    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *CLIENT]
    with router.playing(answer):
        assert run("connect", router.address, command=shell) == (0, b"bye\n", b"")


def test_input_goes_on_while_nobody_reads_a_piped_output(router: ScriptedRouter) -> None:
    with piped_client("connect", router.address) as client, router.accept() as peer:
        assert client.stdin is not None
        fill(peer)
        client.stdin.write(b"stop")
        client.stdin.flush()
        receive_until(peer, b"stop")


def test_input_goes_on_while_the_terminal_is_stopped(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        fill(peer)
        client.type(b"\x03")
        assert receive_until(peer, b"\x03") == b"\x03"


def fill(peer: socket.socket) -> None:
    """Sends until the client takes no more, because nobody reads its output."""
    peer.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.sendall(bytes(64 * MIB))
    peer.settimeout(30)


def test_output_goes_on_while_the_router_does_not_read(router: ScriptedRouter) -> None:
    with piped_client("connect", router.address) as client, router.accept() as peer:
        assert client.stdin is not None
        assert client.stdout is not None
        os.set_blocking(client.stdin.fileno(), False)
        peer.sendall(b"!")  # it is in its loop once this comes out
        assert client.stdout.read(1) == b"!"
        while client.stdin.raw.write(bytes(65536)):  # type: ignore[attr-defined]
            peer.sendall(b"!")
            assert client.stdout.read(1) == b"!"
        for _ in range(100):
            peer.sendall(b"more")
            assert client.stdout.read(4) == b"more"


def test_the_shells_descriptors_stay_blocking(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        assert not fcntl.fcntl(client.terminal, fcntl.F_GETFL) & os.O_NONBLOCK


def test_output_is_appended_where_the_shell_appends(router: ScriptedRouter, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'{{ echo first; "$@"; echo last; }} > {out}'
    with router.playing(lambda peer: peer.sendall(b"between\n")):
        status, _, _ = run("connect", router.address, command=["sh", "-c", script, "sh", *CLIENT])
    assert (status, out.read_text()) == (0, "first\nbetween\nlast\n")


def test_input_is_read_on_where_the_shell_left_off(router: ScriptedRouter, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("first\nsecond\n")
    received = []
    script = f'{{ read line; "$@"; }} < {tmp_path}/in'
    with router.playing(lambda peer: received.append(receive_all(peer))):
        run("connect", router.address, command=["sh", "-c", script, "sh", *CLIENT])
    assert received == [b"second\n"]


# The end


def test_all_output_is_delivered_before_the_end(router: ScriptedRouter) -> None:
    data = random.Random(2).randbytes(4 * MIB)
    with router.playing(lambda peer: peer.sendall(data)), piped_client("connect", router.address) as client:
        output, complaint = client.communicate(timeout=60)
    assert (client.returncode, output == data, complaint) == (0, True, b"")


def test_a_session_that_ends_before_it_has_read_its_input_is_a_success(router: ScriptedRouter) -> None:
    def end_early(peer: socket.socket) -> None:
        peer.recv(10)
        peer.sendall(b"x" * 100000)

    with router.playing(end_early):
        assert run("connect", router.address, data=bytes(10 * MIB)) == (0, b"x" * 100000, b"")


def test_a_reset_connection_is_reported_after_its_output(tcp_router: ScriptedRouter) -> None:
    with piped_client("connect", tcp_router.address) as client, tcp_router.accept() as peer:
        assert client.stdout is not None
        peer.sendall(b"some output")
        assert os.read(client.stdout.fileno(), 4) == b"some"
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        output, complaint = client.communicate(timeout=60)
    assert (client.returncode, output) == (255, b" output")
    assert complaint == b"fastpty: the connection broke: Connection reset by peer\n"


def test_a_missing_socket_is_reported_in_one_line(tmp_path: Path) -> None:
    status, output, complaint = run("connect", f"{tmp_path}/none")
    assert (status, output) == (255, b"")
    assert complaint == b"fastpty: cannot connect to %a/none: no such socket: is the router running?\n".replace(
        b"%a", bytes(tmp_path)
    )


def test_a_closed_output_ends_the_client_quietly(router: ScriptedRouter) -> None:
    with piped_client("connect", router.address) as client, router.accept() as peer:
        assert client.stdout is not None
        assert client.stderr is not None
        client.stdout.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            peer.sendall(bytes(64 * MIB))
        assert (client.wait(60), client.stderr.read()) == (0, b"")


def test_output_that_cannot_be_written_is_reported(router: ScriptedRouter) -> None:
    with (
        open("/dev/full", "wb") as full,
        router.playing(lambda peer: peer.sendall(b"output")),
        piped_client("connect", router.address, stdout=full.fileno()) as client,
    ):
        _, complaint = client.communicate(timeout=60)
    assert (client.returncode, complaint) == (
        255,
        b"fastpty: cannot write the output: No space left on device\n",
    )


# At a terminal


def test_signal_characters_are_sent_as_bytes(router: ScriptedRouter) -> None:
    with terminal_client("--pty-no-isig", "--pty-connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        client.type(b"\x03\x1c\x1a\x04\x11\x13\x16\r\x7f.")
        assert receive_until(peer, b".") == b"\x03\x1c\x1a\x04\x11\x13\x16\r\x7f."
        peer.shutdown(socket.SHUT_RDWR)
        assert client.wait() == 0


def test_the_window_size_is_sent_at_once_and_upon_every_change(router: ScriptedRouter) -> None:
    with terminal_client("uconnect", router.address, rows=43, columns=132) as client, router.accept() as peer:
        assert receive_until(peer, b"\x84\x00e") == b"\x00+\x00d\x00\x84\x00e"
        for rows, columns in ((50, 100), (1, 65535), (24, 80)):
            client.resize(rows, columns)
            wanted = struct.pack("<BHBBHB", 0, rows, 100, 0, columns, 101)
            assert receive_until(peer, wanted) == wanted


def test_the_window_size_is_the_first_thing_that_is_sent_after_connecting(
    router: ScriptedRouter, tmp_path: Path
) -> None:
    """So that the program starts in a window of this size; nothing slow may come in between."""
    command = [need("strace"), "-qq", "-o", f"{tmp_path}/trace", *CLIENT]
    with terminal_client("uconnect", router.address, command=command, rows=43, columns=132) as client:
        with router.accept() as peer:
            assert receive_until(peer, b"\x84\x00e") == b"\x00+\x00d\x00\x84\x00e"
        client.wait()
    calls = (tmp_path / "trace").read_text()
    between = calls[calls.index("connect(") : calls.index("sendto(")].splitlines()
    assert len(between) < 10, between


def test_the_window_size_comes_from_stdout_where_the_input_is_piped(router: ScriptedRouter) -> None:
    shell = ["sh", "-c", 'printf hello | "$@"', "sh", *CLIENT]
    with (
        terminal_client("uconnect", router.address, command=shell, rows=43, columns=132) as client,
        router.accept() as peer,
    ):
        assert unframed(receive_all(peer)) == (b"hello", [(100, 43), (101, 132)])
        peer.close()
        assert client.wait() == 0


def test_a_terminal_that_does_not_know_its_size_sends_none(router: ScriptedRouter) -> None:
    with terminal_client("uconnect", router.address, rows=0, columns=0) as client, router.accept() as peer:
        client.type(b"x")
        assert unframed(receive_until(peer, b"x")) == (b"x", [])


def test_no_window_size_is_sent_in_raw_mode(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        client.resize(30, 90)
        client.type(b"x")
        assert receive_until(peer, b"x") == b"x"


def test_a_paste_at_the_terminal_goes_through_whole(router: ScriptedRouter) -> None:
    text = random.Random(3).randbytes(MIB).replace(b"~", b"")

    def greet_and_echo(peer: socket.socket) -> None:
        peer.sendall(b"ready")
        with suppress(ConnectionError):  # the client disconnects and leaves the last echo unread
            echo(peer)

    with terminal_client("connect", router.address) as client, router.playing(greet_and_echo):
        client.read_until(b"ready")
        shown = b""
        for start in range(0, len(text), 2048):  # a bare pty drops what nobody reads; this is not about that
            client.type(text[start : start + 2048])
            shown += client.read_exactly(len(text[start : start + 2048]))
        assert shown == text
        client.type(b"\r~.")
        assert client.wait() == 255


def test_a_tilde_and_a_dot_disconnect(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as peer:
        peer.sendall(b"ready")
        client.read_until(b"ready")
        client.type(b"~?")
        client.read_until(b"~.   disconnect")
        client.type(b"ls\r~.")
        assert receive_all(peer) == b"ls\r"
        assert client.wait() == 255
        assert client.shown.endswith(b"fastpty: disconnected\r\n")
        assert client.modes_are_as_before


@pytest.mark.parametrize(("character", "keys"), [("none", b"~.\r~?\r~~"), ("%", b"~.\r~?\r~~")])
def test_escapes_can_be_switched_off_or_changed(router: ScriptedRouter, character: str, keys: bytes) -> None:
    with (
        terminal_client("connect", "-e", character, router.address) as client,
        router.accept() as peer,
    ):
        peer.sendall(b"ready")
        client.read_until(b"ready")
        client.type(keys)
        assert receive_until(peer, b"~~") == keys


def test_escapes_in_piped_input_are_sent_as_they_are(router: ScriptedRouter) -> None:
    with router.playing(echo):
        assert run("connect", router.address, data=b"~.\n~?\n~~") == (0, b"~.\n~?\n~~", b"")


def test_keys_typed_after_the_end_go_to_the_local_shell(router: ScriptedRouter) -> None:
    shell = ["sh", "-c", '"$@"; read line; echo "the shell got $line"', "sh", *CLIENT]
    with terminal_client("connect", router.address, command=shell) as client, router.accept() as peer:
        client.type(b"x")
        receive_until(peer, b"x")
        peer.close()
        client.type(b"typed ahead\n")
        client.read_until(b"the shell got typed ahead")
        assert client.wait() == 0


# The command line


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "fastpty connect ADDR"),
        (("conect", "x"), "conect"),
        (("connect",), "ADDR"),
        (("connect", "--uws", "x"), "--uws"),
        (("connect", ""), "empty"),
        (("connect", "host:99999"), "65535"),
        (("connect", "fd://3"), "fd://3"),
        (("connect", "-e", "ab", "x"), "-e"),
        (("connect", "-e", "\n", "x"), "-e"),
        (("--pty-connect", "x", "connect", "x"), "two addresses"),
        (("--pty-connect", "x", "--pty-uconnect", "x"), "two addresses"),
    ],
)
def test_bad_usage_is_reported_in_one_line(arguments: tuple[str, ...], problem: str) -> None:
    status, output, complaint = run(*arguments)
    assert (status, output) == (2, b"")
    assert complaint.startswith(b"fastpty: ")
    assert problem in complaint.decode()
    assert complaint.count(b"\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("connect", "--help"), ("uconnect", "--help")])
def test_the_help_fits_eighty_columns(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([*CLIENT, *arguments], capture_output=True, text=True, check=True, timeout=60)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "ADDR" in done.stdout


def test_the_version_is_shown() -> None:
    status, output, _ = run("--version")
    assert (status, output[:8]) == (0, b"fastpty ")
