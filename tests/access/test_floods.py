"""However often clients are refused, the log gets few lines, and the number of refusals."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastpty.access import refusals
from tests.access.test_refusals import connect_together
from tests.support.first_steps import limit_files
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, read_to_end

FLOOD = 100


def expect_all_counted(router: Router, line: str, kind: str, count: int) -> None:
    """Waits until the log accounts for `count` refusals, by lines of their own and by counts."""

    def counts() -> tuple[int, int]:
        return len(re.findall(line, router.log)), sum(map(int, re.findall(rf"refused (\d+) more {kind}", router.log)))

    eventually(lambda: sum(counts()) >= count, "the log accounts for all, without a new client")
    own, counted = counts()
    assert own + counted == count
    assert own < count, "more than ten come within a second, on a slow machine too"


def test_a_flood_of_refused_statistics_clients_leaves_few_log_lines_and_their_number(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/stats"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, "--deny-user", "root", sockets=2)
    for _ in range(FLOOD):
        with Client(path) as client:
            assert client.read_to_end() == b"fastpty: refused: uid 0 (root) is not allowed to connect\r\n"
    expect_all_counted(
        router, "statistics: refused pid", "clients of uid 0 on .*/stats .stats.: .*is not allowed to", FLOOD
    )


def test_a_flood_of_clients_without_a_free_descriptor_leaves_few_log_lines_and_their_number(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router(
        path, "--forkptyrouter-command", "printf IN; exec cat", "--listen", "300",
        first=limit_files(40),
    )  # fmt: skip
    with ExitStack() as stack:
        clients = connect_together(router, path, stack, 40 + FLOOD)
        said = [client.socket.recv(7) for client in clients]
        refused = said.count(b"fastpty")
        assert refused >= FLOOD
        expect_all_counted(
            router, "a client was not accepted: Too many|refused pid .* Too many",
            "clients.*: Too many open files", refused,
        )  # fmt: skip


def test_a_flood_of_clients_that_do_not_speak_tls_leaves_few_log_lines_and_their_number(
    tls_router: Callable[..., tuple[Router, int]],
) -> None:
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
    expect_all_counted(router, "TLS client .*: the handshake failed", "TLS clients: the handshake failed", FLOOD)


def test_a_flood_of_certificates_with_other_names_leaves_few_log_lines_and_their_number(
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
    expect_all_counted(
        router, "TLS client .*: refused", "TLS clients: no name of its certificate is in allow-tls-name", FLOOD // 2
    )


def test_refusals_of_very_many_kinds_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One user can connect as many users, with subordinate ids."""
    lines: list[str] = []
    monkeypatch.setattr(refusals.logger, "handle", lambda record: lines.append(record.message()))
    log = refusals.Refusals()
    logged = sum(log.tell(f"line {number}", f"clients of uid {number}") for number in range(10_000))
    assert logged <= refusals._KINDS_MOST + refusals._LOGGED_MOST
    log.sum_up(at_once=True)
    assert lines[-1] == f"refused {10_000 - logged} more {refusals._OTHERS}"
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
