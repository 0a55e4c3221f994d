"""Growth: the router's cost per session, or per byte, with 1, 8, 64 and 512 sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Thread
from typing import Any

import pytest

from bench._load import drain_each, echo, pour
from bench.compare import MIB, SIZE_MIB, Figure, compare, percentiles
from bench.crowd import crowd
from bench.field import Field
from bench.peers import Peer
from bench.usage import cpu_seconds, private_kib

COUNTS = [1, 8, 64, 512]
KEYSTROKES = 300
GIB = 1 << 30

FIGURES = {
    "output": ("router CPU, output of all together", "s/GiB"),
    "input": ("router CPU, input of all together", "s/GiB"),
    "start": ("router CPU, start and end of a session", "ms"),
    "memory": ("router memory for an idle session", "KiB"),
    "echo": ("keystroke echo beside the others, idle, p50", "µs"),
}


def start_cost(peer: Peer, count: int) -> float:
    """Milliseconds of CPU time for sessions that start together and whose clients leave at once."""
    before = cpu_seconds(peer.router_pids())
    for connection in [peer.connect() for _ in range(count)]:
        connection.ready().close()
    peer.settle()
    return (cpu_seconds(peer.router_pids()) - before) / count * 1000


def output_cost(peer: Peer, count: int) -> float:
    size = SIZE_MIB * MIB // count
    connections = [peer.connect().ready() for _ in range(count)]
    before = cpu_seconds(peer.router_pids())
    for connection in connections:
        connection.order(f"write {size}")
    drain_each([connection.fd for connection in connections], size)
    used = cpu_seconds(peer.router_pids()) - before
    for connection in connections:
        connection.close()
    peer.settle()
    return used * GIB / (size * count)


def input_cost(peer: Peer, count: int) -> float:
    size = SIZE_MIB * MIB // count
    connections = [peer.session(f"read {size}") for _ in range(count)]
    time.sleep(0.1)  # the programs read their orders
    before = cpu_seconds(peer.router_pids())
    writers = [Thread(target=pour, args=(connection.fd, size)) for connection in connections]
    for writer in writers:
        writer.start()
    for connection in connections:
        connection.skip(1)
    used = cpu_seconds(peer.router_pids()) - before
    for writer, connection in zip(writers, connections, strict=True):
        writer.join()
        connection.close()
    peer.settle()
    return used * GIB / (size * count)


def idle_cost(peer: Peer, count: int) -> tuple[float, float]:
    """Memory per session in KiB, and the echo time of one more session."""
    peer.restart()
    with peer.session("echo") as typist:
        before_kib = private_kib(peer.router_pids())
        with crowd(peer, count):
            memory_kib = (private_kib(peer.router_pids()) - before_kib) / count
            echo(typist.fd, 20, 500, typist.framed)
            return memory_kib, percentiles(echo(typist.fd, KEYSTROKES, 500, typist.framed))["p50"]


def costs(peer: Peer, count: int) -> Mapping[str, float]:
    start, output, taken = start_cost(peer, count), output_cost(peer, count), input_cost(peer, count)
    memory, p50 = idle_cost(peer, count)
    return {"start": start, "output": output, "input": taken, "memory": memory, "echo": p50}


@pytest.mark.parametrize("count", COUNTS)
def test_growth(benchmark: Any, programs: Field, count: int) -> None:
    figures = [Figure(name, title, unit, column=count) for name, (title, unit) in FIGURES.items()]
    compare(benchmark, programs, ["fastpty", "uWSGI"], lambda peer: costs(peer, count), figures, rounds=3)
