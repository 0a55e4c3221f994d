"""One stop that reaches a router in several signals leaves its programs their grace time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually, state

# After SIGHUP it needs half a second, and then creates a file.
SLOW_END = "trap 'sleep 0.5; echo ended > {}; exit' HUP; echo READY; while :; do sleep 0.1; done"


@pytest.fixture
def router(start_router: Callable[..., Router], directory: Path) -> Router:
    return start_router(f"{directory}/s", "--forkptyrouter-command", SLOW_END.format(directory / "ended"))


@pytest.fixture
def session(router: Router, directory: Path) -> Iterator[Client]:
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        yield client


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("order", ["worker first", "supervisor first"])
def test_a_signal_to_all_processes_is_one_stop(router: Router, directory: Path, order: str) -> None:
    """As systemd sends it with KillMode=control-group: the worker may get it before the supervisor."""
    worker, supervisor = router.pid, router.process.pid
    first, second = (worker, supervisor) if order == "worker first" else (supervisor, worker)
    os.kill(first, signal.SIGTERM)
    router.wait_for_log(rf"\[{worker}\] .*stopping")
    os.kill(second, signal.SIGTERM)
    assert router.process.wait(PATIENCE_SECONDS) == 0
    assert (directory / "ended").exists()


@pytest.mark.usefixtures("session")
def test_signals_of_two_processes_at_the_same_time_are_one_stop(router: Router, directory: Path) -> None:
    """The supervisor is stopped, so that both signals wait for it."""
    supervisor = router.process.pid
    os.kill(supervisor, signal.SIGSTOP)
    eventually(lambda: state(supervisor) == "T", "the supervisor is stopped")
    os.kill(supervisor, signal.SIGTERM)
    subprocess.run(["sh", "-c", f"kill -INT {supervisor}"], check=True)
    os.kill(supervisor, signal.SIGCONT)
    assert router.process.wait(PATIENCE_SECONDS) == 0
    assert (directory / "ended").exists()


@pytest.mark.usefixtures("session")
def test_a_second_signal_to_a_worker_kills_its_sessions(router: Router, directory: Path) -> None:
    worker = router.pid
    for count in (1, 2):
        os.kill(worker, signal.SIGTERM)
        router.wait_for_log(rf"\[{worker}\] SIGTERM: stopping")
        if count == 2:
            router.wait_for_log("session 1: end: stopped, killed by SIGKILL")
    assert not (directory / "ended").exists()
