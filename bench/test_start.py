"""Session start: from connect to the first byte of the shell's prompt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bench._load import drain_each
from bench.compare import SIZE_MIB, Figure, Target, compare
from bench.field import Field
from bench.peers import Peer

AT_ONCE = 16
STARTS = max(20, SIZE_MIB)


def start_together(peer: Peer, count: int) -> int:
    """Nanoseconds until the last session's prompt."""
    begin_ns = time.monotonic_ns()
    connections = [peer.connect() for _ in range(count)]
    prompts = drain_each([connection.fd for connection in connections], 1)
    for connection in connections:
        connection.close()
    peer.settle()
    assert all(count for count, _ in prompts)
    return max(done_ns - begin_ns for _, done_ns in prompts)


def one_at_a_time(peer: Peer) -> Mapping[str, float]:
    times_ns = sorted(start_together(peer, 1) for _ in range(STARTS))
    return {"p50": times_ns[len(times_ns) // 2] / 1e6}


def many_at_a_time(peer: Peer) -> Mapping[str, float]:
    times_ns = [start_together(peer, AT_ONCE) for _ in range(max(3, STARTS // AT_ONCE))]
    return {"rate": AT_ONCE * len(times_ns) / sum(times_ns) * 1e9}


def test_one_at_a_time(benchmark: Any, shells: Field) -> None:
    names = ["fastpty", "fastpty (uwsgi)", "uWSGI", "socat", "bare"]
    figure = Figure("p50", "session start, 1 at a time, p50", "ms", [Target("fastpty", "<=", 0.75, "uWSGI")])
    compare(benchmark, shells, names, one_at_a_time, [figure])


def test_many_at_a_time(benchmark: Any, shells: Field) -> None:
    targets = [Target("fastpty", ">=", 1.2, "uWSGI"), Target("fastpty", ">=", 0.9, "bare")]
    figure = Figure("rate", f"session start, {AT_ONCE} at a time", "sessions/s", targets)
    compare(benchmark, shells, ["fastpty", "uWSGI", "socat", "bare"], many_at_a_time, [figure])
