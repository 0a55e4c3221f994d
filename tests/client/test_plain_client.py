"""docs/protocol.md is enough to write a client: tests/support/plain_client.py, which knows nothing else, is one."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.harness import Router, children, eventually
from tests.support.plain_client import BrokenError, PlainClient, RouterError

EXITED, SIGNALLED = 1, 2
REFUSED, EXECUTE, PROTOCOL, STOPPED = 3, 8, 1, 11
CAN_EXEC, MAY_CHOOSE = 2, 64
EXEC = (0, 1000)
LINES_MOST = 250


@pytest.fixture(params=["local socket", "TCP"])
def address(
    request: pytest.FixtureRequest, start_router: Callable[..., Router], directory: Path
) -> str | tuple[str, int]:
    """Of a router whose program is sh."""
    if request.param == "local socket":
        start_router(f"{directory}/s")
        return f"{directory}/s"
    router = start_router("--fpty-router", "127.0.0.1:0")
    return "127.0.0.1", int(router.wait_for_log(r"listening on 127\.0\.0\.1:(\d+)")[0][1])


def ended(client: PlainClient) -> tuple[int, int]:
    status = client.status()
    return status.how, status.code


def test_it_is_short_and_knows_the_page_only() -> None:
    text = (ROOT / "tests/support/plain_client.py").read_text()
    assert len(text.splitlines()) <= LINES_MOST
    assert "fastpty." not in text.replace("docs/protocol.md", "")
    assert "import fastpty" not in text
    assert "from fastpty" not in text


def test_start_and_status(address: str) -> None:
    with PlainClient(address) as client:
        assert client.welcome.version == 1
        assert client.welcome.capabilities & MAY_CHOOSE
        script = 'echo "$TERM $A $PWD"; exit 3'
        client.start(["sh", "-c", script], term="vt220", environment=["A=x y"], directory="/usr")
        assert ended(client) == (EXITED, 3)
        assert client.output == b"vt220 x y /usr\r\n"
        assert client.started is not None
        assert struct.unpack("<Q", client.started[2]) == (1,)


def test_a_long_start_in_several_frames(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "echo ${#1}", "sh", "x" * 100_000])
        assert ended(client) == (EXITED, 0)
        assert client.output == b"100000\r\n"


def test_the_router_s_own_program(address: str) -> None:
    with PlainClient(address) as client:
        client.start()
        client.type(b"exit 9\r")
        assert ended(client) == (EXITED, 9)


def test_sizes(address: str) -> None:
    script = "stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with PlainClient(address) as client:
        client.start(["sh", "-c", script], size=(30, 90))
        client.read_until(b"30 90\r\nready\r\n")
        client.resize(31, 91)
        client.read_until(b"31 91\r\n")
        client.resize_in_two_steps(32, 92)
        client.read_until(b"32 92\r\n")


def test_a_signal(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "echo ready; exec sleep 1000"])
        client.read_until(b"ready")
        client.send_signal(signal.SIGTERM)
        assert ended(client) == (SIGNALLED, signal.SIGTERM)


def test_a_program_without_a_terminal(address: str) -> None:
    with PlainClient(address) as client:
        assert client.welcome.capabilities & CAN_EXEC
        client.start(["sh", "-c", "test -t 0 || echo no; cat; echo err >&2; exit 4"], streams=EXEC)
        client.type(b"input")
        client.end_input()
        assert ended(client) == (EXITED, 4)
        assert (client.output, client.errors) == (b"no\ninput", b"err\n")
        assert {1, 2} <= client.ended_streams


def test_standard_error_in_the_output(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "echo a; echo b >&2"], streams=(1, 1000))
        assert ended(client) == (EXITED, 0)
        assert (client.output, client.errors) == (b"a\nb\n", b"")


def test_much_input_and_output_without_a_terminal(address: str) -> None:
    data = os.urandom(3_000_000)
    with PlainClient(address) as client:
        client.start(["cat"], streams=EXEC)
        client.type(data)
        client.end_input()
        status = client.status()
    assert client.output == data
    assert (status.input, status.input_left) == (len(data), 0)


def test_input_that_the_program_does_not_take(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "exec <&-; echo closed; read line < /dev/null; exit 5"], streams=EXEC)
        client.type(bytes(3_000_000))
        client.end_input()
        assert ended(client) == (EXITED, 5)


def test_output_that_the_client_does_not_want(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["yes"], streams=EXEC)
        client.read_until(b"y\n")
        client.stop(1)
        assert ended(client) == (SIGNALLED, signal.SIGPIPE)
        assert 1 in client.ended_streams


def test_a_job_that_holds_the_output_is_a_flag_of_the_status(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "sleep 1000 & echo $!"], streams=(0, 10))
        status = client.status()
    os.kill(int(client.output), signal.SIGKILL)
    assert (status.how, status.flags & 1, status.code) == (EXITED, 1, 0)


@pytest.mark.parametrize(("word", "errno"), [("no-such-command", 2), ("/etc/passwd", 13)])
def test_a_command_that_cannot_be_executed(address: str, word: str, errno: int) -> None:
    with PlainClient(address) as client:
        client.start([word])
        with pytest.raises(RouterError) as raised:
            client.status()
    assert (raised.value.code, raised.value.errno) == (EXECUTE, errno)


def test_a_command_that_is_refused(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s", "--client-command", "no")
    with PlainClient(f"{directory}/s") as client:
        assert not client.welcome.capabilities & MAY_CHOOSE
        client.start(["id"])
        with pytest.raises(RouterError, match="clients may not choose a command") as raised:
            client.status()
    assert raised.value.code == REFUSED


def test_input_beyond_the_window_is_a_violation(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "stty raw; echo ready; exec sleep 1000"])
        client.read_until(b"ready")
        client._credit = 1 << 30
        client.type(bytes(client.welcome.window + 1))
        with pytest.raises(RouterError) as raised:
            client.status()
    assert raised.value.code == PROTOCOL


def test_much_input_and_its_end(address: str) -> None:
    data = b"".join(b"%07d %s\n" % (number, b"x" * 55) for number in range(10_000))
    with PlainClient(address) as client:
        client.start(["sh", "-c", f"stty raw -echo; echo ready; head -c {len(data)} | sha256sum; stty cooked; cat"])
        client.read_until(b"ready")
        client.type(data)
        client.read_until(hashlib.sha256(data).hexdigest().encode())
        client.type(b"the rest\n")
        client.end_input()
        status = client.status()
    assert (status.how, status.code) == (EXITED, 0)
    assert client.output.endswith(b"the rest\r\n")
    assert (status.input, status.input_left) == (len(data) + 9, 0)


def test_much_output(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "stty -opost; head -c 3000000 /dev/zero; exit 1"])
        status = client.status()
    assert (status.code, status.output, len(client.output)) == (1, 3_000_000, 3_000_000)


def test_a_ping_overtakes_input_that_nobody_reads(address: str) -> None:
    with PlainClient(address) as client:
        client.start(["sh", "-c", "stty raw -echo; echo ready; exec sleep 1000"])
        client.read_until(b"ready")
        client.type(bytes(client.welcome.window * 2))
        client.ping(b"are you there?")
        while not client.pongs:
            client.read()
        assert client.pongs == [b"are you there?"]


def test_a_client_that_leaves_hangs_up(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    with PlainClient(f"{directory}/s") as client:
        client.start(["sleep", "1000"])
        router.wait_for_log("session 1: start")
    eventually(lambda: not children(router.pid), "the program is gone")


def test_a_router_that_is_stopped(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    with PlainClient(f"{directory}/s") as client:
        client.start(["sleep", "1000"])
        router.wait_for_log("session 1: start")
        router.process.terminate()
        with pytest.raises(RouterError, match="the router was stopped") as raised:
            client.status()
    assert raised.value.code == STOPPED


def test_a_connection_that_ends_without_a_final_frame_is_broken(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s")
    with PlainClient(f"{directory}/s") as client:
        client.start(["sleep", "1000"])
        router.wait_for_log("session 1: start")
        os.kill(router.pid, signal.SIGKILL)
        with pytest.raises(BrokenError, match="without a final frame"):
            client.status()
    router.wait_for_log("ready", 2)
