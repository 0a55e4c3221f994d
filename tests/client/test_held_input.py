"""What could make a router execute a command by mistake is not sent."""

from __future__ import annotations

import itertools
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpty.client.legacy import KEPT_BYTES, Legacy, StartFinder
from fastpty.client.negotiation import Greeting, new_name
from fastpty.errors import FastptyError
from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter, receive_all, receive_until
from tests.support.extension_peer import ExtensionPeer, playing

START = extension.frames(extension.START, extension.items([(extension.ARGUMENT, b"reboot")]))
SIZE = extension.frames(extension.SIZE, bytes(8))
SAFE = 3  # bytes of a START that are none yet

early = st.one_of(
    st.just(SIZE),
    st.builds(lambda data: extension.frames(extension.STDIN, data), st.binary(min_size=1, max_size=300)),
    st.sampled_from([b"ab\0d", b"ab\0e"]),  # ROWS and COLUMNS
)


def run(*arguments: str, data: bytes) -> tuple[int, bytes, str]:
    ended = subprocess.run([*CLIENT, "connect", *arguments], cwd=ROOT, input=data, capture_output=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr.decode()


def harmless(data: bytes, cuts: list[int]) -> int:
    """How many bytes of `data`, cut at these places, come before a START."""
    finder, count = StartFinder(), 0
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        found = finder.feed(data[start:end])
        count += found
        if found < end - start:
            break
    return count


@given(st.lists(early, max_size=10), st.binary(max_size=50), st.lists(st.integers(0, 1000), max_size=20))
def test_a_start_is_found_wherever_a_router_would_find_it(before: list[bytes], after: bytes, cuts: list[int]) -> None:
    data = b"".join(before)
    assert harmless(data + START + after, cuts) == len(data) + SAFE


@given(st.lists(early, max_size=10), st.integers(1, 99), st.lists(st.integers(0, 1000), max_size=20))
def test_after_a_frame_that_ends_the_session_nothing_is_a_start(
    before: list[bytes], number: int, cuts: list[int]
) -> None:
    data = b"".join(before) + bytes([0, 0, 0, number]) + START
    assert harmless(data, cuts) == len(data)


@given(st.text(max_size=1000))
def test_text_is_not_held(text: str) -> None:
    data = ("some text, then " + text).encode()
    assert harmless(data, []) == len(data)


@pytest.mark.parametrize("head", [b"", SIZE * 3, SIZE * (KEPT_BYTES // len(SIZE) + 100)])
def test_raw_input_that_holds_a_start_is_not_sent_to_a_late_router(router: ScriptedRouter, head: bytes) -> None:
    """The router greets the client when it has read all that comes before."""
    data = head + START + b"rest"
    received = []

    def late(peer: ExtensionPeer) -> None:
        first = b""
        while len(first) < len(head) + SAFE:
            first += peer.sock.recv(65536)
        received.append(first)
        peer.sock.sendall(peer.welcome)
        received.append(receive_all(peer.sock))

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        received.append(peer.read_input())
        peer.end(9)

    if len(data) > KEPT_BYTES:
        with playing(router, late):
            status, _, complaint = run(router.address, data=data)
        assert (status, "nothing was executed: try again" in complaint) == (255, True)
    else:
        with playing(router, late, part):
            assert run(router.address, data=data) == (9, b"", "")
        assert received[2] == data
    assert received[:2] == [head + START[:SAFE], b""]


def test_raw_input_that_holds_a_start_reaches_a_router_of_another_protocol(router: ScriptedRouter) -> None:
    data = SIZE + START + os.urandom(3 * KEPT_BYTES)
    received = []

    def part(peer: ExtensionPeer) -> None:
        first = receive_until(peer.sock, START[:SAFE])
        peer.sock.sendall(b"prompt$ ")
        received.append(first + receive_all(peer.sock))

    with playing(router, part):
        assert run(router.address, data=data) == (0, b"prompt$ ", "")
    assert received == [data]


def test_a_router_that_speaks_the_extension_after_all_gets_no_start(router: ScriptedRouter) -> None:
    """The user has said that it speaks the raw protocol."""
    received = []

    def late(peer: ExtensionPeer) -> None:
        received.append(receive_until(peer.sock, START[:SAFE]))
        peer.sock.sendall(peer.welcome)
        received.append(receive_all(peer.sock))

    with playing(router, late):
        status, output, complaint = run("--protocol", "raw", router.address, data=START)
    assert (status, output) == (255, b"")
    assert complaint.endswith(" is an address for fastpty's own protocol: connect with --protocol fpty\n")
    assert received == [START[:SAFE], b""]


def test_raw_input_goes_to_a_silent_router_that_the_user_calls_raw() -> None:
    legacy = Legacy("address", framed=False, is_local=True, greeting=Greeting([], is_ruled_out=True))
    assert legacy.input(START) == START[:SAFE]
    legacy.keep_no_more()
    assert (legacy.replies(), legacy.is_waiting) == (START[SAFE:], False)
    assert legacy.input(START) == START


def test_raw_input_that_holds_a_start_is_never_lost_silently() -> None:
    """Where the router says nothing."""
    legacy = Legacy("address", framed=False, is_local=True, greeting=Greeting([new_name()]))
    assert legacy.input(b"\0\0\0e" + START) == b"\0\0\0e" + START[:SAFE]
    assert legacy.is_waiting
    for end in (legacy.keep_no_more, legacy.end_input):
        with pytest.raises(FastptyError, match="the router is silent, and the input holds what could be a request"):
            end()


def test_input_in_frames_is_not_held() -> None:
    legacy = Legacy("address", framed=True, is_local=True, greeting=Greeting([new_name()]))
    assert legacy.input(START) == extension.frames(extension.STDIN, START)
    assert not legacy.is_waiting


def test_a_command_of_too_many_words_is_an_error_before_anything_is_sent(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.sock.sendall(peer.welcome)
        assert peer.receive() is None

    with playing(router, part):
        status, _, complaint = run(router.address, "--", *["x"] * 4096, data=b"")
    assert status == 2
    assert "items, and a router takes 4096" in complaint
