"""A program finds its client's window size when it starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastpty.wire.uwsgi import first_window, stdin_frames, window_frames
from tests import ROOT
from tests.support.client_harness import terminal_client
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Client, Router

Starts = Callable[..., Router]

STARTS = 100  # one after the other
PROCESSES, STARTS_OF_EACH = 8, 25  # at once


@pytest.mark.parametrize(
    ("data", "window"),
    [
        (window_frames(5, 6), (5, 6)),
        (window_frames(5, 6) + stdin_frames(b"x"), (5, 6)),
        (window_frames(5, 6)[4:] + window_frames(5, 6)[:4], (5, 6)),
        (window_frames(0, 65_535), (0, 65_535)),
        (window_frames(5, 6)[:7], None),
        (window_frames(5, 6)[:4] * 2, None),
        (stdin_frames(b"xxxx"), None),
        (b"", None),
    ],
)
def test_only_rows_and_columns_that_come_first_are_the_first_window(
    data: bytes, window: tuple[int, int] | None
) -> None:
    assert first_window(data) == window


def test_a_size_that_has_arrived_is_there_before_the_program_runs(start_router: Starts, directory: Path) -> None:
    """The router is stopped meanwhile, so the size certainly arrives in time."""
    path = str(directory / "socket")
    router = start_router("--listen-uwsgi", path, "--command", "exec stty size")
    worker = router.pid
    os.kill(worker, signal.SIGSTOP)
    clients = []
    for index in range(10):
        clients.append(Client(path))
        clients[-1].send(window_frames(50 + index, 150 + index))
    os.kill(worker, signal.SIGCONT)
    for index, client in enumerate(clients):
        assert client.read_to_end() == b"%d %d\r\n" % (50 + index, 150 + index)
        client.socket.close()


def test_the_size_is_no_input_and_changes_nothing_later(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-uwsgi", path, "--command", "trap 'echo changed' WINCH; read line; stty size; echo $line")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    with Client(sock) as client:
        client.send(window_frames(9, 8) + stdin_frames(b"typed\n"))
        assert b"9 8\r\ntyped\r\n" in client.read_to_end().replace(b"changed\r\n", b"")


def test_a_named_client_never_starts_with_another_size(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-uwsgi", path, "--command", "exec stty size")
    for index in range(STARTS):
        with ExtensionClient(path) as client:
            client.start(window=(index + 1, 1000 + index))
            assert client.status().code == 0
            assert client.output == b"%d %d\r\n" % (index + 1, 1000 + index)


def test_no_window_is_wrong_when_many_processes_start_sessions_at_once(start_router: Starts, directory: Path) -> None:
    """Plain clients: the start of a `fastpty` takes most of its time, so the router would be idle."""
    path = str(directory / "socket")
    start_router(path, "--workers", "2")
    module = [sys.executable, "-m", "tests.support.first_windows", path]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*module, str(1 + index * STARTS_OF_EACH), str(STARTS_OF_EACH)], cwd=ROOT, stdout=subprocess.PIPE
                )
            )
            for index in range(PROCESSES)
        ]
        for process in processes:
            assert process.communicate()[0] == b""
            assert process.returncode == 0


def test_a_program_sees_the_window_of_the_real_clients_terminal(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router(path)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                terminal_client("connect", path, "--", "stty", "size", rows=30 + number, columns=100 + number)
            )
            for number in range(10)
        ]
        for number, client in enumerate(clients):
            client.read_until(b"%d %d\r\n" % (30 + number, 100 + number))
            assert client.wait() == 0
