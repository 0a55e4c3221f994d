"""Addresses that several routers use, at the same time or one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.harness import Client, Router, eventually
from tests.support.reloads import ECHO, echoes, greeted


def test_a_shared_socket_is_meant_by_its_number(start_router: Callable[..., Router], directory: Path) -> None:
    first, second = f"{directory}/first", f"{directory}/second"
    start_router(
        "--shared-socket", first, "--shared-socket", second, "--forkpty-router", "=1", "--forkptyrouter-command",
        ECHO.format("hi"),
    )  # fmt: skip
    with greeted(second, "hi") as client:
        echoes(client)


def test_two_routers_share_a_port_with_reuse_port(start_router: Callable[..., Router], directory: Path) -> None:
    arguments = ("--reuse-port", "--forkptyrouter-command")
    first = start_router("127.0.0.1:0", *arguments, "echo first")
    port = int(first.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    start_router(f"127.0.0.1:{port}", *arguments, "echo second")
    answers = set()

    def both() -> bool:
        with Client(("127.0.0.1", port)) as client:
            answers.add(client.read_to_end())
        return len(answers) == 2

    eventually(both, "both answer")


def test_a_tcp_port_is_free_for_a_new_router_when_its_supervisor_is_killed(
    start_router: Callable[..., Router],
) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", ECHO.format("old"))
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client(("127.0.0.1", port)) as old:
        old.read_until(b"old\r\n")
        router.kill_supervisor()
        start_router(f"127.0.0.1:{port}", "--forkptyrouter-command", ECHO.format("new"))
        with Client(("127.0.0.1", port)) as new:
            new.read_until(b"new\r\n")
            echoes(old)


@contextmanager
def in_group_of(leader: int) -> Iterator[int]:
    """Keeps a child of this process in the group: the kernel would continue a stopped group that is orphaned."""
    with subprocess.Popen(["sleep", "1000"], process_group=leader) as member:
        try:
            yield leader
        finally:
            member.kill()


SAYS_THAT_AN_ADDRESS_IS_IN_USE = """
import sys
from pathlib import Path
from fastpty import router
from fastpty.listening import bind

class InUse(bind.AddressInUseError):
    def __init__(self, text):
        super().__init__(text)
        Path({!r}).touch()

bind.AddressInUseError = InUse
sys.exit(router.main())
"""


def test_a_new_router_waits_until_the_workers_of_a_killed_one_close_their_sockets(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A stopped worker cannot close its sockets."""
    path = f"{directory}/s"
    router = start_router(path, "--forkptyrouter-command", ECHO.format("old"))
    with greeted(path, "old") as old, in_group_of(router.pid) as worker:
        os.kill(worker, signal.SIGSTOP)
        router.kill_supervisor()
        found = directory / "found"

        def go_on() -> None:
            eventually(found.exists, "the new router has found that somebody listens")
            os.kill(worker, signal.SIGCONT)

        going_on = threading.Thread(target=go_on)
        going_on.start()
        program = ("-c", SAYS_THAT_AN_ADDRESS_IS_IN_USE.format(str(found)))
        start_router(path, "--forkptyrouter-command", ECHO.format("new"), program=program)
        with greeted(path, "new"):
            echoes(old)
        going_on.join()
