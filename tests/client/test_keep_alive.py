"""A client across a network whose router has vanished."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import ScriptedRouter
from tests.support.extension_peer import ExtensionPeer, playing

# The real intervals are too long for a test.
IMPATIENT = [
    sys.executable,
    "-c",
    "import sys; from fastpty.client import keep_alive; keep_alive._SILENCE_SECONDS = float(sys.argv.pop(1)); "
    "from fastpty.cli import main; sys.exit(main())",
]


def run(address: str, silence: float = 0.2) -> tuple[int, bytes, str]:
    command = [*IMPATIENT, str(silence), "connect", "-n", "--protocol", "fpty", address]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr.decode()


def test_a_router_that_answers_no_ping_is_lost(tcp_router: ScriptedRouter) -> None:
    received = []

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        received.extend(peer.read_to_end())

    with playing(tcp_router, part):
        status, output, complaint = run(tcp_router.address)
    assert (status, output) == (255, b"")
    assert complaint == "fastpty: lost the connection: the router has not answered for 0.8 s; exit status unknown\n"
    assert received == [(extension.END_INPUT, b"")] + [(extension.PING, b"")] * 3


@pytest.mark.parametrize("answer", [(extension.PONG, b""), (extension.OUTPUT, b"x"), (254, b"anything")])
def test_any_answer_is_a_sign_of_life(tcp_router: ScriptedRouter, answer: tuple[int, bytes]) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        assert peer.receive() == (extension.END_INPUT, b"")
        for _ in range(8):
            assert peer.receive() == (extension.PING, b"")
            peer.send(*answer)
            peer.output_bytes += len(answer[1]) if answer[0] == extension.OUTPUT else 0
        peer.end(3)

    with playing(tcp_router, part):
        status, _, complaint = run(tcp_router.address)
    assert (status, complaint) == (3, "")


def test_a_client_that_does_not_read_blames_nobody(tcp_router: ScriptedRouter) -> None:
    """Its own output is blocked meanwhile, for longer than the router may be silent."""
    blocked, lines = os.pipe()

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(bytes(1 << 20))
        peer.end(3)

    command = [*IMPATIENT, "0.05", "connect", "-n", "--protocol", "fpty", tcp_router.address]
    with (
        playing(tcp_router, part),
        subprocess.Popen(command, cwd=ROOT, stdout=lines, stderr=subprocess.PIPE) as client,
    ):
        os.close(lines)
        assert client.stderr is not None
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(2)
        size = 0
        while some := os.read(blocked, 65536):
            size += len(some)
        os.close(blocked)
        assert (client.wait(30), client.stderr.read(), size) == (3, b"", 1 << 20)


def test_a_local_router_needs_no_ping(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        assert peer.receive() == (extension.END_INPUT, b"")
        peer.sock.settimeout(1)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(30)
        peer.end(3)

    with playing(router, part):
        assert run(router.address, 0.05) == (3, b"", "")
