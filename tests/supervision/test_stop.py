"""Signals that stop a router: its programs end, their last output arrives, and no client delays the stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.support.first_steps import ignore_hangup
from tests.support.harness import (
    PROMPT,
    Client,
    Router,
    children,
    eventually,
    process_gone,
    state,
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_signal_ends_the_router_and_all_its_programs(
    start_router: Callable[..., Router], directory: Path, number: int
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "/bin/bash")
    clients = [Client(f"{directory}/s") for _ in range(3)]
    for client in clients:
        client.send(b"sh -c 'echo in the fore''ground; exec sleep 1000'\n")
        client.read_until(b"in the foreground\r\n")
    programs = children(router.pid)
    assert len(programs) == 3
    assert router.end(number) == 0
    assert all(process_gone(pid) for pid in programs)
    assert not Path(f"{directory}/s").exists()
    for client in clients:
        client.read_to_end()
    assert len(router.wait_for_log(r"session \d: end: exit, killed by SIGHUP", 3)) == 3


def test_the_last_output_of_a_program_at_a_stop_reaches_its_client(serve: Callable[..., Service]) -> None:
    service = serve(command="trap 'echo good''bye; exit 5' HUP; echo READY; while :; do sleep 0.05; done")
    with service.connect() as client:
        client.read_until(b"READY\r\n")
        assert service.router.end() == 0
        assert client.read_to_end().endswith(b"goodbye\r\n\r\nfastpty: the router was stopped\r\n")
    service.router.wait_for_log("session 1: end: exit, exit status 5")


def test_a_stop_does_not_wait_for_clients_that_do_not_read(serve: Callable[..., Service], directory: Path) -> None:
    """Three sessions: the program has ended, the program still writes, the client was refused."""
    command = (
        f"[ -e {directory}/first ] && exec cat /dev/zero; touch {directory}/first; head -c 900000 /dev/zero; echo END"
    )
    service = serve("--stop-timeout", "0.3", command=command)
    dead, writing = service.connect(), None
    try:
        eventually(lambda: (directory / "first").exists(), "the first program runs")
        writing = service.connect()
        for client in (dead, writing):
            client.wait_for_output()
        assert service.router.end() == 0
    finally:
        dead.socket.close()
        if writing:
            writing.socket.close()


def test_a_second_signal_kills_programs_that_ignore_the_first(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s",
        "--stop-timeout",
        "600",
        "--forkptyrouter-command",
        "trap '' HUP; echo READY; while :; do sleep 1; done",
    )
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY\r\n")
        router.process.send_signal(signal.SIGTERM)
        router.wait_for_log("SIGTERM: stopping")
        assert router.end() == 0
        client.read_to_end()
    router.wait_for_log("session 1: end: .*killed by SIGKILL")


def test_two_stop_signals_count_twice_even_if_the_worker_reads_both_at_once(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The kernel merges two pending signals with the same number."""
    command = "trap '' HUP; echo READY; while :; do sleep 1; done"
    router = start_router(f"{directory}/s", "--stop-timeout", "600", "--forkptyrouter-command", command)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY\r\n")
        worker = router.pid
        os.kill(worker, signal.SIGSTOP)
        try:
            for count in (1, 2):
                router.process.send_signal(signal.SIGTERM)
                router.wait_for_log(rf"\[{router.process.pid}\] SIGTERM: stopping", count)
                eventually(lambda: state(router.process.pid) == "S", "the supervisor has passed it on")
        finally:
            os.kill(worker, signal.SIGCONT)
        client.read_to_end()
        assert router.end() == 0


def test_a_stop_continues_a_stopped_program_so_that_it_can_exit_in_order(serve: Callable[..., Service]) -> None:
    service = serve(command="trap 'exit 6' HUP; echo READY; kill -STOP $$; sleep 1000")
    with service.connect() as client:
        client.read_until(b"READY\r\n")
        (program,) = children(service.router.pid)
        eventually(lambda: state(program) == "T", "the program is stopped")
        assert service.router.end() == 0
    service.router.wait_for_log("session 1: end: exit, exit status 6")


def test_a_router_started_with_nohup_ignores_sighup(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", first=ignore_hangup)
    (worker,) = router.workers
    router.process.send_signal(signal.SIGHUP)
    router.process.send_signal(signal.SIGUSR1)
    router.wait_for_log("statistics: ")
    assert router.workers == [worker], "a reload has begun: it starts a process"
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)
    assert router.end() == 0
    assert "reloaded" not in router.log
    assert "] draining" not in router.log
