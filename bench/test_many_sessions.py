"""Many idle sessions: the router's memory per session, echo and start among them, and wake-ups while all are idle."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench import peers
from bench._load import echo
from bench.compare import SIZE_MIB, Figure, Target, compare, percentiles
from bench.crowd import crowd
from bench.field import Field
from bench.peers import Peer
from bench.usage import cpu_seconds, private_kib, wakeups

COUNTS = [8, 64, 512, 4000] if SIZE_MIB >= 128 else [8, 64]
KEYSTROKES = 500
STARTS = 40
SOCAT_MOST = 64  # one process per session
QUIET_SECONDS = 2.0
SETTLE_SECONDS = 1.5  # until the starts are over and the router has stopped polling (--busy-poll)
VERY_MANY = 20_000
PTY_MAX = Path("/proc/sys/kernel/pty/max")


@pytest.fixture
def very_many_ptys() -> Iterator[None]:
    """The kernel's default limit of ptys is 4096. root can raise it."""
    before = PTY_MAX.read_text()
    PTY_MAX.write_text(str(VERY_MANY + 1000))
    yield
    PTY_MAX.write_text(before)


def start_ms(peer: Peer) -> float:
    """The median time from connect to the program's first output."""
    times_ns = []
    for _ in range(STARTS):
        begin_ns = time.monotonic_ns()
        with peer.connect().ready():
            times_ns.append(time.monotonic_ns() - begin_ns)
        time.sleep(0.01)  # uWSGI drops a session that starts while another ends
    return median(times_ns) / 1e6


def among_idle(peer: Peer, count: int) -> Mapping[str, float]:
    peer.restart()
    with peer.session("echo") as first:
        echo(first.fd, KEYSTROKES, 500, first.framed)
        alone = percentiles(echo(first.fd, KEYSTROKES, 500, first.framed))["p50"]
        start_alone = start_ms(peer)
        before_kib = private_kib(peer.router_pids())
        with crowd(peer, count):
            time.sleep(SETTLE_SECONDS)
            pids = peer.router_pids()
            memory = (private_kib(pids) - before_kib) / count
            among = percentiles(echo(first.fd, KEYSTROKES, 500, first.framed))["p50"]
            start_among = start_ms(peer)
            time.sleep(0.1)
            woken, busy = wakeups(pids), cpu_seconds(pids)
            time.sleep(QUIET_SECONDS)
            woken, busy = wakeups(pids) - woken, cpu_seconds(pids) - busy
    return {
        "memory": memory,
        "echo": among / alone,
        "start": start_among / start_alone,
        "wakeups": woken / QUIET_SECONDS,
        "cpu": busy / QUIET_SECONDS * 1000,
    }


@pytest.mark.parametrize("count", COUNTS)
def test_idle_sessions(benchmark: Any, programs: Field, count: int) -> None:
    names = ["fastpty", "uWSGI", "socat"] if count <= SOCAT_MOST else ["fastpty", "uWSGI"]
    compare(benchmark, programs, names, lambda peer: among_idle(peer, count), figures_of(count), rounds=3)


@pytest.mark.skipif(os.geteuid() != 0 or SIZE_MIB < 128, reason="needs root, and time")
@pytest.mark.usefixtures("very_many_ptys")
def test_very_many_idle_sessions(benchmark: Any, tmp_path: Path) -> None:
    """With as many workers as the limit of descriptors needs: a session has three in its worker."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    field = Field.started(tmp_path, peers.PROGRAM, processes=-(-4 * VERY_MANY // limit))
    try:
        compare(
            benchmark, field, ["fastpty"], lambda peer: among_idle(peer, VERY_MANY), figures_of(VERY_MANY), rounds=1
        )
    finally:
        field.end()


def figures_of(count: int) -> list[Figure]:
    memory = [Target("fastpty", "<=", 1.0, "uWSGI")]
    return [
        Figure("memory", f"router memory for each of {count} idle sessions", "KiB", memory),
        Figure("echo", f"echo among {count} idle sessions, ratio to echo alone", "x"),
        Figure("start", f"session start among {count} idle sessions, ratio to start alone", "x"),
        Figure("wakeups", f"wake-ups of the router with {count} idle sessions", "1/s"),
        Figure("cpu", f"router CPU with {count} idle sessions", "ms/s"),
    ]
