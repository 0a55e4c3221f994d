"""Notices that clients do not read."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.accounts import connected_as
from tests.support.first_steps import limit_files
from tests.support.harness import Client, Router
from tests.support.peers import need_root

FILES = 600
REFUSED = FILES + 100


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4 * REFUSED), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_notices_that_refused_clients_do_not_read_keep_no_session_from_ending(
    start_router: Callable[..., Router], directory: Path, many_files: None
) -> None:
    """The kernel counts their marks, and the descriptors that errands send, together."""
    need_root()
    path = f"{directory}/s"
    jobs = ("--command", "sleep 1000 & echo READY; exec sleep 1000", "--stop-timeout", "1")
    account = ("--uid", "daemon", "--gid", "daemon", "--chmod-socket=666", "--deny-user", "root")
    router = start_router(*account, *jobs, path, first=limit_files(FILES))
    with ExitStack() as stack:
        for _ in range(REFUSED):
            refused = stack.enter_context(socket.socket(socket.AF_UNIX))
            refused.connect(path)
        with Client(connected_as(path, 2, 2)) as client:
            client.read_until(b"READY")
        router.wait_for_log("session [0-9]+: end: client left, killed by SIGHUP")
