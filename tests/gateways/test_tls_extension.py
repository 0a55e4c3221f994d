"""The negotiated extension over TLS."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from fastpty.client.tunnel import tunnel
from fastpty.net.tls_files import Identity
from fastpty.wire import extension
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
        tunnel(network, identity, "localhost", "the router", time.monotonic() + 30) as sock,
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
