"""The worker's loop takes the STARTs of clients one by one, so a burst of them does not hold other sessions up."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty._relay import Relay
from fastpty.relay.upcalls import Failure, Greeting
from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, join_thread

CLIENTS = 12
PIECES = 1 << 18
"""Frames of four bytes."""


class Starts:
    """A handler that notes the turn of each START. When the last client is greeted, all send theirs."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(CLIENTS)
        self.relay = Relay(self)
        self.relay.listen(self.listener.fileno(), framed=False, negotiates="by name")
        self.clients = [ExtensionClient(str(path)) for _ in range(CLIENTS)]
        self.turns: list[int] = []
        self.started: list[int] = []
        self.ended = 0
        self.leaves: int | None = None
        self.answer = b"noted"

    def client_greeted(self, number: int, *_: object) -> Greeting:
        if number == CLIENTS:
            for client in self.clients:
                client.start(["true"])
        return Greeting(extension.CAN_TERMINAL, owner=0)

    def start_wanted(self, number: int, *_: object) -> Failure:
        self.turns.append(self.relay.counters()["wakeups"])
        self.started.append(number)
        if self.leaves is not None:
            self.clients[self.leaves].sock.close()
            self.leaves = None
        return Failure(extension.REFUSED, 0, self.answer)

    def session_ended(self, *_: object) -> None:
        self.ended += 1
        if self.ended == CLIENTS:
            self.relay.stop()

    def caught_up(self) -> bool:
        return False

    def run(self) -> None:
        for client in self.clients:
            client.sock.settimeout(None)
        self.relay.run()
        for client in self.clients:
            client.sock.close()
        self.listener.close()

    def terminal_closes_later(self, number: int) -> None:
        pass


def test_starts_are_taken_one_a_turn_in_the_order_in_which_they_came(directory: Path) -> None:
    handler = Starts(directory / "socket")
    handler.run()
    assert handler.started == list(range(1, CLIENTS + 1))
    assert handler.turns == sorted(set(handler.turns))


def test_a_client_that_leaves_while_its_start_waits_is_not_started(directory: Path) -> None:
    """In a process of its own: a relay that still had the session in its list would use freed memory."""
    child = os.fork()
    if child == 0:
        handler = Starts(directory / "socket")
        handler.leaves = 7
        handler.run()
        os._exit(handler.started != [number for number in range(1, CLIENTS + 1) if number != 8])
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"a\nb\x1b[31m\x7f \xc2\x9b \xc3\xa4", b"a?b?[31m? ?? \xc3\xa4"),
        (b"x" * 399 + b"\xc3\xa4", b"x" * 399),
    ],
)
def test_a_client_is_told_no_control_characters_and_whole_ones(answer: bytes, told: bytes, directory: Path) -> None:
    handler = Starts(directory / "socket")
    handler.answer = answer
    reader = threading.Thread(target=lambda: texts.append(handler.clients[0].error().text))
    texts: list[bytes] = []
    reader.start()
    handler.run()
    join_thread(reader)
    assert texts == [told]


def used_ns(pid: int) -> int:
    """How long a process has run (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def test_a_start_in_many_pieces_costs_no_more_than_other_frames(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Each of its pieces delays the other sessions. The same router handles the other frames, so the machine is one."""
    router = start_router("--listen-raw", f"{directory}/socket")
    with ExtensionClient(f"{directory}/socket") as client:
        assert client.welcome
        before = used_ns(router.pid)
        client.sock.sendall(bytes([1, 0, 0, extension.START]) * PIECES)
        client.start(["cat"])
        client.read_until(extension.STARTED)
        started = used_ns(router.pid)
        client.sock.sendall(bytes([0, 0, 0, extension.PING]) * PIECES)
        client.send(extension.END_INPUT)
        assert client.status().code == 0
        assert started - before < 4 * (used_ns(router.pid) - started)
