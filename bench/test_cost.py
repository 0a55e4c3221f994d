"""Cost: what the router itself uses for bulk output, bulk input and a keystroke."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from bench._load import drain, echo, pour
from bench.compare import BENCH_MIB, MIB, Figure, Target, compare
from bench.conftest import Field
from bench.peers import Peer
from bench.usage import cpu_seconds, system_calls

KEYSTROKES = 100
TRACED_MIB = 8
GIB = 1 << 30


def cpu_per_gib(peer: Peer) -> Mapping[str, float]:
    size = BENCH_MIB * MIB
    with peer.connect().ready() as connection:
        pids = peer.router_pids()
        before = cpu_seconds(pids)
        connection.order(f"write {size}")
        assert drain(connection.fd, size) == size
        output = cpu_seconds(pids) - before
    with peer.session(f"read {size}") as connection:
        pids = peer.router_pids()
        before = cpu_seconds(pids)
        pour(connection.fd, size)
        connection.skip(1)
        return {"output": output * GIB / size, "input": (cpu_seconds(pids) - before) * GIB / size}


def calls(peer: Peer) -> Mapping[str, float]:
    with peer.session("echo") as connection:
        echo(connection.fd, 10, 1000, connection.framed)
        with system_calls(peer.router_pids()) as keystroke_calls:
            echo(connection.fd, KEYSTROKES, 1000, connection.framed)
    with peer.connect().ready() as connection:
        size = TRACED_MIB * MIB
        with system_calls(peer.router_pids()) as output_calls:
            connection.order(f"write {size}")
            drain(connection.fd, size)
    return {
        "keystroke": sum(keystroke_calls.values()) / KEYSTROKES,
        "output": sum(output_calls.values()) / TRACED_MIB,
    }


def test_cpu(benchmark: Any, programs: Field) -> None:
    chosen = programs.select("fastpty", "fastpty (no splice)", "uWSGI", "socat")
    figures = [
        Figure(way, f"router CPU, bulk {way}", "s/GiB", [Target("fastpty", "<=", 0.9, "uWSGI")])
        for way in ("output", "input")
    ]
    measures = {name: (lambda peer=peer: cpu_per_gib(peer)) for name, peer in chosen.items()}
    compare(benchmark, measures, figures, programs.missing)


def test_system_calls(benchmark: Any, programs: Field) -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed")
    chosen = programs.select("fastpty", "fastpty (no splice)", "uWSGI", "socat")
    figures = [
        Figure("keystroke", "system calls per keystroke", "calls", [Target("fastpty", "<=", 1.0, "uWSGI")]),
        Figure("output", "system calls per MiB of output", "calls"),
    ]
    measures = {name: (lambda peer=peer: calls(peer)) for name, peer in chosen.items()}
    compare(benchmark, measures, figures, programs.missing, rounds=3)
