"""Addresses: how they are written and read, which of them are loopback, and connecting to them."""

from __future__ import annotations

import os
import socket

import pytest

from fastpty.errors import FastptyError, UsageError
from fastpty.net import address
from fastpty.net.address import AbstractAddress, FdAddress, TcpAddress, UnixAddress
from tests.support.harness import message_of


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("/tmp/x.socket", UnixAddress("/tmp/x.socket")),
        ("x.socket", UnixAddress("x.socket")),
        ("./a:1", UnixAddress("./a:1")),
        ("3000", UnixAddress("3000")),
        ("@name", AbstractAddress("name")),
        ("@a/b:c", AbstractAddress("a/b:c")),
        ("host:80", TcpAddress("host", 80)),
        (":80", TcpAddress("", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("fd://3", FdAddress(3)),
    ],
)
def test_an_address_is_read_and_written_the_same_way(text: str, meaning: address.Address) -> None:
    assert address.parse(text) == meaning
    assert meaning.text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("@", "1 to 106 bytes"),
        ("@" + "x" * 107, "1 to 106 bytes"),
        ("/" + "x" * 107, "has 108 bytes"),
        ("/" + "ä" * 60, "has 121 bytes"),
        ("host:", "the port"),
        ("host:http", "the port"),
        ("host:65536", "from 0 to 65535"),
        ("host:-1", "the port"),
        ("host:٣", "the port"),
        ("host:" + "9" * 5000, "the port"),
        ("::1:80", "brackets"),
        ("[::1]", "brackets|the port|host"),
        ("[nope]:80", "not an IPv6 address"),
        ("a b:80", "not a host"),
        ("fd://", "the descriptor"),
        ("fd://x", "the descriptor"),
    ],
)
def test_a_text_that_is_no_address_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        address.parse(text)
    message_of(error)


@pytest.mark.parametrize(
    "text",
    ["/x", "@x", "fd://3", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"],
)
def test_loopback_is_recognised(text: str) -> None:
    assert address.parse(text).is_loopback


@pytest.mark.parametrize(
    "text",
    [":1", "0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "no-such-host.invalid:1", "a..b:1"],
)
def test_an_address_that_may_not_be_loopback_does_not_count_as_loopback(text: str) -> None:
    assert not address.parse(text).is_loopback


def test_a_name_that_resolves_to_one_address_of_the_network_is_not_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1)) for host in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert not address.parse("both:1").is_loopback


@pytest.mark.parametrize("tail", ["", "\0"])
def test_a_client_finds_an_abstract_name_in_either_spelling(tail: str) -> None:
    name = f"fastpty-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}{tail}")
        server.listen()
        address.connect(AbstractAddress(name)).close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/nowhere/s", "no such socket"),
        ("@fastpty-nobody-listens", "no program is listening"),
        ("no-such-host.invalid:1", "cannot be resolved"),
    ],
)
def test_a_connection_that_cannot_be_made_is_explained(text: str, why: str) -> None:
    with pytest.raises(FastptyError, match=why) as error:
        address.connect(address.parse(text))
    assert f"cannot connect to {text}: " in message_of(error)


def test_a_refused_tcp_connection_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FastptyError, match="no program is listening"):
        address.connect(TcpAddress("localhost", port))


def test_a_descriptor_cannot_be_connected_to() -> None:
    with pytest.raises(UsageError, match="fd://3"):
        address.connect(FdAddress(3))
