"""Bulk output and keystrokes over TCP with TLS: the cost of the TLS process, compared with socat's OPENSSL-LISTEN."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.compare import MIB, SIZE_MIB, Figure, Target, compare, percentiles
from bench.field import Field
from bench.peers import HERE, PROGRAM, Peer, Server
from tests.support.tls_harness import Authority

TLS_MIB = SIZE_MIB // 2
KEYSTROKES = 500


class TcpPeer(Peer):
    """A contestant that listens on a TCP port, with TLS or without."""

    def __init__(self, name: str, argv: list[str], port: int, folder: Path, context: ssl.SSLContext | None):
        self.name = name
        self._context = context
        self._port = port
        self.server = Server(argv, [], folder / f"{name}.log", cwd=HERE.parent)
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        while not re.search(rf":{self._port:04X} \S+ 0A ", Path("/proc/net/tcp").read_text()):
            time.sleep(0.02)

    def stream(self, order: str) -> socket.socket:
        """Opens a connection and waits until its program runs."""
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_hostname="localhost")
        line = b""
        while not line.endswith(b"\n"):
            line += connection.recv(1)
        connection.sendall(order.encode() + b"\n")
        return connection

    def end(self) -> None:
        self.server.end()


def output(peer: TcpPeer) -> Mapping[str, float]:
    size = TLS_MIB * MIB
    data = bytearray(65536)
    with peer.stream(f"write {size}") as connection:
        start, left = time.perf_counter(), size
        while left > 0:
            got = connection.recv_into(data)
            assert got > 0
            left -= got
        return {"rate": TLS_MIB / (time.perf_counter() - start)}


def keystrokes(peer: TcpPeer) -> Mapping[str, float]:
    times = []
    with peer.stream("echo") as connection:
        for _ in range(KEYSTROKES):
            start_ns = time.perf_counter_ns()
            connection.sendall(b"k")
            connection.recv(1)
            times.append(time.perf_counter_ns() - start_ns)
            time.sleep(0.0005)
    return percentiles(times)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    certificate, key = authority.give("server")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.give("alice"))
    ports = [free_port() for _ in range(3)]
    router = [sys.executable, "-m", "fastpty.router", "--forkptyrouter-command", PROGRAM]
    files = f"cert={certificate},key={key},cafile={authority.certificate}"
    contestants = [
        ("fastpty over TLS", [*router, f"127.0.0.1:{ports[0]}", *authority.options("server")], context),
        ("fastpty over TCP", [*router, f"127.0.0.1:{ports[1]}"], None),
        (
            "socat over TLS",
            ["socat", "-b65536", f"OPENSSL-LISTEN:{ports[2]},fork,reuseaddr,nodelay,{files}",
             f"EXEC:{PROGRAM},pty,setsid,ctty,stderr"],
            context,
        ),
    ]  # fmt: skip
    field = Field(
        TcpPeer(name, argv, port, folder, kind) for (name, argv, kind), port in zip(contestants, ports, strict=True)
    )
    yield field
    field.end()


def test_output(benchmark: Any, secured: Field) -> None:
    figure = Figure("rate", "bulk output, TLS", "MiB/s", [Target("fastpty over TLS", ">=", 1.0, "socat over TLS")])
    names = ["fastpty over TLS", "fastpty over TCP", "socat over TLS"]
    compare(benchmark, secured, names, output, [figure])  # type: ignore[arg-type]


def test_keystrokes(benchmark: Any, secured: Field) -> None:
    figure = Figure(
        "p50", "keystroke echo, TLS, p50", "µs", [Target("fastpty over TLS", "<=", 1.0, "socat over TLS")]
    )
    names = ["fastpty over TLS", "fastpty over TCP", "socat over TLS"]
    compare(benchmark, secured, names, keystrokes, [figure])  # type: ignore[arg-type]
