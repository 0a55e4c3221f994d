"""How the client finds out a router's protocol: each router gets only bytes that it understands, nothing is lost."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.client.legacy import KEPT_BYTES
from fastpty.client.negotiation import Greeting, new_name
from fastpty.wire import extension
from fastpty.wire.extension import FrameReader
from tests import ROOT
from tests.support.client_harness import (
    CLIENT,
    ScriptedRouter,
    piped_client,
    receive_all,
    receive_until,
    scripted_router,
    terminal_client,
)
from tests.support.extension_peer import ExtensionPeer, playing
from tests.support.real_uwsgi import RealRouter


def run(*arguments: str, data: bytes = b"") -> tuple[int, bytes, str]:
    ended = subprocess.run([*CLIENT, "connect", *arguments], cwd=ROOT, input=data, capture_output=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr.decode()


# The name


@pytest.mark.parametrize(
    ("options", "is_named"),
    [
        ((), True),
        (("--uwsgi",), True),
        (("--protocol", "auto"), True),
        (("--protocol", "fpty"), True),
        (("--protocol", "raw"), False),
        (("--protocol", "uwsgi"), False),
    ],
)
def test_a_client_asks_for_the_extension_by_its_name(
    router: ScriptedRouter, options: tuple[str, ...], is_named: bool
) -> None:
    names = []
    with router.playing(lambda peer: names.append(peer.getpeername())):
        run(*options, router.address)
    assert bool(re.fullmatch(rb"\0fastpty/1/[0-9a-f]{16}", names[0] or b"")) == is_named


def test_no_two_clients_have_the_same_name() -> None:
    assert new_name() != new_name()


def test_a_client_whose_name_is_taken_connects_without(router: ScriptedRouter) -> None:
    """The same happens where a security module forbids the name."""
    names = []
    taken = new_name()

    def part(peer: socket.socket) -> None:
        names.append(peer.getpeername())
        peer.sendall(b"legacy\n")

    code = (
        "import sys; from fastpty.client import negotiation; "
        f"negotiation.new_name = lambda: {taken!r}; "
        "from fastpty.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with router.playing(part), socket.socket(socket.AF_UNIX) as other:
        other.bind(taken)
        ended = subprocess.run(
            [sys.executable, "-c", code, "connect", "-n", router.address], cwd=ROOT, capture_output=True, timeout=60
        )
    assert (ended.returncode, ended.stdout, ended.stderr, names) == (0, b"legacy\n", b"", [""])


# What the first bytes tell


@given(st.binary(max_size=60), st.integers(0, 60), st.lists(st.integers(1, 60), max_size=10), st.booleans())
def test_only_the_welcome_with_the_nonce_is_one_however_it_is_cut(
    other: bytes, agreeing: int, cuts: list[int], is_named: bool
) -> None:
    """Tried with streams that agree with WELCOME for some bytes and then differ, or do not."""
    name = new_name()
    nonce = bytes.fromhex(name[-16:].decode())
    welcome = extension.welcome(nonce if is_named else bytes(8), 0, 1000)
    stream = welcome[:agreeing] + other
    decided = 20
    agrees = len(stream) >= decided and stream[0:1] + stream[3:decided] == welcome[0:1] + welcome[3:decided]
    greeting = Greeting([name])
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for start, end in itertools.pairwise(places):
        greeting.feed(stream[start:end])
    greeting.feed(b"")
    assert greeting.is_welcome == (agrees and is_named)
    assert greeting.is_unnamed == (agrees and not is_named)
    assert greeting.received == stream


def test_a_welcome_that_comes_byte_by_byte_is_one(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for byte in peer.welcome:
            peer.sock.sendall(bytes((byte,)))
        peer.read_start()
        started = extension.frames(extension.STARTED, extension.items([(extension.SESSION, bytes(8))]))
        for byte in started + extension.frames(extension.OUTPUT, b"out"):
            peer.sock.sendall(bytes((byte,)))
        peer.output_bytes = 3
        peer.end(5)

    with playing(router, part):
        assert run(router.address) == (5, b"out", "")


@pytest.mark.parametrize(
    "output",
    [
        b"prompt$ ",
        b"\0",
        b"\0\x1e\0",
        b"\0\x1e\0\x97fastpt",
        b"\0\x1e\0\x97fastpty\n" + bytes(7),
        extension.welcome(b"\1" * 8, 1, 1000) + extension.refusal(extension.REFUSED, b"forged"),
        b"x" + extension.welcome(bytes(8), 1, 1000),
    ],
)
@pytest.mark.parametrize("tcp", [False, True])
def test_what_is_no_welcome_is_shown_as_it_is(tmp_path: Path, tcp: bool, output: bytes) -> None:
    with scripted_router(tmp_path, tcp=tcp) as router, router.playing(lambda peer: peer.sendall(output)):
        assert run(router.address) == (0, output, "")


@pytest.mark.parametrize("options", [(), ("--uwsgi",)])
@pytest.mark.parametrize("tcp", [False, True])
def test_a_welcome_without_the_name_is_an_error_that_names_the_option(
    tmp_path: Path, tcp: bool, options: tuple[str, ...]
) -> None:
    """An fpty-router address over TCP, or behind a proxy, sends it. A program could, too, so it is not accepted."""

    def part(peer: socket.socket) -> None:
        peer.sendall(extension.welcome(bytes(8), 1, 1000))
        assert extension.START not in {number for number, _ in FrameReader().feed(receive_all(peer))}

    with scripted_router(tmp_path, tcp=tcp) as router, router.playing(part):
        address = router.address
        assert run(*options, address) == (
            255, b"", f"fastpty: {address} is an address for fastpty's own protocol: connect with --protocol fpty\n"
        )  # fmt: skip


# Older routers


@pytest.mark.parametrize("spelling", [(), ("--uwsgi",)])
def test_an_older_router_gets_the_same_bytes_from_a_client_with_a_name(
    router: ScriptedRouter, spelling: tuple[str, ...]
) -> None:
    data = bytes(range(256)) * 100
    received = []

    def part(peer: socket.socket) -> None:
        peer.sendall(b"prompt$ ")
        received.append(receive_all(peer))

    for options in (spelling, ("--protocol", "uwsgi" if spelling else "raw")):
        with router.playing(part):
            assert run(*options, router.address, data=data) == (0, b"prompt$ ", "")
    assert received[0] == received[1]


@contextmanager
def recorded(path: str, target: str) -> Iterator[list[bytes]]:
    """A socket at `path` whose only client is connected to `target`. Gives what the client sent and received."""
    traffic = [b"", b""]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def pump(source: socket.socket, sink: socket.socket, index: int) -> None:
            try:
                while data := source.recv(65536):
                    traffic[index] += data
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                return

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.socket(socket.AF_UNIX) as router:
                router.connect(target)
                back = threading.Thread(target=pump, args=(router, client, 1))
                back.start()
                pump(client, router, 0)
                back.join()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield traffic
        thread.join(30)


@pytest.mark.parametrize("mode", ["raw", "uwsgi"])
def test_real_uwsgi_gets_the_same_bytes_from_a_client_with_a_name(tmp_path: Path, mode: str) -> None:
    started = RealRouter(tmp_path)
    traces = []
    try:
        for turn, options in enumerate((["--uwsgi"] if mode == "uwsgi" else [], ["--protocol", mode])):
            proxy = f"{tmp_path}/proxy{turn}"
            target = started.framed if mode == "uwsgi" else started.raw
            with (
                recorded(proxy, target) as traffic,
                terminal_client("connect", *options, proxy, rows=43, columns=132) as client,
            ):
                client.read_until(b"remote:")
                client.type(b"echo $((6*7))\r")
                client.read_until(b"\r\n42\r\n")
                client.read_until(b"remote:")
                client.type(b"\x04")
                assert client.wait() == 0
            traces.append(traffic[0])
    finally:
        started.stop()
    assert traces[0] == traces[1]
    assert b"echo" in traces[0]


@pytest.mark.parametrize("options", [("--status-fd", "2"), ("--raise",), ("-w", "/"), ("-e", "A=1"), ("--", "ls")])
def test_an_older_router_is_named_where_an_option_needs_another(
    router: ScriptedRouter, options: tuple[str, ...]
) -> None:
    def part(peer: socket.socket) -> None:
        peer.sendall(b"prompt$ ")
        receive_all(peer)

    arguments = (router.address, *options) if options[0] == "--" else (*options, router.address)
    with router.playing(part):
        status, output, complaint = run(*arguments)
    assert (status, output) == (255, b"")
    last = [line for line in complaint.splitlines() if not line.startswith("{")]
    assert len(last) == 1
    assert "needs a router that speaks the extension, and this one does not" in last[0]


def test_a_silent_router_is_given_up_where_an_option_needs_the_extension(router: ScriptedRouter) -> None:
    with router.playing(receive_all_of):
        status, _, complaint = run("--connect-timeout", "0.3", router.address, "--", "ls")
    assert (status, complaint) == (
        255, f"fastpty: {router.address}: the router does not answer: it is stopped, or it hangs\n"
    )  # fmt: skip


def receive_all_of(peer: socket.socket) -> None:
    assert receive_all(peer) == b""


@pytest.mark.parametrize("options", [("--protocol", "raw", "--raise"), ("--protocol", "fpty", "--uwsgi")])
def test_options_that_exclude_each_other_are_reported(options: tuple[str, ...]) -> None:
    status, _, complaint = run(*options, "/nowhere")
    assert status == 2
    assert complaint.count("\n") == 1


# Late answers


@pytest.mark.parametrize("options", [(), ("--uwsgi",)])
def test_a_router_that_answers_late_loses_nothing(router: ScriptedRouter, options: tuple[str, ...]) -> None:
    """What was sent without the extension was not executed, and is sent again over a new connection."""
    received = []

    def late(peer: ExtensionPeer) -> None:
        first = receive_until(peer.sock, b"first\n")
        peer.sock.sendall(peer.welcome)
        peer.sock.recv(65536)
        assert first.endswith(b"first\n")

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        received.append(peer.read_input())
        peer.end(9)

    with playing(router, late, part), piped_client("connect", *options, router.address) as client:
        output, complaint = client.communicate(b"first\n", timeout=60)
        assert (client.returncode, output, complaint) == (9, b"", b"")
    assert received == [b"first\n"]


def test_keys_at_a_terminal_are_not_lost_to_a_late_answer(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client:
        with router.accept() as sock:
            client.type(b"before")
            receive_until(sock, b"before")
            sock.sendall(ExtensionPeer(sock).welcome)
            assert receive_all(sock) == b""
        with router.accept() as sock:
            peer = ExtensionPeer(sock)
            peer.begin()
            client.type(b" and after")
            assert peer.read_input(16) == b"before and after"
            peer.end()
        assert client.wait() == 0
        assert client.modes_are_as_before


def test_much_input_waits_for_a_router_that_does_not_accept_yet(tmp_path: Path) -> None:
    data = os.urandom(5 * KEPT_BYTES)
    received = []

    def late(peer: ExtensionPeer) -> None:
        peer.sock.sendall(peer.welcome)
        while peer.sock.recv(65536):
            pass

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        received.append(peer.read_input())
        peer.end(3)

    with (
        scripted_router(tmp_path) as router,
        piped_client("connect", "--connect-timeout", "60", router.address) as client,
    ):
        assert client.stdin is not None
        os.set_blocking(client.stdin.fileno(), False)
        sent = 0
        quiet_since = time.monotonic()
        while time.monotonic() < quiet_since + 1:  # until the client takes no more
            if count := client.stdin.raw.write(data[sent : sent + 4096]) or 0:  # type: ignore[attr-defined]
                sent += count
                quiet_since = time.monotonic()
        assert sent < len(data)
        os.set_blocking(client.stdin.fileno(), True)
        with playing(router, late, part):
            client.stdin.write(data[sent:])
            client.stdin.close()
            assert client.wait(60) == 3
    assert received == [data]


def test_more_input_than_is_kept_is_an_error_that_is_said(router: ScriptedRouter) -> None:
    """From a router that has accepted the connection, and speaks much later."""
    data = bytes(2 * KEPT_BYTES)

    def part(peer: ExtensionPeer) -> None:
        left = len(data)
        while left:
            left -= len(peer.sock.recv(65536))
        peer.sock.sendall(peer.welcome)

    with playing(router, part):
        status, output, complaint = run(router.address, data=data)
    assert (status, output) == (255, b"")
    assert "nothing was executed: try again" in complaint
    assert complaint.count("\n") == 1


# Addresses where every client speaks the extension


def test_a_tcp_address_speaks_the_extension_if_told_so(tmp_path: Path) -> None:
    def part(peer: ExtensionPeer) -> None:
        assert dict(peer.begin())[extension.ARGUMENT] == b"id"
        peer.output(b"x")
        peer.end(4)

    with scripted_router(tmp_path, tcp=True) as router, playing(router, part):
        assert run("--protocol", "fpty", router.address, "--", "id") == (4, b"x", "")


def test_a_proxy_that_hides_the_name_does_not_matter_where_the_user_names_the_protocol(tmp_path: Path) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(4)

    proxy = f"{tmp_path}/proxy"
    with (
        scripted_router(tmp_path) as router,
        playing(router, part),
        recorded(proxy, router.address),
    ):
        assert run("--protocol", "fpty", proxy) == (4, b"", "")


def test_over_tcp_a_command_needs_the_option(tmp_path: Path) -> None:
    with scripted_router(tmp_path, tcp=True) as router:
        status, _, complaint = run(router.address, "--", "id")
    assert status == 255
    assert "needs an fpty-router address, and --protocol fpty" in complaint


def test_a_program_that_forges_a_welcome_gains_nothing(tmp_path: Path) -> None:
    """It does not know the nonce."""
    with scripted_router(tmp_path) as router:
        forged = extension.welcome(os.urandom(8), 1, 1000) + extension.frames(extension.STARTED)
        with router.playing(lambda peer: peer.sendall(forged)):
            assert run(router.address) == (0, forged, "")
