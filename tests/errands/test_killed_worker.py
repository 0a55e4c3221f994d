"""Workers that are killed while they hold a descriptor whose close blocks: they are replaced and delay no stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.errands.test_errands import echoes
from tests.support.harness import Client, Router, children, descriptors, eventually, process_gone, state
from tests.support.peers import need_root, preload
from tests.support.reloads import STUCK_ACCEPT
from tests.support.stuck import Stuck


def test_a_worker_killed_while_a_terminal_is_stuck_is_replaced(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    """The other sessions of the worker end, and their programs are hung up."""
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


def heirs_of(worker: int) -> list[int]:
    """The processes that close this worker's descriptors after it was killed: they share its table of descriptors."""
    sockets = {what for what in descriptors(worker).values() if what.startswith("socket:")}
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "fastpty-heir\n":
                pid = int(entry.name)
                if sockets <= {*descriptors(pid).values()}:
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_worker_s_heir_ends_with_it(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    router = start_router(f"{directory}/s", "--run-as", "peer")
    (heir,) = heirs_of(router.pid)
    assert router.end() == 0
    assert process_gone(heir)


class StuckAsRoot(Stuck):
    """A router whose sessions run as its own user. Such a router has no heirs."""

    def __init__(
        self, start_router: Callable[..., Router], directory: Path, files: Path, *more: str, env: Any = None
    ) -> None:
        def start(*options: str) -> Router:
            kept = [option for option in options if option not in ("--run-as", "peer")]
            return start_router(*kept, *more, env=env)

        super().__init__(start, directory, files, "write")


def test_a_stop_does_not_wait_for_a_killed_worker_stuck_in_the_kernel(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    stuck = StuckAsRoot(start_router, directory, stuck_files)
    with stuck.stuck("page"):
        killed = stuck.router.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: state(killed) == "D", "the killed worker is stuck in the kernel")
        assert stuck.router.end() == 0
        assert state(killed) == "D"
    stuck.router.wait_for_log(f"worker {killed} was killed but does not end: not waiting for it any longer")


def test_a_killed_worker_stuck_in_the_kernel_is_replaced(
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
            stuck.router.wait_for_log(f"worker {killed} has been stuck for 1 s: killed")
            gate.unlink()
            stuck.router.wait_for_log(rf"worker {killed} has ended \(killed\); another one starts")
        with stuck.cat() as client:
            echoes(client, b"in the next worker")
        assert stuck.router.end() == 0
        assert state(killed) == "D"
