"""Clients that speak another protocol than their socket, and TCP clients that close beside a quiet program."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.harness import RAW_CAT, Client, Router, frame

DEAF = "stty raw -echo; printf READY; exec sleep 1000"


def port_of(router: Router) -> tuple[str, int]:
    return "127.0.0.1", int(router.wait_for_log(r"listening on 127.0.0.1:(\d+)")[0][1])


def test_a_tls_client_on_a_plain_port_gets_a_line_and_a_close(
    start_router: Callable[..., Router],
) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", RAW_CAT.replace("printf READY; ", ""))
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    with Client(port_of(router)) as client:
        client.send(outgoing.read())
        assert client.read_to_end() == b"fastpty: this port does not speak TLS: connect without it\r\n"
    router.wait_for_log("session 1: end: a TLS hello")


FRAMES = b"fastpty: this socket speaks the raw protocol: connect without --uwsgi\r\n"
RAW = b"fastpty: this socket speaks the uwsgi protocol: connect with --uwsgi\r\n"
QUIET_CAT = RAW_CAT.replace("printf READY; ", "")
SIZE = frame(100, 24) + frame(101, 80)


@pytest.fixture(params=["local", "TCP"])
def place(request: pytest.FixtureRequest, directory: Path) -> str:
    return f"{directory}/s" if request.param == "local" else "127.0.0.1:0"


def address_of(router: Router, place: str) -> str | tuple[str, int]:
    return place if place.startswith("/") else port_of(router)


@pytest.mark.parametrize(
    "sent",
    [SIZE, frame(100), frame(100, 50) + frame(101, 200) + frame(0, payload=b"ls\n"), frame(0, payload=b"ls\n")],
    ids=["window size", "rows alone", "window size and input", "input alone"],
)
def test_a_uwsgi_client_on_a_raw_socket_types_nothing_and_gets_a_line(
    start_router: Callable[..., Router], place: str, sent: bytes
) -> None:
    router = start_router(place, "--forkptyrouter-command", QUIET_CAT)
    with Client(address_of(router, place)) as client:
        client.send(sent)
        assert client.read_to_end() == FRAMES
    router.wait_for_log("session 1: end: uwsgi frames on a raw socket")


@pytest.mark.parametrize(
    ("option", "sent", "line"),
    [("--forkpty-router", SIZE, FRAMES), ("--forkpty-urouter", b"ls\n", RAW)],
    ids=["frames", "raw bytes"],
)
def test_a_line_about_the_protocol_begins_on_a_line_of_its_own_after_output(
    start_router: Callable[..., Router], directory: Path, option: str, sent: bytes, line: bytes
) -> None:
    """Otherwise a client that reads a prompt before would not recognise it."""
    start_router(option, f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.send(sent)
        assert client.read_to_end() == b"READY\r\n" + line


@pytest.mark.parametrize(
    "sent", [b"ls\n", b"l", b"GET /", b"\x16\x03\x01\x02\x00\x01"], ids=["command", "key", "HTTP", "TLS"]
)
def test_a_raw_client_on_a_uwsgi_socket_types_nothing_and_gets_a_line(
    start_router: Callable[..., Router], directory: Path, sent: bytes
) -> None:
    path = f"{directory}/s"
    router = start_router("--forkpty-urouter", path, "--forkptyrouter-command", QUIET_CAT)
    with Client(path) as client:
        client.send(sent)
        assert client.read_to_end() == RAW
    router.wait_for_log("session 1: end: raw bytes on a uwsgi socket")


@pytest.mark.parametrize(
    "typed",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\0",
        b"\0abd",
        b"\0\x18\0d ",
        b"\0\x18\0dabce",
        b"\0\x03\0\0ls",
        b"\0\0\0\0",
        b"\0\x03\0\0ls\n\0",
    ],
)
def test_whatever_a_person_may_type_on_a_local_raw_socket_is_input(
    start_router: Callable[..., Router], directory: Path, typed: bytes
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.send(typed)
        assert client.read_exactly(len(typed)) == typed


def test_frames_later_than_in_the_first_read_are_input_of_a_raw_socket(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.send(b"a")
        assert client.read_exactly(1) == b"a"
        client.send(SIZE)
        assert client.read_exactly(len(SIZE)) == SIZE


@pytest.mark.parametrize("typed", [0, 50_000])
def test_a_tcp_client_that_closes_ends_a_session_whose_program_is_idle(
    start_router: Callable[..., Router], typed: int
) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", DEAF)
    with Client(port_of(router)) as client:
        client.read_until(b"READY")
        client.socket.setblocking(False)
        with suppress(BlockingIOError):
            client.socket.send(bytes(typed))
    router.wait_for_log("session 1: end: client left")


def test_a_half_closed_tcp_client_still_receives_all_output(
    start_router: Callable[..., Router],
) -> None:
    program = "stty raw -echo; printf READY; sleep 5; printf LATER"
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", program)
    with Client(port_of(router)) as client:
        client.read_until(b"READY")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b"READYLATER"
    router.wait_for_log("session 1: end: exit")
