"""The input of `fastpty exec`: spliced from a pipe, read from anything else, and never lost or reordered."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.client.exec_input import ExecInput
from fastpty.client.exec_session import ExecSession
from fastpty.client.link import Link
from fastpty.client.outgoing import InputPipe, Outgoing
from fastpty.client.streams import Streams
from fastpty.wire import extension
from fastpty.wire.extension import FrameReader
from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import Router
from tests.support.peers import need

INPUT = random.Random(3).randbytes(1_000_000)


@pytest.fixture
def address(start_router: Callable[..., Router], directory: Path) -> str:
    start_router(f"{directory}/s")
    return f"{directory}/s"


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket, InputPipe, int]]:
    """A connection with little room, a pipe, and the writing end of an input that is a pipe, too."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    stdin, writer = os.pipe()
    pipe = InputPipe()
    try:
        os.write(writer, INPUT[:60_000])
        assert pipe.fill(stdin, 60_000) == 60_000
        yield ours, theirs, pipe, writer
    finally:
        pipe.close()
        for fd in (stdin, writer):
            os.close(fd)
        ours.close()
        theirs.close()


def received(outgoing: Outgoing, ours: socket.socket, theirs: socket.socket, *, late: bytes) -> bytes:
    """What arrives when `late` is queued as soon as the connection is full."""
    data = b""
    while outgoing:
        try:
            outgoing.send(ours)
        except BlockingIOError:
            outgoing.add(late)
            late = b""
            data += theirs.recv(1000)
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            data += theirs.recv(65536)
    return data


def test_a_frame_that_is_queued_within_a_payload_follows_it() -> None:
    with connected() as (ours, theirs, pipe, _):
        filled = ours.send(bytes(100_000))  # the connection takes no more now
        outgoing = Outgoing()
        outgoing.add(b"before")
        outgoing.add_pipe(b"header", pipe)
        expected = bytes(filled) + b"beforeheader" + INPUT[:60_000] + b"after"
        assert received(outgoing, ours, theirs, late=b"after") == expected


def test_without_room_at_the_router_no_input_is_no_end_of_input() -> None:
    """Another event of the same turn can use the room after poll(2) has reported input."""
    with connected() as (ours, _, pipe, _):
        session = ExecSession()
        link = Link(ours, framed=False)
        link.protocol = session
        stdin, writer = os.pipe()
        with Streams(stdin, 1) as streams:
            exec_input = ExecInput(link, session, streams)
            exec_input.read()
            assert link.takes_input
            exec_input.close()
        os.close(stdin)
        os.close(writer)
        assert pipe.works


@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_input_of_every_kind_arrives_whole(address: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "input").write_bytes(INPUT)
    command = [*CLIENT, "exec", address, "--", "cat"]
    if kind == "pipe":
        ended = subprocess.run(command, cwd=ROOT, input=INPUT, capture_output=True, timeout=60)
    elif kind == "file":
        with (tmp_path / "input").open("rb") as file:
            ended = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, timeout=60)
    else:
        ours, theirs = socket.socketpair()
        with subprocess.Popen(["cat", tmp_path / "input"], stdout=ours), theirs:
            ours.close()
            ended = subprocess.run(command, cwd=ROOT, stdin=theirs, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout == INPUT, ended.stderr) == (0, True, b"")


@pytest.mark.parametrize("kind", ["a packet socket", "a pipe of packets that the kernel does not splice"])
def test_no_packet_is_cut_where_the_router_has_no_room_for_it(kind: str) -> None:
    with connected() as (ours, theirs, _, _):
        link, session = Link(ours, framed=False), ExecSession()
        link.protocol = session
        session.take(extension.frames(extension.WELCOME, extension.welcome(bytes(8), 0, 5)[4:]))
        stdin, writer = packets() if kind == "a packet socket" else os.pipe2(os.O_DIRECT)
        os.write(writer, b"a packet")
        os.close(writer)
        with Streams(stdin, 1) as streams:
            exec_input = ExecInput(link, session, streams)
            exec_input.close()
            exec_input._pipe = None  # as if no pipe could be made
            exec_input.read()
            link.take(extension.frames(extension.CREDIT, (5).to_bytes(4, "little")))
            link.send()
            exec_input.read()
        os.close(stdin)
        expected = [(extension.STDIN, b"a pac"), (extension.STDIN, b"ket"), (extension.END_INPUT, b"")]
        assert list(FrameReader().feed(theirs.recv(1000))) == expected


def packets() -> tuple[int, int]:
    """A local socket that keeps the borders of packets, and the descriptor that writes to it."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return reader.detach(), writer.detach()


def test_the_end_of_a_fifo_is_noticed_although_its_writer_left_before_the_client_began(tmp_path: Path) -> None:
    """The kernel does not report that end to a descriptor that is opened later."""
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    stdin = os.open(tmp_path / "fifo", os.O_RDONLY)
    os.write(writer, b"input")
    os.close(writer)
    with Streams(stdin, 1) as streams:
        assert streams.stdin != stdin
        assert streams.read() == b"input"
        poll = select.poll()
        poll.register(streams.stdin_events, select.POLLIN)
        assert poll.poll(0)
        assert streams.read() == b""
    os.close(stdin)


@pytest.mark.parametrize("when", ["1", "2", "3", "4", "5..8"])
@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "ENOMEM", "EAGAIN"])
def test_input_arrives_whole_where_the_kernel_does_not_splice(
    address: str, tmp_path: Path, error: str, when: str
) -> None:
    """Calls in turn fill the client's pipe and empty it into the connection."""
    trace = tmp_path / "trace"
    strace = [need("strace"), "-qq", "-o", str(trace), "-e", f"inject=splice:error={error}:when={when}"]
    command = [*strace, *CLIENT, "exec", address, "--", "cat"]
    ended = subprocess.run(command, cwd=ROOT, input=INPUT, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout == INPUT, ended.stderr) == (0, True, b"")
    assert re.search(r"^splice\(.*\(INJECTED\)", trace.read_text(), re.M)
