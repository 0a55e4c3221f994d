"""Workers that die or cannot start: the supervisor replaces them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually
from tests.support.peers import preload
from tests.support.reloads import ECHO, configured, echoes, greeted, reload


def test_a_worker_that_ends_at_once_is_started_again_after_a_pause(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A worker that fails at once would otherwise be started in a busy loop."""
    router = start_router(f"{directory}/s", "--forkptyrouter-command", ECHO.format("hi"))
    began = time.monotonic()
    for count in range(1, 4):
        eventually(lambda: router.workers, "there is a worker")
        os.kill(router.pid, signal.SIGKILL)
        router.wait_for_log("has ended .killed by SIGKILL.; another one starts", count)
    with greeted(f"{directory}/s", "hi"):
        assert time.monotonic() - began > 1


REFUSED_FORK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>
pid_t fork(void)
{
    pid_t (*real)(void) = dlsym(RTLD_NEXT, "fork");
    errno = EAGAIN;
    return access(REFUSED, F_OK) == 0 ? -1 : real();
}
"""


@pytest.fixture
def refused(directory: Path) -> Path:
    """While this file exists, `router_without_fork` cannot fork a worker."""
    return directory / "refused"


@pytest.fixture
def router_without_fork(start_router: Callable[..., Router], directory: Path, refused: Path) -> Router:
    shim = preload(directory, REFUSED_FORK, f'REFUSED="{refused}"')
    return start_router(configured(directory / "r.ini", f"{directory}/s"), env=shim)


def test_a_reload_for_which_no_worker_can_start_is_refused(
    router_without_fork: Router, directory: Path, refused: Path
) -> None:
    worker = router_without_fork.pid
    with greeted(f"{directory}/s", "old") as old:
        configured(directory / "r.ini", f"{directory}/s", word="new")
        refused.touch()
        router_without_fork.process.send_signal(signal.SIGHUP)
        router_without_fork.wait_for_log(
            "reload refused, keeping the old configuration: no process can start: Resource temporarily unavailable"
        )
        assert router_without_fork.workers == [worker]
        with greeted(f"{directory}/s", "old"):
            echoes(old)
        refused.unlink()
        reload(router_without_fork)
        with greeted(f"{directory}/s", "new"):
            echoes(old)


def test_a_supervisor_that_cannot_start_a_worker_tries_again(
    router_without_fork: Router, directory: Path, refused: Path
) -> None:
    """A client that has connected meanwhile is served then."""
    refused.touch()
    os.kill(router_without_fork.pid, signal.SIGKILL)
    router_without_fork.wait_for_log("cannot start a worker: Resource temporarily unavailable; trying again")
    with Client(f"{directory}/s") as client:
        refused.unlink()
        client.read_until(b"old\r\n")


def test_a_worker_that_dies_on_the_way_to_its_socket_leaves_a_router_that_accepts(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", ECHO.format("hi"))
    for count in (1, 2):
        os.kill(router.pid, signal.SIGKILL)
        router.wait_for_log("has ended .killed by SIGKILL.; another one starts", count)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.settimeout(PATIENCE_SECONDS)
        waiting.connect(f"{directory}/s")  # there is no worker at this moment
        assert waiting.recv(100)
        waiting.close()
