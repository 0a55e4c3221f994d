"""The memory for STARTs that are not whole yet: who gets it, and whose START ends if there is no more."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastpty.access.peer import origin_number, tcp_peer
from fastpty.wire import extension
from tests.support.extension_client import UNFINISHED, ExtensionClient
from tests.support.harness import Router, eventually
from tests.support.peers import need_root

Starts = Callable[..., Router]


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Connects as this user (SO_PEERCRED)."""
    need_root()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def codes(clients: list[ExtensionClient]) -> list[int]:
    """The codes of the ERRORs that end the sessions: LIMIT, or TIMEOUT for those whose START had room."""
    found = [client.error().code for client in clients]
    for client in clients:
        client.sock.close()
    return sorted(found)


def test_the_starts_of_a_user_are_bounded_and_short_ones_always_begin(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-raw", path)
    clients = [ExtensionClient(path) for _ in range(20)]
    for client in clients:
        assert client.welcome
        client.sock.sendall(UNFINISHED)
    eventually(lambda: sum(not client.has_nothing_to_read() for client in clients) == 16, "16 have ended")
    with ExtensionClient(path) as client:
        client.start(["echo", "x" * 900])
        assert client.status().code == 0
    # A quarter of 4 MiB is four times 256 KiB.
    assert codes(clients) == [extension.LIMIT] * 16 + [extension.TIMEOUT] * 4
    with ExtensionClient(path) as client:
        client.start(["echo", "x" * 100_000])
        assert client.status().code == 0


def test_the_starts_of_a_user_do_not_take_the_room_of_others(start_router: Starts, directory: Path) -> None:
    need_root()
    path = str(directory / "socket")
    start_router("--listen-raw", path, "--chmod-socket=666")
    clients: list[ExtensionClient] = []
    for uid in range(65_530, 65_535):
        with acting_as(uid):
            clients += [ExtensionClient(path) for _ in range(5)]
    for client in clients:
        assert client.welcome
        client.sock.sendall(UNFINISHED)
    with ExtensionClient(path) as client:
        client.start(["echo", "x" * 900])
        assert client.status().code == 0
    # Each user has one more than its quarter has room for, and four users take all four quarters.
    assert codes(clients) == [extension.LIMIT] * 9 + [extension.TIMEOUT] * 16


@pytest.mark.parametrize("uid", [65_530, 65_534])
def test_a_start_that_comes_at_once_begins_although_unfinished_ones_take_all_memory(
    uid: int, start_router: Starts, directory: Path
) -> None:
    """Whether they are of the same user, or all others'."""
    path = str(directory / "socket")
    start_router("--listen-raw", path, "--chmod-socket=666")
    clients: list[ExtensionClient] = []
    for other in range(65_530, 65_534):
        with acting_as(other):
            clients += [ExtensionClient(path) for _ in range(4)]
    for client in clients:
        assert client.welcome
        client.sock.sendall(UNFINISHED)
    with acting_as(uid), ExtensionClient(path) as client:
        client.start(["echo", "x" * 100_000, "x" * 100_000])
        assert client.status().code == 0
    found = codes(clients)
    assert (found[0], found[1]) == (extension.LIMIT, extension.TIMEOUT)  # one of them made room


def test_a_user_of_little_memory_keeps_it(start_router: Starts, directory: Path) -> None:
    """Although its unfinished START is the oldest."""
    path = str(directory / "socket")
    start_router("--listen-raw", path, "--chmod-socket=666")
    with acting_as(65_529):
        first = ExtensionClient(path)
    clients = [first]
    for uid in range(65_530, 65_534):
        with acting_as(uid):
            clients += [ExtensionClient(path) for _ in range(4)]
    for client in clients:
        assert client.welcome
        client.sock.sendall(UNFINISHED)
    assert first.error().code == extension.TIMEOUT
    assert codes(clients[1:]) == [extension.LIMIT] + [extension.TIMEOUT] * 15
    first.sock.close()


def test_clients_of_several_addresses_are_several_owners(start_router: Starts) -> None:
    router = start_router("--fpty-router", "127.0.0.1:0")
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    clients = [ExtensionClient(connected_from(host, port)) for host in ["127.0.0.1", "127.0.0.2"] * 3]
    for client in clients:
        assert client.welcome
        client.sock.sendall(UNFINISHED)
    assert codes(clients) == [extension.TIMEOUT] * 6


def connected_from(host: str, port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 30, (host, 0))
    sock.settimeout(30)
    return sock


class Remote:
    """A connection from this address."""

    def __init__(self, host: str) -> None:
        self.host = host

    def getpeername(self) -> tuple[str, int, int, int]:
        return self.host, 1, 0, 0


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "192.0.2.1", True),
    ],
)
def test_the_addresses_of_an_ipv6_network_are_one_owner(first: str, second: str, is_same: bool) -> None:
    numbers = [origin_number(tcp_peer(Remote(host)).origin) for host in (first, second)]  # type: ignore[arg-type]
    assert (numbers[0] == numbers[1]) == is_same
    assert max(numbers) < 0
