"""TCP connections detect a peer that disappears, at both ends."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from fastpty.net import address, tcp
from tests.support.harness import Client, Router, children, descriptors
from tests.support.peers import need_root, need_tcp_option
from tests.support.tls_harness import Authority, connected

SYS_PIDFD_GETFD = 438


def copies(pid: int, peer: tuple[str, int]) -> list[socket.socket]:
    """Copies of the sockets of a process that are connected to `peer`."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    pidfd = os.pidfd_open(pid)
    for fd, what in descriptors(pid).items():
        copy = libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0) if what.startswith("socket:") else -1
        if copy >= 0:
            found.append(socket.socket(fileno=copy))
            with suppress(OSError):
                if found[-1].family == socket.AF_INET and found[-1].getpeername() == peer:
                    continue
            found.pop().close()
    os.close(pidfd)
    return found


def detects_a_vanished_peer(connection: socket.socket) -> bool:
    """True if silence of about a minute ends it, even while sent data is unacknowledged.

    But not with TCP_USER_TIMEOUT: that would end one, too, whose other side is there and does not read.
    """
    asks = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    resend_most_ms = connection.getsockopt(socket.IPPROTO_TCP, tcp.TCP_RTO_MAX_MS)
    gives_up_on_readers = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    return bool(asks) and resend_most_ms == tcp.RESEND_MOST_MS and not gives_up_on_readers


@pytest.fixture(autouse=True)
def need_rto_max() -> None:
    need_tcp_option(tcp.TCP_RTO_MAX_MS, "Linux 6.15")


def test_a_client_that_disappears_during_output_is_detected(start_router: Callable[..., Router]) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", "echo READY; exec cat")
    port = int(router.wait_for_log(r"listening on 127.0.0.1:(\d+)")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.read_until(b"READY")
        (ours,) = copies(router.pid, client.socket.getsockname())
        with closing(ours):
            assert detects_a_vanished_peer(ours)


def test_a_tls_client_that_disappears_is_detected(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    need_root()  # nobody else may look at what the TLS process holds
    router, port = tls_router("--forkptyrouter-command", "echo READY; exec cat")
    with connected(authority, port) as client:
        assert client.recv(5) == b"READY"
        tree = [router.process.pid]
        for pid in tree:
            tree += children(pid)
        (ours,) = [copy for pid in tree for copy in copies(pid, client.getsockname())]
        with closing(ours):
            assert detects_a_vanished_peer(ours)


def test_the_client_detects_a_router_that_disappears() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        address.connect(address.parse(f"127.0.0.1:{server.getsockname()[1]}")) as client,
    ):
        assert detects_a_vanished_peer(client)
