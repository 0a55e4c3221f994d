"""System calls of the client that fail, injected by strace(1): no byte is lost, repeated, or sent after a gap."""

from __future__ import annotations

import errno
import hashlib
import random
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from fastpty.client import ready
from tests.support.client_harness import CLIENT, ScriptedRouter, piped_client, receive_all
from tests.support.peers import need

INPUT = random.Random(1).randbytes(300_000)
OUTPUT = random.Random(2).randbytes(300_000)


class Ended(NamedTuple):
    """How a client ended, and what the router received from it."""

    status: int
    output: bytes
    complaint: str
    received: bytes


def session(router: ScriptedRouter, trace: Path, *options: str) -> Ended:
    """A session in which INPUT goes one way and OUTPUT the other at the same time, traced with these options."""
    received = bytearray()

    def part(peer: socket.socket) -> None:
        def send() -> None:
            try:
                peer.sendall(OUTPUT)
            except OSError:
                return

        sender = threading.Thread(target=send)
        sender.start()
        peer.settimeout(3)
        try:
            while data := peer.recv(65536):
                received.extend(data)
        except (TimeoutError, ConnectionError):  # it sends no more, and no end of its input either
            pass
        finally:
            sender.join()

    command = [need("strace"), "-qq", "-o", str(trace), *options, *CLIENT]
    with router.playing(part), piped_client("connect", router.address, command=command) as client:
        output, complaint = client.communicate(INPUT, timeout=60)
    return Ended(client.returncode, output, complaint.decode(), bytes(received))


def digests(ended: Ended) -> tuple[str, str]:
    return hashlib.sha256(ended.received).hexdigest(), hashlib.sha256(ended.output).hexdigest()


WHOLE = hashlib.sha256(INPUT).hexdigest(), hashlib.sha256(OUTPUT).hexdigest()


def calls_before_and_after_connecting(trace: Path) -> tuple[list[str], list[str]]:
    names = re.findall(r"^(\w+)\(", trace.read_text(), re.M)
    connected = names.index("connect") + 1
    return names[:connected], names[connected:]


@pytest.mark.parametrize("error", ["ENOMEM", "ENOBUFS"])
@pytest.mark.parametrize(
    ("call", "done"),
    # The first recvmsg() finds out what the router speaks.
    [("sendto", 0), ("recvmsg", 0), ("recvmsg", 1), ("read", 0), ("write", 0), ("poll", 0), ("shutdown", 0)],
)
def test_a_call_that_fails_for_lack_of_memory_is_tried_again(
    router: ScriptedRouter, tmp_path: Path, call: str, done: int, error: str
) -> None:
    """From the call on that follows the `done` first ones."""
    session(router, tmp_path / "trace")
    before, _ = calls_before_and_after_connecting(tmp_path / "trace")
    # Several calls in a row fail, so that a client that tries only once more fails the test.
    first = before.count(call) + done + 1
    ended = session(router, tmp_path / "injected", "-e", f"inject={call}:error={error}:when={first}..{first + 2}")
    assert (tmp_path / "injected").read_text().count("(INJECTED)") == 3
    assert (ended.status, ended.complaint, digests(ended)) == (0, "", WHOLE)


def test_a_question_whether_a_descriptor_is_ready_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [OSError(errno.ENOMEM, "no memory"), OSError(errno.ENOBUFS, "no buffer"), [(0, 1)]]

    class Poll:
        def register(self, fd: int, events: int) -> None:
            pass

        def poll(self, milliseconds: float) -> object:
            answer = answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    monkeypatch.setattr(ready.select, "poll", Poll)
    monkeypatch.setattr(ready, "PAUSE_SECONDS", 0)
    assert ready.is_ready(0, 1)


def test_whatever_call_fails_nothing_is_sent_after_a_gap_and_no_success_is_reported(
    router: ScriptedRouter, tmp_path: Path
) -> None:
    session(router, tmp_path / "trace")
    before, after = calls_before_and_after_connecting(tmp_path / "trace")
    injected = sorted(set(after) - {"exit_group", "munmap", "brk", "mmap", "rt_sigreturn"})
    assert {"poll", "sendto", "recvmsg", "read", "write", "shutdown", "getsockopt", "fcntl"} <= set(injected)
    for call in injected:
        number = before.count(call) + 1
        ended = session(router, tmp_path / "injected", "-e", f"inject={call}:error=ENOMEM:when={number}")
        assert "Traceback" not in ended.complaint, call
        assert ended.complaint.count("\n") <= 1, call
        assert ended.status in (0, 255), call
        assert INPUT.startswith(ended.received), call
        if ended.status == 0:
            assert digests(ended) == WHOLE, call


@pytest.mark.parametrize("error", ["EPIPE", "ECONNRESET"])
def test_a_router_that_takes_no_more_gets_no_more(router: ScriptedRouter, tmp_path: Path, error: str) -> None:
    ended = session(router, tmp_path / "trace", "-e", f"inject=sendto:error={error}:when=2")
    assert (ended.status, ended.complaint, ended.output) == (0, "", OUTPUT)
    assert ended.received == INPUT[: len(ended.received)]
    assert len(ended.received) <= 65536


def test_a_session_whose_input_cannot_be_sent_ends(router: ScriptedRouter, tmp_path: Path) -> None:
    """The program would wait for the lost input, and the person for the program."""

    def part(peer: socket.socket) -> None:
        peer.sendall(OUTPUT[:1000])
        with suppress(ConnectionError):
            receive_all(peer)

    options = ["-qq", "-o", str(tmp_path / "trace"), "-e", "inject=sendto:error=EIO:when=2"]
    command = [need("strace"), *options, *CLIENT]
    with router.playing(part), piped_client("connect", router.address, command=command) as client:
        output, complaint = client.communicate(INPUT, timeout=60)
    assert (client.returncode, output) == (255, OUTPUT[:1000])
    assert complaint == b"fastpty: the connection broke: Input/output error\n"


@pytest.mark.parametrize(("error", "why"), [("ECONNRESET", "Connection reset by peer"), ("ETIMEDOUT", "timed out")])
@pytest.mark.parametrize("call", ["sendto", "recvfrom"])
def test_a_connection_that_breaks_is_reported_whichever_call_sees_it(
    tcp_router: ScriptedRouter, tmp_path: Path, call: str, error: str, why: str
) -> None:
    """The kernel reports it once only: after that, the end looks like an end of the output."""
    ended = session(tcp_router, tmp_path / "trace", "-e", f"inject={call}:error={error}:when=2")
    assert ended.status == 255
    assert ended.complaint.startswith("fastpty: the connection broke: ")
    assert why in ended.complaint
    assert INPUT.startswith(ended.received)
