"""Hooks of `as-user-atexit`: they end with the router, also those that would never return."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Router, children, descriptors, eventually
from tests.support.jails import stuck_files
from tests.support.peers import need_root

Start = Callable[..., Router]

# A router that gives its hooks at the end less time than any test has.
HASTY = (
    "-c",
    "import fastpty.hooks.at_exit as at_exit, sys\n"
    "at_exit.SECONDS = 1.0\n"
    "from fastpty.router import main\n"
    "sys.exit(main())\n",
)


@pytest.mark.parametrize("hook", ["hook-as-user-atexit=create:{}/file", "exec-as-user-atexit=cat {}/file"])
def test_a_hook_at_exit_on_a_silent_file_system_does_not_keep_the_router_from_ending(
    start_router: Start, directory: Path, hook: str
) -> None:
    need_root()
    silent = directory / "silent"
    silent.mkdir()
    with stuck_files(silent):
        router = start_router(f"--{hook.format(silent)}", f"{directory}/socket", program=HASTY)
        router.process.send_signal(signal.SIGTERM)
        router.wait_for_log("stopped$")
        eventually(lambda: children(router.process.pid), "the hooks run")
        (hooks,) = children(router.process.pid)
        eventually(lambda: not any("socket" in file for file in descriptors(hooks).values()), "they hold no socket")
        assert router.process.wait(PATIENCE_SECONDS) == 0
        router.wait_for_log("the hooks of as-user-atexit are ended: they take more than 1 s")


def test_another_stop_signal_ends_the_hooks_at_exit(start_router: Start, tmp_path: Path) -> None:
    hooks = ("--exec-as-user-atexit", "trap 'echo CLEAN; exit' TERM; echo BEGUN >&2; sleep 1000 & wait")
    router = start_router(*hooks, "--exec-as-user-atexit", "echo NEXT >&2", str(tmp_path / "socket"))
    router.process.send_signal(signal.SIGTERM)
    router.wait_for_log("BEGUN")
    assert router.end() == 0
    assert "the hooks of as-user-atexit are ended: another stop signal came" in router.log
    assert "NEXT" not in router.log


def test_the_exit_action_at_exit_sets_the_status(start_router: Start, tmp_path: Path) -> None:
    router = start_router("--hook-as-user-atexit", "exit:7", str(tmp_path / "socket"))
    assert router.end() == 7


def test_a_router_that_is_killed_at_its_end_leaves_no_hook_behind(start_router: Start, tmp_path: Path) -> None:
    router = start_router("--exec-as-user-atexit", "echo BEGUN >&2; exec sleep 1000", str(tmp_path / "socket"))
    router.process.send_signal(signal.SIGTERM)
    router.wait_for_log("BEGUN")
    (hooks,) = children(router.process.pid)
    router.process.kill()
    eventually(lambda: not Path(f"/proc/{hooks}").exists(), "the hooks have ended")


def test_a_stop_during_the_start_does_not_wait_for_a_command_that_is_stuck_in_the_kernel(directory: Path) -> None:
    need_root()
    silent = directory / "silent"
    silent.mkdir()
    with stuck_files(silent):
        router = Router("--exec-asap", f"echo BEGUN >&2; exec cat {silent}/file", f"{directory}/socket")
        try:
            router.wait_for_log("BEGUN")
            (command,) = children(router.process.pid)
            wchan = Path(f"/proc/{command}/wchan")
            eventually(lambda: "request_wait_answer" in wchan.read_text(), "the command is stuck")
            router.process.send_signal(signal.SIGTERM)
            assert router.process.wait(PATIENCE_SECONDS) == 0
        finally:
            router.destroy()
