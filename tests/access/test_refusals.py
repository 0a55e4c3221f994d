"""Who is refused can come as often as it likes: that costs the others neither descriptors nor the disk."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.accounts import talk_as
from tests.support.harness import Client, Router, eventually
from tests.support.peers import need_root

BOB = 1  # daemon, which has an account
FILES = 120
REFUSAL = b"fastpty: refused: uid 0 may not connect here\r\n"


@pytest.fixture
def path(directory: Path) -> str:
    need_root()
    return f"{directory}/s"


@pytest.fixture
def router(start_router: Callable[..., Router], path: str) -> Router:
    """One that refuses root, which the tests are, and has few descriptors."""
    return start_router(
        "--chmod-socket=666", "--deny-user", "root", "--listen", "200", "--forkptyrouter-command", "echo IN", path,
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
    )  # fmt: skip


def come_at_once(router: Router, path: str, stack: ExitStack, count: int) -> list[Client]:
    """So many clients, each with something said, before the router looks at the first."""
    os.kill(router.pid, signal.SIGSTOP)
    clients = [stack.enter_context(Client(path)) for _ in range(count)]
    for client in clients:
        client.send(b"x" * 100)
    os.kill(router.pid, signal.SIGCONT)
    return clients


def test_who_is_refused_again_and_again_takes_no_descriptor_from_others(router: Router, path: str) -> None:
    with ExitStack() as stack:
        for client in come_at_once(router, path, stack, FILES + 50):
            assert client.read_to_end() == REFUSAL
        assert talk_as(path, BOB, BOB) == "IN\r\n"


def test_after_a_flood_who_is_refused_may_say_something_again(router: Router, path: str) -> None:
    """Whose connection is closed at once finds it broken, instead of reading why."""
    with ExitStack() as stack:
        for client in come_at_once(router, path, stack, FILES):
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

    eventually(may_speak, "there is a place to stay in for who is refused")


@pytest.mark.parametrize("ends", [False, True])
def test_the_log_tells_of_a_flood_of_refusals_in_few_lines_and_how_many_there_were(
    router: Router, path: str, ends: bool
) -> None:
    with ExitStack() as stack:
        for client in come_at_once(router, path, stack, 100):
            assert client.read_to_end() == REFUSAL
    if not ends:
        eventually(lambda: sum(refusals(router)) == 100, "all are told of, though nobody comes any more")
    router.end()
    told, more = refusals(router)
    assert told + more == 100
    assert told < 100
    assert re.search(
        rf"session 1: refused pid {os.getpid()} uid 0 gid 0 on {path} \(raw\): refused: uid 0 may", router.log
    )
    assert len(re.findall("session .* end: exit, no process", router.log)) == told


def refusals(router: Router) -> tuple[int, int]:
    """How many clients have a line of their own, and how many others the log tells of."""
    more = re.findall(
        r"refused (\d+) more clients of uid 0 on .*/s \(raw\): refused: uid 0 may not connect", router.log
    )
    return len(re.findall("session .* refused pid", router.log)), sum(map(int, more))
