"""TLS clients that try to hold resources for too long."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import Router, eventually
from tests.support.key_updates import KeyUpdateClient
from tests.support.tls_harness import Authority, client_context, connected, proxy_of, read_to_end, status


def with_timeout(name: str, seconds: float) -> list[str]:
    """The program of a router with the constant `name` of fastpty.net.tls, a timeout, set to `seconds`."""
    return [
        "-c",
        f"import sys; from fastpty import router; from fastpty.net import tls; tls.{name} = {seconds}; "
        "sys.exit(router.main())",
    ]


def shrink_buffers(end: socket.socket) -> None:
    """Makes the kernel hold little data of a connection, or of each connection that a listening socket accepts.

    Loopback's usual segments are larger than these buffers, and TCP would stall for seconds. So they become smaller.
    """
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)


@contextmanager
def connected_with_small_buffers(authority: Authority, port: int) -> Iterator[ssl.SSLSocket]:
    """A connection with small buffers from the start: a buffer that is shrunk later stalls until it is almost empty."""
    context = client_context(authority, authority.give("alice"))
    with socket.socket() as plain:
        shrink_buffers(plain)
        plain.connect(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            yield connection


@pytest.fixture
def start_with_small_buffers(
    start_router: Callable[..., Router], authority: Authority
) -> Iterator[Callable[..., tuple[Router, int]]]:
    """Starts a router with TLS and small socket buffers; returns it and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        shrink_buffers(server)
        address = f"fd://{server.fileno()}"

        def start(*arguments: str, **keywords: object) -> tuple[Router, int]:
            options = (address, *authority.options("server"), *arguments)
            return start_router(*options, pass_fds=[server.fileno()], **keywords), server.getsockname()[1]

        yield start


SLOW = 100_000  # bytes a second: several seconds for what the router holds
MUCH = 2 << 20  # several times of what the buffers on the way hold

# A ClientHello of 64 KiB, each byte in a record of its own: a handshake that goes on for as long as one likes.
LONG_HELLO = b"".join(b"\x16\x03\x01\x00\x01" + bytes([byte]) for byte in b"\x01\x01\x00\x00\x03\x03" + bytes(65534))


def test_a_slow_handshake_times_out_and_the_next_client_is_served(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    options = ("--max-startups", "1", "--forkptyrouter-command", "echo IN")
    router, port = tls_router(*options, program=with_timeout("_HANDSHAKE_SECONDS", 3))
    command = [*CLIENT, "connect", *authority.options("alice"), f"localhost:{port}"]
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.sendall(LONG_HELLO[:1])
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as polite:
            with suppress(ConnectionError):
                for byte in LONG_HELLO[1:]:
                    slow.send(bytes([byte]))
                    if polite.poll() is not None:
                        break
                    select.select([], [], [], 0.002)
            assert polite.communicate(timeout=60)[0] == b"IN\r\n"
    router.wait_for_log(r"TLS client 127.0.0.1 port \d+: the handshake failed: timed out")


def test_a_refused_client_that_goes_on_sending_is_cut_off(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = tls_router("--allow-tls-name", "bob")
    with connected(authority, port, "alice") as connection:
        assert read_to_end(connection).startswith(b"fastpty: refused")

        def cut_off() -> bool:
            try:
                socket.socket.send(connection, b"x")
            except ConnectionError:
                return True
            return False

        eventually(cut_off, "the connection is cut off")


def test_a_client_that_requests_keys_without_reading_waits_and_loses_nothing(
    start_with_small_buffers: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = start_with_small_buffers("--session-buffer", "4K", "--forkptyrouter-command", "exec cat")
    with socket.socket() as network:
        shrink_buffers(network)
        network.connect(("127.0.0.1", port))
        asker = KeyUpdateClient(authority, network)
        assert asker.ask_until_refused(MUCH) < MUCH
        asker.converse(b"still here\n", until=b"still here\r\nstill here\r\n")


def threads(router: Router) -> int:
    """The threads of the proxy: two, and one for each connection."""
    return int(status(proxy_of(router)).partition("Threads:")[2].split()[0])


ENDLESS = ("--session-lifetime", "1", "--forkptyrouter-command", "exec yes")


def test_a_client_that_never_reads_is_dropped_after_its_session(
    start_with_small_buffers: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = start_with_small_buffers(*ENDLESS, program=with_timeout("_LEFTOVER_SECONDS", 1))
    with ExitStack() as unread:
        for _ in range(3):
            unread.enter_context(connected(authority, port))
        router.wait_for_log("session .: end: lifetime over", 3)
        eventually(lambda: threads(router) == 2, "the connections have ended")
        router.wait_for_log("TLS client .*: the session has ended, and the peer did not read the rest in", 3)


def test_a_slow_client_gets_the_rest_after_its_session(
    start_with_small_buffers: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = start_with_small_buffers(*ENDLESS, program=with_timeout("_LEFTOVER_SECONDS", 2))
    with connected_with_small_buffers(authority, port) as connection:
        connection.suppress_ragged_eofs = False  # the end must be one of TLS's
        router.wait_for_log("session 1: end: lifetime over")
        while data := connection.recv(16384):
            select.select([], [], [], len(data) / SLOW)


def test_clients_over_the_limit_that_never_read_do_not_add_up(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = tls_router("--max-sessions", "1", "--forkptyrouter-command", "printf R; exec cat")
    with connected(authority, port) as served, ExitStack() as unread:
        assert served.recv(1) == b"R"
        for _ in range(5):
            unread.enter_context(connected(authority, port))
        router.wait_for_log("refused .* the limit of 1 session is reached", 5)
        eventually(lambda: threads(router) == 3, "their connections have ended")
        served.sendall(b"still here\n")
        assert served.recv(65536)
