"""Workers only while they are wanted (cheap, idle), workers that are stuck (harakiri), and routers at rest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import Client, Router, eventually, state
from tests.support.peers import preload
from tests.support.reloads import ECHO, STUCK_ACCEPT, echoes, greeted
from tests.support.tracing import traced


def test_a_cheap_router_starts_no_worker_until_the_first_connection(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-cheap", "--forkptyrouter-command", ECHO.format("hi"))
    assert router.workers == []
    clients = [greeted(f"{directory}/s", "hi") for _ in range(3)]
    assert len(router.workers) == 1
    for client in clients:
        client.socket.close()


def test_an_idle_router_ends_its_workers_and_starts_them_again(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s",
        "--idle",
        "0.3",
        "--forkptyrouter-workers",
        "2",
        "--forkptyrouter-command",
        ECHO.format("hi"),
    )
    for count in (1, 2, 3):
        with greeted(f"{directory}/s", "hi") as client:
            asleep = len([line for line in router.lines if "until a client connects" in line])
            select_nothing(1.5)
            echoes(client)
            assert len([line for line in router.lines if "until a client connects" in line]) == asleep
        router.wait_for_log("no worker runs until a client connects", count)
        eventually(lambda: router.workers == [], "no worker is left")


def select_nothing(seconds: float) -> None:
    """Waits, to show that something does not happen meanwhile."""
    signal.sigtimedwait([], seconds)


def test_a_worker_stuck_in_one_turn_is_killed_and_replaced(
    start_router: Callable[..., Router], directory: Path
) -> None:
    stuck = directory / "stuck"
    shim = preload(directory, STUCK_ACCEPT, f'STUCK="{stuck}"')
    router = start_router(
        f"{directory}/s", "--forkptyrouter-harakiri", "1", "--forkptyrouter-command", ECHO.format("hi"), env=shim
    )
    with greeted(f"{directory}/s", "hi") as client:
        select_nothing(1.5)
        echoes(client)  # a worker that waits is not stuck
        worker = router.pid
        stuck.touch()
        with Client(f"{directory}/s") as another:
            router.wait_for_log(f"worker {worker} has been stuck for 1 s: killed")
            stuck.unlink()
            router.wait_for_log(f"worker {worker} has ended .killed by SIGKILL.; another one starts")
            client.read_to_end()
            another.socket.close()
    with greeted(f"{directory}/s", "hi"):
        pass


def test_a_router_that_was_stopped_and_continued_goes_on(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Its workers count as neither stuck nor idle."""
    router = start_router(
        f"{directory}/s", "--forkptyrouter-harakiri=1", "--forkptyrouter-command", ECHO.format("hi")
    )
    with greeted(f"{directory}/s", "hi") as client:
        worker = router.pid
        everybody = [router.process.pid, worker]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: all(state(pid) == "T" for pid in everybody), "all are stopped")
        client.send(b"sent meanwhile\n")
        select_nothing(1.5)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        client.read_until(b"sent meanwhile\r\n")
        select_nothing(1.5)
        echoes(client)
        assert router.workers == [worker]


def test_the_processes_of_a_router_without_work_sleep(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    everybody = [router.process.pid, router.pid]
    eventually(lambda: all(state(pid) == "S" for pid in everybody), "all rest")
    before = [switches(pid) for pid in everybody]
    select_nothing(1.0)
    assert [switches(pid) for pid in everybody] == before


def switches(pid: int) -> list[str]:
    """The voluntary context switches of a process."""
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("voluntary")]


def test_events_bounds_what_one_turn_takes_and_nothing_is_lost(
    start_router: Callable[..., Router], directory: Path
) -> None:
    events = ("--forkptyrouter-events", "3")
    router = start_router(f"{directory}/s", *events, "--forkptyrouter-command", ECHO.format("hi"))
    clients = [greeted(f"{directory}/s", "hi") for _ in range(8)]
    with traced(router, directory / "calls"):
        for client in clients:
            client.send(b"one\ntwo\n")
        for client in clients:
            client.read_until(b"one\r\ntwo\r\n")
            client.socket.close()
    bounds = re.findall(r"epoll_wait\(.*, (\d+), -?\d+\) += ", (directory / "calls").read_text())
    assert set(bounds) == {"3"}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--forkptyrouter-fallback=/tmp/x", "start a second router"),
        ("--forkptyrouter-zerg=/tmp/x", "fd://N"),
        ("--forkptyrouter-events=0", "from 1 to 1024"),
        ("--forkptyrouter-events=1025", "from 1 to 1024"),
        ("--forkptyrouter-harakiri=0", "at least 1 second"),
        ("--idle=x", "seconds"),
    ],
)
def test_an_invalid_value_is_refused_with_its_place(directory: Path, flag: str, words: str) -> None:
    ini = directory / "r.ini"
    name, _, value = flag.removeprefix("--").partition("=")
    ini.write_text(f"[uwsgi]\nforkpty-router = {directory}/s\n{name} = {value}\n")
    for arguments, where in (([flag, f"{directory}/s"], flag.partition("=")[0]), ([str(ini)], f"{ini}:3: {name}")):
        ended = subprocess.run(
            [sys.executable, "-m", "fastpty.router", *arguments], capture_output=True, text=True, timeout=30
        )
        assert ended.returncode == 2
        assert where in ended.stderr
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1
