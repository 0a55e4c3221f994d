"""What the router costs, in counts that do not depend on the machine's mood: system calls and wake-ups."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.instructions import per_frame
from tests.harness import RAW_CAT, Client, Router, eventually
from tests.peers import need

KEYSTROKES = 100
OUTPUT_MIB = 8
TRANSFERS = {"read", "write", "splice"}


@contextmanager
def traced(router: Router, log: Path) -> Iterator[Counter[str]]:
    """The router's system calls meanwhile, by name: filled in at the end."""
    argv = [need("strace"), "-f", "-o", str(log), "-p", str(router.pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    calls: Counter[str] = Counter()
    try:
        yield calls
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
    calls.update(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))


def wakeups(router: Router) -> int:
    """How often the router has gone to sleep, which is how often it was woken."""
    status = Path(f"/proc/{router.pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])


def asleep(router: Router) -> bool:
    return Path(f"/proc/{router.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def type_keys(client: Client, framed: bool) -> None:
    """Each key after the echo of the one before."""
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
    """A router with one session that echoes, at rest; and whether it is spoken to in packets."""
    path = str(directory / "socket")
    router = start_router(request.param, path, "--forkptyrouter-command", RAW_CAT)
    with Client(path) as client:
        client.read_until(b"READY")
        framed = request.param == "--forkpty-urouter"
        type_keys(client, framed)
        router.wait_for_log("session 1: start")
        eventually(lambda: asleep(router), "the router rests")
        yield router, client, framed


def test_a_keystroke_costs_two_waits_and_two_transfers_each_way(
    echoing: tuple[Router, Client, bool], directory: Path
) -> None:
    router, client, framed = echoing
    with traced(router, directory / "calls") as calls:
        type_keys(client, framed)
    assert set(calls) <= {"epoll_wait", *TRANSFERS}
    assert sum(calls[name] for name in TRANSFERS) == 4 * KEYSTROKES
    # One more at either end of the trace.
    assert calls["epoll_wait"] <= 2 * KEYSTROKES + 2


def test_a_keystroke_wakes_the_router_twice_at_the_most(echoing: tuple[Router, Client, bool]) -> None:
    router, client, framed = echoing
    before = wakeups(router)
    type_keys(client, framed)
    assert wakeups(router) - before <= 2 * KEYSTROKES + 2


def test_idle_sessions_wake_nobody(echoing: tuple[Router, Client, bool]) -> None:
    router, _, _ = echoing
    before = wakeups(router)
    signal.sigtimedwait([], 1.0)
    assert wakeups(router) == before


@pytest.mark.parametrize("splice", ["on", "off"])
def test_bulk_output_costs_few_calls_for_a_mebibyte(
    splice: str, start_router: Callable[..., Router], directory: Path
) -> None:
    """A tty takes what a program writes in pieces of 2 KiB. At the worst each costs a wait, a read and a write."""
    path = str(directory / "socket")
    command = f"stty raw -echo; printf READY; head -c 1; exec head -c {OUTPUT_MIB << 20} /dev/zero"
    router = start_router("--forkpty-router", path, "--splice", splice, "--forkptyrouter-command", command)
    with Client(path) as client:
        client.read_until(b"READY")
        with traced(router, directory / "calls") as calls:
            client.send(b"g")
            client.read_exactly(OUTPUT_MIB << 20)
    relaying = sum(calls[name] for name in {"epoll_wait", *TRANSFERS})
    others = sum(calls.values()) - relaying
    assert relaying / OUTPUT_MIB <= 3 * 512, calls
    # The end of the session, and its line in the log.
    assert others < 50, calls


def test_a_frame_costs_the_parser_few_instructions(directory: Path) -> None:
    """Counted, not timed. 64 bytes of payload or 4 KiB: the payload is never looked at."""
    need("valgrind")
    small, large = per_frame(64, directory), per_frame(4096, directory)
    assert small < 100
    assert abs(large - small) < 1
