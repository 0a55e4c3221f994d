"""A worker that is killed while it holds what may never close: it is replaced, and the stop does not wait."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.errands.test_errands import Stuck, echoes, stuck_files
from tests.supervision.test_cheap_and_stuck import STUCK_ACCEPT
from tests.support.harness import Client, Router, children, eventually, process_gone, state
from tests.support.peers import need_root, preload

__all__ = ["stuck_files"]


def test_a_worker_that_is_killed_while_a_program_holds_its_terminal_is_replaced(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    """Its other clients see the end of their sessions, whose programs are hung up."""
    stuck = Stuck(start_router, directory, stuck_files, "write")
    with stuck.cat() as before, stuck.stuck("page"), stuck.cat() as after:
        killed = stuck.router.pid
        programs = children(killed)
        os.kill(killed, signal.SIGKILL)
        stuck.router.wait_for_log(rf"worker {killed} has ended \(killed by SIGKILL\); another one starts")
        for other in (before, after):
            other.read_to_end()
        eventually(lambda: sum(not process_gone(pid) for pid in programs) == 1, "the other programs have ended")
        with stuck.cat() as client:
            echoes(client, b"in the next worker")
    assert stuck.router.end() == 0


def heirs() -> list[int]:
    """The processes that close what killed workers leave."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "fastpty-heir\n":
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_no_heir_is_left_by_a_worker_that_has_ended(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    others = heirs()
    router = start_router(f"{directory}/s", "--run-as", "peer")
    (heir,) = set(heirs()) - {*others}
    assert router.end() == 0
    assert process_gone(heir)


class StuckAsRoot(Stuck):
    """The programs are the router's user's, so no heir stands by."""

    def __init__(
        self, start_router: Callable[..., Router], directory: Path, files: Path, *more: str, env: Any = None
    ) -> None:
        def start(*options: str) -> Router:
            kept = [option for option in options if option not in ("--run-as", "peer")]
            return start_router(*kept, *more, env=env)

        super().__init__(start, directory, files, "write")


def test_a_stop_does_not_wait_for_a_worker_whose_end_waits_in_the_kernel(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    stuck = StuckAsRoot(start_router, directory, stuck_files)
    with stuck.stuck("page"):
        killed = stuck.router.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: state(killed) == "D", "its end waits")
        assert stuck.router.end() == 0
        assert state(killed) == "D"
    stuck.router.wait_for_log(f"worker {killed} was killed and does not end: no longer waited for")


def test_a_stuck_worker_whose_end_waits_in_the_kernel_is_replaced(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    gate = directory / "gate"
    shim = preload(directory, STUCK_ACCEPT, f'STUCK="{gate}"')
    harakiri = ("--forkptyrouter-harakiri", "1")
    stuck = StuckAsRoot(start_router, directory, stuck_files, *harakiri, env=shim)
    with stuck.stuck("page"):
        killed = stuck.router.pid
        gate.touch()
        with Client(stuck.path):
            stuck.router.wait_for_log(f"worker {killed} is stuck for 1 s: killed")
            gate.unlink()
            stuck.router.wait_for_log(rf"worker {killed} has ended \(killed\); another one starts")
        with stuck.cat() as client:
            echoes(client, b"in the next worker")
        assert stuck.router.end() == 0
        assert state(killed) == "D"
