"""^C under flood: how long a program that writes for ever outlives the key."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from bench._load import drain_to_end
from bench.compare import MIB, Figure, Target, compare
from bench.field import Field
from bench.peers import Peer

STALL_SECONDS = 0.3
NEVER_SECONDS = 2.0
TIMES = 5


def while_reading(peer: Peer) -> float:
    """Milliseconds until the client has seen the last byte."""
    with peer.session("flood") as connection:
        connection.skip(4 * MIB)
        start_ns = time.monotonic_ns()
        connection.send(b"\3")
        _, last_ns = drain_to_end(connection.fd)
        return (last_ns - start_ns) / 1e6


def while_stalled(peer: Peer) -> float:
    """Milliseconds until the program is dead; the client has stopped reading, and does not read."""
    with peer.session("flood") as connection:
        time.sleep(STALL_SECONDS)
        pidfd = os.pidfd_open(connection.pid)
        start_ns = time.monotonic_ns()
        connection.send(b"\3")
        died = select.select([pidfd], [], [], NEVER_SECONDS)[0]
        elapsed_ms = (time.monotonic_ns() - start_ns) / 1e6
        os.close(pidfd)
        return elapsed_ms if died else math.inf


def several(measure: Callable[[Peer], float], peer: Peer) -> Mapping[str, float]:
    times = []
    for _ in range(TIMES):
        peer.settle()
        times.append(measure(peer))
    return {"time": median(times)}


def test_client_reads(benchmark: Any, programs: Field) -> None:
    figure = Figure("time", "^C to silence, client reads", "ms", [Target("fastpty", "<=", 0.5, "uWSGI")])
    names = ["fastpty", "uWSGI", "socat", "bare"]
    compare(benchmark, programs, names, lambda peer: several(while_reading, peer), [figure])


def test_client_had_stopped_reading(benchmark: Any, programs: Field) -> None:
    title = "^C to the program's end, client does not read"
    figure = Figure("time", title, "ms", [Target("fastpty", "<=", 0.5, "uWSGI")])
    names = ["fastpty", "uWSGI", "socat", "bare"]
    compare(benchmark, programs, names, lambda peer: several(while_stalled, peer), [figure], rounds=3)
