"""A reload affects new sessions only, loses no connection, and refuses a wrong configuration."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client_harness import terminal_client
from tests.support.harness import Client, Router, eventually, process_gone
from tests.support.reloads import configured, echoes, greeted, reload


def test_a_reload_is_for_new_sessions_and_the_old_ones_go_on(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    ini = configured(directory / "r.ini", path)
    router = start_router(ini)
    old_worker = router.pid
    with greeted(path, "old") as old:
        configured(directory / "r.ini", path, word="new")
        reload(router)
        with greeted(path, "new") as new:
            echoes(old)
            echoes(new)
            assert len(router.workers) == 2
        old.send(b"\x04")
        old.read_to_end()
    eventually(lambda: process_gone(old_worker), "the draining worker ends with its last session")
    router.wait_for_log("session 1: end: exit, ")
    assert "has ended" not in router.log


def test_a_reload_with_statistics_logs_no_error(start_router: Callable[..., Router], directory: Path) -> None:
    """A worker has closed the socket of the statistics before a drain closes all sockets."""
    configuration = configured(directory / "r.ini", f"{directory}/s", f"forkptyrouter-stats = {directory}/stats")
    router = start_router(configuration, sockets=2)
    reload(router)
    router.wait_for_log("no longer accepting; 0 sessions left")
    assert "cannot" not in router.log


def test_a_draining_worker_is_stopped_as_the_others_are(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    with greeted(path, "old") as old:
        reload(router)
        with greeted(path, "old"):
            workers = router.workers
            assert router.end() == 0
            old.read_to_end()
    assert all(process_gone(pid) for pid in workers)


def test_no_connection_is_refused_in_10_000_during_20_reloads(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Every connection is also accepted: its program exits at once and ends it."""
    path = f"{directory}/s"
    router = start_router(
        path, "--forkptyrouter-command", "/bin/true", "--listen", "1000", "--forkptyrouter-workers=2"
    )
    failures: list[OSError] = []
    outputs: list[bytes] = []

    def connect(count: int) -> None:
        for number in range(count):
            try:
                with Client(path) as client:
                    if number % 10 == 0:
                        outputs.append(client.read_to_end())
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=connect, args=(2500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in range(1, 21):
        reload(router, count)
    for thread in threads:
        thread.join()
    assert (failures, set(outputs)) == ([], {b""})
    eventually(lambda: len(router.workers) == 2, "the draining workers end")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("forkptyrouter-rows = abc", "r.ini:4: forkptyrouter-rows: 'abc' is not a whole number"),
        ("forkpty-router = /no/such/directory/s", "cannot listen on /no/such/directory/s"),
    ],
)
def test_a_wrong_configuration_is_refused_and_the_old_one_goes_on(
    start_router: Callable[..., Router], directory: Path, line: str, words: str
) -> None:
    path = f"{directory}/s"
    ini = configured(directory / "r.ini", path)
    router = start_router(ini)
    worker = router.pid
    configured(directory / "r.ini", path, line, word="new")
    router.process.send_signal(signal.SIGHUP)
    (refused,) = router.wait_for_log("reload refused, keeping the old configuration: (.*)")
    assert words in refused[1]
    with greeted(path, "old") as client:
        echoes(client)
    assert router.workers == [worker]


def test_a_reload_adds_and_removes_addresses(start_router: Callable[..., Router], directory: Path) -> None:
    kept, gone, new = (f"{directory}/{name}" for name in ("kept", "gone", "new"))
    ini = configured(directory / "r.ini", kept, f"forkpty-router = {gone}")
    router = start_router(ini, sockets=2)
    identity = os.stat(kept).st_ino
    with greeted(gone, "old") as old:
        configured(directory / "r.ini", kept, f"forkpty-urouter = {new}", word="new")
        reload(router)
        assert not Path(gone).exists()
        assert os.stat(kept).st_ino == identity
        for path in (kept, new):
            greeted(path, "new").socket.close()
        echoes(old)


def test_a_removed_socket_file_costs_no_session_and_comes_back_with_a_reload(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    with greeted(path, "old") as old:
        os.unlink(path)
        echoes(old)
        reload(router)
        with greeted(path, "old"):
            echoes(old)


def test_a_terminal_that_closes_stops_a_router_in_its_foreground(directory: Path) -> None:
    """The kernel's SIGHUP for a closed terminal does not reload."""
    with terminal_client(f"{directory}/s", command=[sys.executable, "-m", "fastpty.router"]) as router:
        router.read_until(b"ready")
        router.close_screen()
        eventually(lambda: process_gone(router.pid), "the router has stopped")
        assert router.wait() == 0
    assert not Path(f"{directory}/s").exists()
