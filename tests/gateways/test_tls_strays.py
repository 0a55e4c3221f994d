"""Clients that do not speak TLS at a TLS port: one line, and a close."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

import pytest

from tests import ROOT
from tests.gateways.test_tls_attacks import with_timeout
from tests.support.client_harness import CLIENT
from tests.support.harness import PATIENCE_SECONDS, Router, eventually, frame
from tests.support.peers import need
from tests.support.tls_harness import Authority

LINE = b"fastpty: this port speaks TLS: connect with --tls-cert, --tls-key and --tls-ca\r\n"


def read_to_end(client: socket.socket) -> bytes:
    client.settimeout(PATIENCE_SECONDS)
    data = b""
    while some := client.recv(65536):
        data += some
    return data


@pytest.mark.parametrize(
    "sent",
    [b"ls\n", frame(100, 24) + frame(101, 80), frame(0, payload=b"id\n" * 1000), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["raw", "window size", "uwsgi", "HTTP"],
)
def test_a_plain_client_on_a_tls_port_gets_a_line_and_a_close(
    tls_router: Callable[..., tuple[Router, int]], sent: bytes
) -> None:
    router, port = tls_router()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sent)
        assert read_to_end(client) == LINE
    router.wait_for_log(r"TLS client 127.0.0.1 port \d+: the handshake failed: it does not speak TLS")
    assert "session 1" not in router.log


def test_a_plain_client_that_waits_for_a_prompt_of_a_tls_port_gets_a_line_in_time(
    tls_router: Callable[..., tuple[Router, int]],
) -> None:
    _, port = tls_router(program=with_timeout("_HANDSHAKE_SECONDS", 0.5))
    command = [*CLIENT, "connect", f"localhost:{port}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.read() == b""
        assert client.stderr.read() == LINE.replace(b"\r", b"")
        assert client.wait(60) == 255


def test_plain_clients_that_stay_hold_no_place_of_tls_clients(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    options = ("--max-startups", "1", "--forkptyrouter-command", "echo IN")
    _, port = tls_router(*options)
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"ls\n")
        certificate, key = authority.give("alice")
        s_client = [need("openssl"), "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-cert", certificate]
        s_client += ["-key", key, "-CAfile", str(authority.certificate)]
        ended: list[bytes] = []

        def is_in() -> bool:
            done = subprocess.run(s_client, input=b"", capture_output=True, timeout=60)
            ended.append(done.stdout)
            return done.stdout == b"IN\r\n"

        eventually(is_in, "openssl's client is served")
