"""However often clients are refused, the log gets few lines, and the number of refusals."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastpty.access import refusals
from tests.access.test_refusals import come_at_once
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, read_to_end

FLOOD = 100


def all_told(router: Router, line: str, kind: str, count: int) -> None:
    """Waits until the log accounts for `count` refusals, by lines of their own and by counts."""

    def told() -> tuple[int, int]:
        return len(re.findall(line, router.log)), sum(map(int, re.findall(rf"refused (\d+) more {kind}", router.log)))

    eventually(lambda: sum(told()) >= count, "the log accounts for all, without a new client")
    own, counted = told()
    assert own + counted == count
    assert own < count, "more than ten come within a second, on a slow machine too"


def test_refusals_at_the_statistics(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path = f"{directory}/stats"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, "--deny-user", "root", sockets=2)
    for _ in range(FLOOD):
        with Client(path) as client:
            assert client.read_to_end() == b"fastpty: refused: uid 0 (root) is not allowed to connect\r\n"
    all_told(router, "statistics: refused pid", "clients of uid 0 on .*/stats .stats.: .*is not allowed to", FLOOD)


def test_connections_that_find_no_free_descriptor(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    router = start_router(
        path, "--forkptyrouter-command", "printf IN; exec cat", "--listen", "300",
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)),
    )  # fmt: skip
    with ExitStack() as stack:
        clients = come_at_once(router, path, stack, 40 + FLOOD)
        said = [client.socket.recv(7) for client in clients]
        refused = said.count(b"fastpty")
        assert refused >= FLOOD
        all_told(
            router, "a client was not accepted: Too many|refused pid .* Too many",
            "clients.*: Too many open files", refused,
        )  # fmt: skip


def test_clients_that_do_not_speak_tls(tls_router: Callable[..., tuple[Router, int]]) -> None:
    router, port = tls_router()
    for _ in range(FLOOD):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                while client.recv(4096):
                    pass
            except ConnectionError:
                pass
    all_told(router, "TLS client .*: the handshake failed", "TLS clients: the handshake failed", FLOOD)


def test_certificates_whose_names_are_not_allowed(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = tls_router("--allow-tls-name", "bob")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.give("alice"))
    for _ in range(FLOOD // 2):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert read_to_end(connection).startswith(b"fastpty: refused")
    all_told(
        router, "TLS client .*: refused", "TLS clients: no name of its certificate is in allow-tls-name", FLOOD // 2
    )


def test_many_kinds_of_refusals_count_as_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One user can connect as many users, with subordinate ids."""
    monkeypatch.setattr(refusals.logger, "propagate", True)
    log = refusals.Refusals()
    told = sum(log.tell(f"line {number}", f"clients of uid {number}") for number in range(10_000))
    assert told <= refusals._KINDS_MOST + refusals._LOGGED_MOST
    log.sum_up(at_once=True)
    assert caplog.messages[-1] == f"refused {10_000 - told} more {refusals._OTHERS}"
    assert log.patience() is None


def test_a_flood_at_the_statistics_does_not_hold_up_a_stop(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/stats"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, "--listen", "300", sockets=2)
    os.kill(router.process.pid, signal.SIGSTOP)
    with ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(Client(path))
        router.process.send_signal(signal.SIGTERM)
        os.kill(router.process.pid, signal.SIGCONT)
        assert router.end() == 0
