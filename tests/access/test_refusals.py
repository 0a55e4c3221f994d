"""However often a client is refused, it takes no descriptors from others and does not fill the disk."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.accounts import talk_as
from tests.support.first_steps import limit_files
from tests.support.harness import Client, Router, eventually
from tests.support.peers import need_root

BOB = 1  # daemon, which has an account
FILES = 120
REFUSAL = b"fastpty: refused: uid 0 (root) is not allowed to connect\r\n"


@pytest.fixture
def path(directory: Path) -> str:
    need_root()
    return f"{directory}/s"


@pytest.fixture
def router(start_router: Callable[..., Router], path: str) -> Router:
    """A router that refuses root, the user of these tests, and has few descriptors."""
    return start_router(
        "--chmod-socket=666", "--deny-user", "root", "--listen", "200", "--forkptyrouter-command", "echo IN", path,
        first=limit_files(FILES),
    )  # fmt: skip


def connect_together(router: Router, path: str, stack: ExitStack, count: int) -> list[Client]:
    """This many clients, each of which has sent something before the router accepts the first."""
    os.kill(router.pid, signal.SIGSTOP)
    clients = [stack.enter_context(Client(path)) for _ in range(count)]
    for client in clients:
        client.send(b"x" * 100)
    os.kill(router.pid, signal.SIGCONT)
    return clients


def test_a_client_refused_again_and_again_takes_no_descriptor_from_others(router: Router, path: str) -> None:
    with ExitStack() as stack:
        for client in connect_together(router, path, stack, FILES + 50):
            assert client.read_to_end() == REFUSAL
        assert talk_as(path, BOB, BOB) == "IN\r\n"


def test_after_a_flood_a_refused_client_reads_why_even_if_it_had_sent_something(router: Router, path: str) -> None:
    """A connection closed with unread bytes is reset, and the client would not read why."""
    with ExitStack() as stack:
        for client in connect_together(router, path, stack, FILES):
            assert client.read_to_end() == REFUSAL

    def may_speak() -> bool:
        with Client(path) as client, Client(path) as later:
            assert client.read_to_end() == REFUSAL
            # Then all that the router does at once is done with the first.
            assert later.read_to_end() == REFUSAL
            try:
                client.send(b"x")
            except BrokenPipeError:
                return False
            return True

    eventually(may_speak, "a refused client may stay")


@pytest.mark.parametrize("ends", [False, True])
def test_the_log_has_few_lines_about_a_flood_of_refusals_and_their_number(
    router: Router, path: str, ends: bool
) -> None:
    with ExitStack() as stack:
        for client in connect_together(router, path, stack, 100):
            assert client.read_to_end() == REFUSAL
    if not ends:
        eventually(lambda: sum(refusals(router)) == 100, "the log accounts for all, without a new client")
    router.end()
    logged, more = refusals(router)
    assert logged + more == 100
    assert logged < 100
    assert re.search(
        rf"session 1: refused pid {os.getpid()} uid 0 gid 0 on {path} \(raw\): uid 0 \(root\) is not", router.log
    )
    assert "end: " not in router.log


def refusals(router: Router) -> tuple[int, int]:
    """The number of clients with a line of their own, and of those that the log counts."""
    more = re.findall(
        r"refused (\d+) more clients of uid 0 on .*/s \(raw\): uid 0 \(root\) is not allowed to connect", router.log
    )
    return len(re.findall("session .* refused pid", router.log)), sum(map(int, more))
