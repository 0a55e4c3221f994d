"""A router of the extension that violates it: one line, status 255, no traceback, and bounded memory."""

from __future__ import annotations

import socket
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastpty.client.session import Session
from fastpty.errors import SessionError
from fastpty.wire import extension
from fastpty.wire.extension import Status, frames, items
from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter, send_notice, terminal_client
from tests.support.extension_peer import ExtensionPeer, playing

MIB = 1 << 20
STARTED = frames(extension.STARTED, items([(extension.SESSION, bytes(8))]))
STATUS = extension.status(extension.EXITED, 0)
OUTPUT = frames(extension.OUTPUT, b"x")


def run(address: str) -> tuple[int, bytes, str]:
    ended = subprocess.run([*CLIENT, "connect", "-n", address], cwd=ROOT, capture_output=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr.decode()


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (OUTPUT, "output came outside the session"),
        (STATUS, "frame 163 has no meaning here"),
        (STARTED + STARTED, "STARTED came twice"),
        (STARTED + frames(extension.WELCOME, bytes(30)), "frame 151 has no meaning here"),
        (STARTED + frames(extension.STREAM_ENDED, b"\1") + OUTPUT, "output came outside the session"),
        (STARTED + frames(extension.STREAM_ENDED, b"\7"), "no stream 07 can end here"),
        (STARTED + frames(extension.STREAM_ENDED), "no stream  can end here"),
        (frames(extension.STREAM_ENDED, b"\0"), "frame 161 has no meaning here"),
        (STARTED + frames(extension.CREDIT, b"\1\2\3"), "CREDIT has 3 bytes"),
        (STARTED + frames(extension.STATUS, bytes(45)), "STATUS is too short"),
        (frames(extension.ERROR, bytes(4)), "ERROR is too short"),
        (frames(extension.STARTED, b"\2\xff\xff\xff\xff"), "an item is cut"),
        (frames(extension.STARTED, items([(131, b"")])), "item 131 of STARTED is not known"),
        (STARTED + frames(255), "frame 255 has no meaning here"),
        (STARTED + frames(9), "frame 9 has no meaning here"),
        (STARTED + frames(100), "frame 100 has no meaning here"),
        (STARTED + frames(extension.STDERR, b"x"), "frame 149 has no meaning here"),
        (STARTED + b"\1\0\0\xa3" + OUTPUT, "frame 0 came within a message of frames 163"),
    ],
)
def test_a_violation_is_one_line(router: ScriptedRouter, sent: bytes, problem: str) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.sock.sendall(sent)
        peer.read_to_end()  # it is the client who closes

    with playing(router, part):
        status, output, complaint = run(router.address)
    assert (status, output) == (255, b"")
    assert complaint == f"fastpty: the router violates the protocol: {problem}; exit status unknown\n"


@pytest.mark.parametrize("number", [130, 158, 168, 254])
def test_an_even_number_that_is_not_known_is_ignored(router: ScriptedRouter, number: int) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.send(number, bytes(1000))
        peer.output(b"x")
        peer.end(3)

    with playing(router, part):
        assert run(router.address) == (3, b"x", "")


def test_an_unknown_item_with_an_even_tag_is_ignored(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.send(extension.STARTED, items([(200, b"x"), (extension.SESSION, b"\5" + bytes(7))]))
        peer.end(3)

    with playing(router, part):
        assert run(router.address) == (3, b"", "")


def test_what_follows_the_status_is_ignored(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.sock.sendall(extension.status(extension.EXITED, 4) + OUTPUT + frames(255) + b"\xff")
        peer.read_to_end()

    with playing(router, part):
        assert run(router.address) == (4, b"", "")


def most_memory(pid: int) -> int:
    """The largest resident size so far, in bytes (proc(5))."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def endless(sock: socket.socket, piece: bytes, most: int = 256 * MIB) -> None:
    """Sends `piece` again and again, until the client closes."""
    sent = 0
    try:
        while sent < most:
            sock.sendall(piece)
            sent += len(piece)
    except OSError:
        return


@pytest.mark.parametrize("number", [extension.ERROR, extension.STATUS, extension.NOTICE, 254])
def test_a_message_without_end_is_given_up(router: ScriptedRouter, number: int) -> None:
    piece = b"\1\xff\xff" + bytes((number,)) + bytes(65_535)

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        endless(peer.sock, piece)

    with playing(router, part):
        status, output, complaint = run(router.address)
    assert (status, output) == (255, b"")
    assert complaint == (
        f"fastpty: the router violates the protocol: a message of frames {number} is longer than 262144 bytes; "
        "exit status unknown\n"
    )


@pytest.mark.parametrize(
    "piece",
    [
        frames(254, bytes(60_000)),
        frames(extension.CREDIT, b"\xff\xff\xff\xff") * 1000,
        frames(extension.PONG, bytes(32)) * 1000,
        frames(extension.STREAM_ENDED, b"\0") * 1000,
        OUTPUT * 1000,
    ],
)
def test_frames_without_end_take_no_memory(router: ScriptedRouter, piece: bytes) -> None:
    """The output is not read either."""
    with (
        subprocess.Popen(
            [*CLIENT, "connect", "-n", router.address], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as client,
        router.accept() as sock,
    ):
        try:
            peer = ExtensionPeer(sock)
            peer.begin()
            sock.settimeout(1)
            before = most_memory(client.pid)
            endless(sock, piece, 6 * MIB)
            assert most_memory(client.pid) < before + 4 * MIB
            assert client.poll() is None
        finally:
            client.kill()


def test_remarks_without_end_are_cut(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        for _ in range(1000):
            peer.send(extension.NOTICE, b"x" * 10_000)
        peer.end()

    with playing(router, part):
        status, output, complaint = run(router.address)
    assert (status, output) == (0, b"")
    assert complaint == ("fastpty: " + "x" * 400 + "\n") * 16


def test_a_notice_is_one_harmless_line_too(router: ScriptedRouter) -> None:
    """In the older protocols."""

    def part(peer: socket.socket) -> None:
        send_notice(peer, b"out\r\nfastpty: refused: \x1b]0;x\x07\r\x9b2J you\r\n")

    with router.playing(part):
        assert run(router.address) == (255, b"out\r\n", "fastpty: refused: \\x1b]0;x\\x07\\r\ufffd2J you\n")


def test_a_long_refusal_is_cut(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.sock.sendall(extension.refusal(extension.REFUSED, b"y" * 100_000))

    with playing(router, part):
        assert run(router.address) == (255, b"", "fastpty: " + "y" * 400 + "\n")


def outcome(stream: list[bytes]) -> Status | SessionError:
    """The result of a session whose router sends `stream` after WELCOME."""
    session = Session()
    session.input(b"input")
    try:
        for piece in [extension.welcome(bytes(8), 0, 10), *stream]:
            session.take(piece)
            session.take_notices()
            session.replies()
            if session.is_over:
                break
        return session.check(None)
    except SessionError as error:
        return error


PIECES = [STARTED, STATUS, OUTPUT, frames(extension.STREAM_ENDED, b"\1"), frames(extension.CREDIT, bytes(4))]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.sampled_from(PIECES),
            st.builds(frames, st.integers(130, 255), st.binary(max_size=60)),
            st.binary(max_size=30),
        )
    )
)
def test_no_stream_of_bytes_makes_another_error_than_a_session_s(stream: list[bytes]) -> None:
    ended = outcome(stream)
    if isinstance(ended, SessionError):
        assert ended.exit_status in (126, 127, 255)
        assert "\n" not in str(ended)


@pytest.mark.parametrize("piece", [b"\0\5", frames(extension.STARTED, bytes(100))[:50], OUTPUT[:4] + b""])
def test_a_router_that_stops_within_a_frame_can_be_left(router: ScriptedRouter, piece: bytes) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as sock:
        peer = ExtensionPeer(sock)
        peer.begin()
        peer.output(b"ready")
        client.read_until(b"ready")
        sock.sendall(piece)
        client.type(b"~.")
        assert client.wait() == 255
        assert b"fastpty: disconnected\r\n" in client.shown
