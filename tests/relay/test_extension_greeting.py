"""How a client and the router come to speak the negotiated extension, and what happens before START."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.wire import extension
from fastpty.wire.extension import Refusal, frames
from fastpty.wire.uwsgi import window_frames
from tests.support.extension_client import ExtensionClient
from tests.support.harness import PROMPT, Client, Router, children

Starts = Callable[..., Router]
Connects = Callable[..., ExtensionClient]


@pytest.fixture(params=["--listen-raw", "--listen-uwsgi", "--fpty-router"])
def connect(request: pytest.FixtureRequest, start_router: Starts, directory: Path) -> Iterator[Connects]:
    """Connects to a router, which is started at the first call."""
    clients: list[ExtensionClient] = []
    path = str(directory / "socket")

    def start(*arguments: str, nonce: bytes | None = None) -> ExtensionClient:
        if not clients:
            start_router(request.param, path, *arguments)
        clients.append(ExtensionClient(path, nonce=nonce))
        return clients[-1]

    yield start
    for client in clients:
        client.sock.close()


def test_a_client_with_a_name_is_greeted_at_every_address(connect: Connects) -> None:
    client = connect()
    welcome = client.welcome
    assert (welcome.nonce, welcome.version) == (client.nonce, extension.VERSION)
    assert (
        welcome.capabilities
        == extension.CAN_TERMINAL | extension.CAN_STREAMS | extension.CAN_COPY | extension.CAN_COMMAND
    )
    assert welcome.input_window == 65536 - 4096
    assert welcome.request_bytes == extension.REQUEST_BYTES


def test_nothing_is_started_before_start(start_router: Starts, directory: Path) -> None:
    router = start_router("--listen-raw", str(directory / "socket"))
    with ExtensionClient(str(directory / "socket")) as client:
        assert client.welcome
        client.sock.sendall(window_frames(33, 44))
        client.type(b"echo typed $((1 + 1)); exit\n")
        assert client.has_nothing_to_read(0.2)
        assert not children(router.pid)
        client.start(window=None)
        assert client.status().code == 0
        assert b"typed 2" in client.output


def test_rows_and_columns_before_start_are_the_windows_size(connect: Connects) -> None:
    client = connect()
    client.sock.sendall(window_frames(33, 44))
    client.start(["stty", "size"], window=None)
    client.status()
    assert client.output == b"33 44\r\n"


@pytest.mark.parametrize(
    "name",
    [b"\0fastpty/1/0123456789abcde", b"\0fastpty/1/0123456789ABCDEF", b"\0fastpty/2/0123456789abcdef", b"\0fastpty"],
)
def test_a_client_with_another_name_gets_what_it_always_got(
    name: bytes, start_router: Starts, directory: Path
) -> None:
    start_router("--listen-raw", str(directory / "socket"))
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(name)
    sock.connect(str(directory / "socket"))
    client = Client(sock)
    client.read_until(PROMPT)
    assert client.seen.endswith(PROMPT)
    sock.close()


@pytest.mark.parametrize("digits", [b"4fa22ae90123456Z", b"Z123456789abcdef", b"0123456789abcde"])
def test_a_name_that_is_none_gives_no_nonce(digits: bytes, start_router: Starts, directory: Path) -> None:
    start_router("--fpty-router", str(directory / "socket"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(extension.NAME + digits)
        sock.connect(str(directory / "socket"))
        assert ExtensionClient(sock).welcome.nonce == bytes(8)


def test_over_tcp_every_client_of_the_address_is_greeted(start_router: Starts) -> None:
    router = start_router("--fpty-router", "127.0.0.1:0")
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    with ExtensionClient(("127.0.0.1", port)) as client:
        assert client.welcome.nonce == bytes(8)
        client.start(["sh", "-c", "stty size; exit 3"])
        assert client.status().code == 3
        assert client.output == b"30 100\r\n"


def test_start_can_be_sent_before_welcome_has_come(connect: Connects) -> None:
    client = connect()
    client.start(["echo", "early"])
    assert client.status().code == 0
    assert client.output == b"early\r\n"


def test_a_start_that_comes_byte_by_byte_is_a_start(connect: Connects) -> None:
    client = connect()
    request = frames(
        extension.START, extension.items([(extension.ARGUMENT, b"echo"), (extension.ARGUMENT, b"x" * 90)])
    )
    for index in range(len(request)):
        client.sock.sendall(request[index : index + 1])
    client.status()
    assert client.output == b"x" * 90 + b"\r\n"


def test_a_start_of_many_frames_is_a_start(connect: Connects) -> None:
    client = connect()
    words = [b"w" * 60_000] * 4
    client.start(["printf", "%s."], more=[(extension.ARGUMENT, word) for word in words])
    client.status()
    assert client.output == b"".join(word + b"." for word in words)


def test_a_start_that_is_too_long_ends_the_session(connect: Connects) -> None:
    client = connect()
    client.start(["true"], more=[(extension.OFFERED_ENVIRONMENT, bytes(60_000))] * 5)
    assert client.error().code == extension.LIMIT


def test_without_a_start_in_time_the_session_ends(connect: Connects) -> None:
    client = connect()
    refusal = client.error()
    assert (refusal.code, refusal.phase) == (extension.TIMEOUT, extension.GREETING)
    assert refusal.text == b"no START came in time"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames(extension.PING, b"x"), extension.PROTOCOL),
        (frames(extension.END_INPUT), extension.PROTOCOL),
        (frames(65), extension.PROTOCOL),
        (frames(extension.STDIN, bytes(4097)), extension.PROTOCOL),
        (frames(2), extension.REFUSED),
        (frames(10), extension.PROTOCOL),
        (frames(133), extension.UNSUPPORTED),
    ],
)
def test_what_may_not_come_before_start_ends_the_session(sent: bytes, code: int, connect: Connects) -> None:
    client = connect()
    client.sock.sendall(sent)
    assert client.error().code == code


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames(133), extension.UNSUPPORTED),
        (frames(extension.START), extension.PROTOCOL),
        (frames(extension.SIZE, b"123"), extension.PROTOCOL),
        (frames(extension.PING, bytes(33)), extension.PROTOCOL),
        (b"\x01\x01\x00" + bytes([extension.PING]) + b"x" + frames(extension.SIZE, bytes(8)), extension.PROTOCOL),
    ],
)
def test_a_violation_of_the_protocol_ends_the_session(sent: bytes, code: int, connect: Connects) -> None:
    client = connect()
    client.start(["sleep", "60"])
    client.read_until(extension.STARTED)
    client.sock.sendall(sent)
    refusal = client.error()
    assert (refusal.code, refusal.phase) == (code, extension.RUNNING)


def test_frames_that_may_be_ignored_are_ignored(connect: Connects) -> None:
    client = connect()
    client.start(["cat"])
    client.sock.sendall(frames(130, b"unknown" * 1000) + frames(99) + frames(110))
    client.type(b"known\n\x04")
    assert client.status().code == 0
    assert client.output.endswith(b"known\r\n")


def test_a_refusal_is_a_frame_and_never_output(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-raw", path, "--deny-user", str(os.getuid()))
    with ExtensionClient(path) as client:
        refusal = client.error()
        assert (refusal.code, client.welcome.capabilities, client.output) == (extension.REFUSED, 0, b"")
        assert refusal.text.startswith(b"refused: ")
        assert not refusal.text.endswith(b"\n")


def test_a_greeted_client_takes_a_seat(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path, "--max-sessions", "1")
    with ExtensionClient(path) as first:
        assert first.welcome.capabilities
        with ExtensionClient(path) as second:
            assert second.error().code == extension.REFUSED
    router.wait_for_log("end: client left")
    with ExtensionClient(path) as third:
        third.start(["true"])
        assert third.status().code == 0


def test_many_refused_clients_are_all_told_why(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-raw", path, "--deny-user", str(os.getuid()))
    name = pwd.getpwuid(os.getuid()).pw_name.encode()
    clients = [ExtensionClient(path) for _ in range(100)]  # more than may stay to read it
    told = {(error.code, error.text) for error in (client.error() for client in clients)}
    assert told == {(extension.REFUSED, b"refused: uid %d (%s) is not allowed to connect" % (os.getuid(), name))}
    for client in clients:
        client.sock.close()


def test_a_client_that_leaves_before_start_leaves_nothing(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    for half in (True, False):
        with ExtensionClient(path) as client:
            assert client.welcome
            client.send(extension.STDIN, b"kept")
            client.sock.sendall(b"\x01\x10\x00" + bytes([extension.START]) + bytes(10))
            if half:
                client.sock.shutdown(socket.SHUT_WR)
                client.read_to_end()
    assert len(router.wait_for_log("end: client left", 2)) == 2


def test_a_shared_terminal_serves_a_client_with_a_name_as_any_other(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--pty-socket", path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(extension.NAME + b"0123456789abcdef")
    sock.connect(path)
    client = Client(sock)
    client.read_until(PROMPT)
    sock.close()


def test_a_stop_ends_greetings_at_once(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with ExtensionClient(path) as client:
        assert client.welcome
        assert router.end() == 0
        refusal = client.error()
        assert (refusal.code, refusal.text) == (extension.STOPPED, b"the router was stopped")


def test_a_router_that_drains_takes_the_start_of_those_it_has_greeted(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with ExtensionClient(path) as client:
        assert client.welcome
        router.kill_supervisor()
        router.wait_for_log("no longer accepting")
        client.start(["sh", "-c", "exit 4"])
        assert client.status().code == 4


def test_an_error_of_another_length_is_read(connect: Connects) -> None:
    client = connect()
    client.start(["/" + "n" * 5000])
    refusal = client.error()
    assert isinstance(refusal, Refusal)
    assert refusal.code == extension.EXECUTE


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.0 400 Bad Request\r\n"),
        (bytes([22, 3, 1, 2, 0, 1]) + bytes(507), b"fastpty: this port does not speak TLS: connect without it\r\n"),
    ],
)
def test_another_protocol_over_tcp_gets_a_line_that_says_so(sent: bytes, answer: bytes, start_router: Starts) -> None:
    router = start_router("--fpty-router", "127.0.0.1:0")
    port = int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(sent)
        received = b"".join(iter(lambda: sock.recv(4096), b""))
    welcome = 34  # bytes
    assert answer in received[welcome:]
    assert bytes([extension.ERROR]) not in received[welcome:]
