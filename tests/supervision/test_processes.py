"""Several workers on the same sockets."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import Client, Router, children, eventually, process_gone


@pytest.fixture
def router(start_router: Callable[..., Router], directory: Path) -> Router:
    started = start_router(f"{directory}/s", "--forkptyrouter-processes", "3", "--forkptyrouter-command", "/bin/cat")
    started.wait_for_log("ready$", 3)
    return started


def echo(client: Client, text: bytes = b"hello\n") -> None:
    client.send(text)
    line = text.strip() + b"\r\n"
    client.read_until(line, line)


def sessions(router: Router) -> dict[int, list[int]]:
    """The programs of each worker."""
    return {worker: children(worker) for worker in router.workers}


def test_sessions_are_spread_over_the_workers(router: Router, directory: Path) -> None:
    """Even sequential connections, for which epoll would always wake the same worker."""
    clients = []
    for _ in range(12):
        clients.append(Client(f"{directory}/s"))
        echo(clients[-1])
    # Not exactly four each: a worker may still be busy with the last start.
    assert min(len(programs) for programs in sessions(router).values()) >= 2
    for client in clients:
        client.socket.close()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (40, "signal 40")])
def test_a_killed_worker_is_replaced_and_the_others_go_on(
    router: Router, directory: Path, number: int, name: str
) -> None:
    clients = [Client(f"{directory}/s") for _ in range(3)]
    for client in clients:
        echo(client)
    victim, programs = next((worker, programs) for worker, programs in sessions(router).items() if programs)
    os.kill(victim, number)
    router.wait_for_log(f"worker {victim} has ended \\(killed by {name}\\)")
    eventually(lambda: len(router.workers) == 3, "there are three workers again")
    eventually(lambda: all(process_gone(pid) for pid in programs), "its sessions' programs are hung up")
    alive = 0
    for client in clients:
        try:
            echo(client, b"again\n")
            alive += 1
        except (AssertionError, ConnectionError):
            continue
    assert alive == 3 - len(programs)
    for client in clients:
        client.socket.close()
    with Client(f"{directory}/s") as client:
        echo(client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_all_workers_and_their_sessions(router: Router, directory: Path, number: int) -> None:
    clients = [Client(f"{directory}/s") for _ in range(6)]
    for client in clients:
        echo(client)
    everybody = [*sessions(router), *(pid for programs in sessions(router).values() for pid in programs)]
    assert len(everybody) == 9
    assert router.end(number) == 0
    assert all(process_gone(pid) for pid in everybody)
    assert not Path(f"{directory}/s").exists()
    assert len(router.wait_for_log("session .* end: exit, killed by SIGHUP", 6)) == 6


def test_workers_keep_their_sessions_when_their_supervisor_is_killed(
    start_router: Callable[..., Router], router: Router, directory: Path
) -> None:
    """They stop accepting, so that a new router can start at once on the same address."""
    with Client(f"{directory}/s") as client:
        echo(client)
        workers = router.workers
        router.kill_supervisor()
        start_router(f"{directory}/s", "--forkptyrouter-command", "echo new; exec cat")
        echo(client)
        with Client(f"{directory}/s") as another:
            another.read_until(b"new\r\n")
        echo(client)
        eventually(lambda: [process_gone(pid) for pid in workers].count(False) == 1, "workers without session end")
    eventually(lambda: all(process_gone(pid) for pid in workers), "the worker of the session ends with it")
