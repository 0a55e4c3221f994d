"""^C under flood: how long a program that writes without end lives on after the key."""

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
from bench.peers import Connection, Peer

STALL_SECONDS = 0.3
NEVER_SECONDS = 2.0
TIMES = 5
PIECE_BYTES = 4096
SLOW_BYTES_A_SECOND = 2 * MIB


def while_reading(peer: Peer) -> float:
    """Milliseconds until the client has seen the last byte."""
    with peer.session("flood") as connection:
        connection.skip(4 * MIB)
        start_ns = time.monotonic_ns()
        connection.send(b"\3")
        _, last_ns = drain_to_end(connection.fd)
        return (last_ns - start_ns) / 1e6


def while_slow(peer: Peer) -> float:
    """The same for a client on a slow link, which first has to read what was sent before the key."""
    with peer.session("flood") as connection:
        read_slowly(connection, 64)
        start_ns = time.monotonic_ns()
        connection.send(b"\3")
        read_slowly(connection, None)
        return (time.monotonic_ns() - start_ns) / 1e6


def read_slowly(connection: Connection, pieces: int | None) -> None:
    """Reads this many pieces, or to the end."""
    while pieces is None or pieces > 0:
        try:
            if not os.read(connection.fd, PIECE_BYTES):
                return
        except OSError:  # how a bare pty ends
            return
        time.sleep(PIECE_BYTES / SLOW_BYTES_A_SECOND)
        pieces = None if pieces is None else pieces - 1


def while_stalled(peer: Peer) -> float:
    """Milliseconds until the program has died. The client does not read."""
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
    # A bare pty itself takes more than half of uWSGI's time, so the target is to be close to a bare pty.
    targets = [Target("fastpty", "<=", 0.5, "uWSGI"), Target("fastpty", "<=", 1.25, "bare")]
    figure = Figure("time", "^C to silence, client reads", "ms", targets)
    names = ["fastpty", "uWSGI", "socat", "bare"]
    compare(benchmark, programs, names, lambda peer: several(while_reading, peer), [figure])


def test_client_is_slow(benchmark: Any, programs: Field) -> None:
    figure = Figure("time", "^C to silence, client reads 2 MiB/s", "ms", [Target("fastpty", "<=", 0.5, "uWSGI")])
    names = ["fastpty", "uWSGI", "socat", "bare"]
    compare(benchmark, programs, names, lambda peer: several(while_slow, peer), [figure], rounds=3)


def test_client_had_stopped_reading(benchmark: Any, programs: Field) -> None:
    title = "^C to the program's end, client does not read"
    figure = Figure("time", title, "ms", [Target("fastpty", "<=", 0.5, "uWSGI")])
    names = ["fastpty", "uWSGI", "socat", "bare"]
    compare(benchmark, programs, names, lambda peer: several(while_stalled, peer), [figure], rounds=3)
