"""The negotiated extension over TLS."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from fastpty.access.peer import name_behind_tls
from fastpty.client.tunnel import shake_hands, tunnel
from fastpty.net.tls import context_of
from fastpty.net.tls_files import Identity
from fastpty.wire import extension
from tests.support.client_harness import CLIENT, ROOT
from tests.support.extension_client import UNFINISHED, ExtensionClient
from tests.support.harness import Router
from tests.support.tls_harness import Authority

Starts = Callable[..., Router]


@pytest.fixture
def port(start_router: Starts, authority: Authority) -> int:
    """A router's port that speaks the extension over TLS."""
    router = start_router("--fpty-router", "127.0.0.1:0", *authority.options("server"))
    return int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])


@contextmanager
def connected(authority: Authority, port: int, name: str) -> Iterator[ExtensionClient]:
    """A client with a certificate for NAME. The end of its sending direction is TLS's close_notify."""
    identity = Identity(*authority.give(name), str(authority.certificate))
    with (
        socket.create_connection(("127.0.0.1", port), 30) as network,
        tunnel(network, shake_hands(network, identity, "localhost", "the router")) as sock,
    ):
        sock.settimeout(30)
        yield ExtensionClient(sock)


@pytest.mark.parametrize("argv", [["/bin/cat"], []])
def test_input_that_ends_before_the_program_runs_has_ended(argv: list[str], port: int, authority: Authority) -> None:
    with connected(authority, port, "alice") as client:
        client.start(argv)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.status().code == 0


def test_clients_with_several_names_are_several_owners_of_memory(port: int, authority: Authority) -> None:
    """To the relay all of them are connections of the TLS process."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(authority, port, name)) for name in ["alice", "bob"] * 3]
        for client in clients:
            assert client.welcome
            client.sock.sendall(UNFINISHED)
        assert [client.error().code for client in clients] == [extension.TIMEOUT] * 6


def test_the_clients_of_a_name_share_memory(port: int, authority: Authority) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(authority, port, "alice")) for _ in range(5)]
        for client in clients:
            assert client.welcome
            client.sock.sendall(UNFINISHED)
        assert sorted(client.error().code for client in clients) == [extension.LIMIT] + [extension.TIMEOUT] * 4


ADDRESSES = ["--forkpty-router", "--forkpty-urouter", "--fpty-router"]


@pytest.fixture(params=ADDRESSES)
def any_port(request: pytest.FixtureRequest, start_router: Starts, authority: Authority) -> int:
    """A router's port for TLS, with each protocol of sessions."""
    router = start_router(request.param, "127.0.0.1:0", *authority.options("server"))
    return int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])


def connect(authority: Authority, port: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """What `fastpty connect` with these arguments and a certificate for alice prints; ADDR stands for the router."""
    words = [f"localhost:{port}" if word == "ADDR" else word for word in arguments]
    command = [*CLIENT, "connect", *authority.options("alice"), *words]
    return subprocess.run(command, cwd=ROOT, input=b"exit 5\n", capture_output=True, timeout=60)


@pytest.mark.parametrize("wanted", [[], ["--uwsgi"], ["--protocol", "fpty"]])
def test_the_handshake_negotiates_the_extension_at_every_address(
    wanted: list[str], any_port: int, authority: Authority
) -> None:
    ended = connect(authority, any_port, *wanted, "ADDR", "--", "sh", "-c", "stty size; exit 7")
    assert (ended.returncode, ended.stderr) == (7, b"")
    assert b"24 80\r\n" in ended.stdout  # and the echo of the input, which may come later


def test_a_session_that_breaks_says_why(authority: Authority) -> None:
    context = context_of(
        Identity(*authority.give("server"), str(authority.certificate)), server=True, negotiates=True
    )

    def cut(listener: socket.socket) -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(extension.welcome(bytes(8), extension.CAN_COMMAND, 4096))
            connection.recv(65536)  # START
            connection.sendall(extension.frames(extension.STARTED))
            socket.socket.shutdown(connection, socket.SHUT_WR)  # ends TCP without close_notify
            with suppress(OSError):
                connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=cut, args=(listener,))
        server.start()
        ended = connect(authority, listener.getsockname()[1], "ADDR", "--", "sleep", "9")
        server.join()
    assert ended.returncode == 255
    assert re.fullmatch(rb"fastpty: lost the connection: it was cut off.*; exit status unknown\n", ended.stderr)


@pytest.mark.parametrize("protocol", ["raw", "uwsgi"])
def test_a_client_that_offers_no_extension_gets_the_protocol_of_the_address(
    protocol: str, start_router: Starts, authority: Authority
) -> None:
    option = {"raw": "--forkpty-router", "uwsgi": "--forkpty-urouter"}[protocol]
    router = start_router(option, "127.0.0.1:0", *authority.options("server"))
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    ended = connect(authority, port, "--protocol", protocol, "ADDR")
    assert (ended.returncode, ended.stderr) == (0, b"")
    router.wait_for_log("session 1: end: exit, exit status 5")


def test_a_shared_terminal_over_tls_negotiates_nothing(start_router: Starts, authority: Authority) -> None:
    router = start_router("--pty-socket", "127.0.0.1:0", "--pty-once", *authority.options("server"))
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    ended = connect(authority, port, "ADDR", "--", "true")
    assert ended.returncode == 255
    assert b"a command needs a router that speaks the extension, and this one does not" in ended.stderr
    assert connect(authority, port, "ADDR").returncode == 0


@pytest.mark.parametrize("wanted", [["ADDR"], ["ADDR", "--", "true"], ["--protocol", "raw", "ADDR"]])
def test_a_client_is_refused_in_the_same_words_in_every_protocol(
    wanted: list[str], start_router: Starts, authority: Authority
) -> None:
    options = ["--allow-tls-name", "bob", *authority.options("server")]
    router = start_router("--forkpty-router", "127.0.0.1:0", *options)
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    ended = connect(authority, port, *wanted)
    assert ended.returncode == 255
    assert ended.stderr == b"fastpty: refused: no name of your certificate is allowed to connect\n"
    assert ended.stdout == b""


def test_a_name_as_of_the_tls_process_negotiates_nothing_without_tls(start_router: Starts, directory: Path) -> None:
    """Any user of the machine can bind such a name."""
    start_router(f"{directory}/s", "--forkptyrouter-command", "echo plain; cat")
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(name_behind_tls(secrets.token_hex(16), 0, "127.0.0.1 port 1 root", negotiated=True))
        client.connect(f"{directory}/s")
        client.settimeout(30)
        assert client.recv(7, socket.MSG_WAITALL) == b"plain\r\n"
