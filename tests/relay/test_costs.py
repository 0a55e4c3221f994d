"""What relaying costs, in system calls and wake-ups, which do not depend on the machine's load."""

from __future__ import annotations

import fcntl
import re
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.instructions import per_frame
from tests.support.harness import RAW_CAT, Client, Router, eventually
from tests.support.peers import need
from tests.support.tracing import traced

KEYSTROKES = 100
MIB = 1 << 20
OUTPUT_MIB = 8
PEER_HOLDS_BYTES = 16384
TTY_BUFFER_BYTES = 1792  # Linux with pages of 4 KiB: half a page less the header
TRANSFERS = {"read", "write", "splice"}


def wakeups(router: Router) -> int:
    """How often the router has gone to sleep, and so was woken."""
    status = Path(f"/proc/{router.pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])


def asleep(router: Router) -> bool:
    return Path(f"/proc/{router.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def unread_bytes(client: Client) -> int:
    """How many bytes the client has sent and the router has not read (SIOCOUTQ, unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4)))[0])


def type_keys(client: Client, framed: bool) -> None:
    """Types KEYSTROKES keys, each after the echo of the one before."""
    for _ in range(KEYSTROKES):
        if framed:
            client.frame(0, payload=b"k")
        else:
            client.send(b"k")
        assert client.read_exactly(1) == b"k"


@pytest.fixture(params=["--forkpty-router", "--forkpty-urouter"])
def echoing(
    request: pytest.FixtureRequest, start_router: Callable[..., Router], directory: Path
) -> Iterator[tuple[Router, Client, bool]]:
    """An idle router, its only client, whose session echoes, and whether the client sends frames."""
    path = str(directory / "socket")
    router = start_router(request.param, path, "--busy-poll", "0", "--forkptyrouter-command", RAW_CAT)
    with Client(path) as client:
        client.read_until(b"READY")
        framed = request.param == "--forkpty-urouter"
        type_keys(client, framed)
        router.wait_for_log("session 1: start")
        eventually(lambda: asleep(router), "the router is idle")
        yield router, client, framed


def test_a_keystroke_and_its_echo_cost_two_waits_and_four_transfers(
    echoing: tuple[Router, Client, bool], directory: Path
) -> None:
    router, client, framed = echoing
    with traced(router, directory / "calls") as calls:
        type_keys(client, framed)
    assert set(calls) <= {"epoll_wait", *TRANSFERS}
    assert sum(calls[name] for name in TRANSFERS) == 4 * KEYSTROKES
    # The trace can catch one more at its beginning and at its end.
    assert calls["epoll_wait"] <= 2 * KEYSTROKES + 2


def test_a_keystroke_and_its_echo_wake_the_router_at_most_twice(echoing: tuple[Router, Client, bool]) -> None:
    router, client, framed = echoing
    before = wakeups(router)
    type_keys(client, framed)
    assert wakeups(router) - before <= 2 * KEYSTROKES + 2


def test_idle_sessions_do_not_wake_the_router(echoing: tuple[Router, Client, bool]) -> None:
    router, _, _ = echoing
    before = wakeups(router)
    signal.sigtimedwait([], 1.0)
    assert wakeups(router) == before


@pytest.mark.parametrize("splice", ["on", "off"])
def test_bulk_output_costs_few_system_calls_per_mebibyte(
    splice: str, start_router: Callable[..., Router], directory: Path
) -> None:
    """A tty passes on what a program writes in pieces of 2 KiB.

    At worst each piece costs a read, a second read that finds nothing, a write and an epoll_wait. Waiting for room in a
    client's socket takes two calls of epoll_ctl.
    """
    path = str(directory / "socket")
    command = f"stty raw -echo; printf READY; head -c 1; exec head -c {OUTPUT_MIB << 20} /dev/zero"
    arguments = ("--splice", splice, "--busy-poll", "0", "--forkptyrouter-command", command)
    router = start_router("--forkpty-router", path, *arguments)
    with Client(path) as client:
        client.read_until(b"READY")
        with traced(router, directory / "calls") as calls:
            client.send(b"g")
            client.read_exactly(OUTPUT_MIB << 20)
    relaying = sum(calls[name] for name in {"epoll_wait", *TRANSFERS})
    others = sum(calls.values()) - relaying - calls["epoll_ctl"]
    assert relaying / OUTPUT_MIB <= 4 * 512, calls
    assert calls["epoll_ctl"] / OUTPUT_MIB <= 2 * MIB // PEER_HOLDS_BYTES, calls
    # The end of the session and its line in the log.
    assert others < 50, calls


def test_input_is_written_to_a_terminal_one_tty_buffer_at_a_time(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The program reads one buffer while the next is written. Larger writes are slower (docs/performance.md)."""
    path = str(directory / "socket")
    command = f"stty raw -echo; printf READY; head -c {MIB} | wc -c"
    router = start_router("--forkpty-router", path, "--forkptyrouter-command", command)
    with Client(path) as client:
        client.read_until(b"READY")
        with traced(router, directory / "calls"):
            client.send(bytes(MIB))
            client.read_until(f"{MIB}\n".encode())
    trace = (directory / "calls").read_text()
    terminal = re.findall(rf'read\((\d+), "{MIB}', trace)[0]
    given = re.findall(rf"(?:write\({terminal},|splice\(\d+, NULL, {terminal},).* = (\d+)$", trace, re.MULTILINE)
    assert sum(map(int, given)) == MIB
    assert max(map(int, given)) <= TTY_BUFFER_BYTES


@pytest.fixture
def polling(start_router: Callable[..., Router], directory: Path) -> Callable[[str, int], tuple[Router, Client]]:
    def start(program: str, busy_poll_us: int) -> tuple[Router, Client]:
        path = str(directory / "socket")
        router = start_router(path, "--busy-poll", str(busy_poll_us), "--forkptyrouter-command", program)
        client = Client(path)
        client.read_until(b"READY")
        router.wait_for_log("session 1: start")
        eventually(lambda: asleep(router), "the router is idle")
        return router, client

    return start


def test_busy_poll_waits_for_an_echo_by_yielding(
    polling: Callable[[str, int], tuple[Router, Client]], directory: Path
) -> None:
    router, client = polling(RAW_CAT, 10000)
    with client, traced(router, directory / "calls") as calls:
        type_keys(client, False)
    assert calls["sched_yield"] > 0
    assert set(calls) <= {"epoll_wait", "sched_yield", *TRANSFERS}


def test_busy_poll_pauses_ever_longer_while_no_echo_comes(
    polling: Callable[[str, int], tuple[Router, Client]], directory: Path
) -> None:
    router, client = polling("stty raw -echo; printf READY; exec cat >/dev/null", 500)
    begun = time.monotonic()
    with client, traced(router, directory / "calls"):
        for _ in range(KEYSTROKES):
            client.send(b"k")
            eventually(lambda: unread_bytes(client) == 0 and asleep(router), "the router is idle")
    names = re.findall(r"^\d+ +(\w+)\(", (directory / "calls").read_text(), re.MULTILINE)
    bets = sum(pair == ("write", "sched_yield") for pair in pairwise(names))
    # The pauses are 1, 2, 4 ms and so on, up to one second each.
    assert 0 < bets <= 11 + time.monotonic() - begun


def test_a_frame_costs_the_parser_few_instructions(directory: Path) -> None:
    """The parser does not touch the payload: 64 bytes or 4 KiB of it take the same number of instructions."""
    need("valgrind")
    small, large = per_frame(64, directory), per_frame(4096, directory)
    assert small < 100
    assert abs(large - small) < 1


def test_a_frame_of_the_extension_costs_few_instructions(directory: Path) -> None:
    """The parser alone at most 80. The relay's checks and the copy of a small payload come on top."""
    need("valgrind")
    small, large = (per_frame(size, directory, "extension_frames_in") for size in (8, 4096))
    assert small <= 80
    assert abs(large - small) < 1
    assert per_frame(8, directory, "extension_input_of") < 150
