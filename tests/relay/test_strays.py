"""TCP clients that speak TLS to a plain port, or close while the program neither reads nor writes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.harness import RAW_CAT, Client, Router

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
