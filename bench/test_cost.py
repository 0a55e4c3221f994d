"""Cost: CPU time and system calls of the router for bulk output, bulk input and a keystroke."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench._load import drain, echo, pour
from bench.compare import MIB, SIZE_MIB, Figure, Target, compare
from bench.field import Field
from bench.instructions import per_frame
from bench.peers import Peer
from bench.usage import cpu_seconds, system_calls

KEYSTROKES = 100
TRACED_MIB = 8
GIB = 1 << 30


def cpu_per_gib(peer: Peer) -> Mapping[str, float]:
    size = SIZE_MIB * MIB
    with peer.connect().ready() as connection:
        pids = peer.router_pids()
        before = cpu_seconds(pids)
        connection.order(f"write {size}")
        assert drain(connection.fd, size) == size
        output = cpu_seconds(pids) - before
    peer.settle()
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
    peer.settle()
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
    figures = [
        Figure(way, f"router CPU, bulk {way}", "s/GiB", [Target("fastpty", "<=", 0.9, "uWSGI")])
        for way in ("output", "input")
    ]
    compare(benchmark, programs, ["fastpty", "fastpty (no splice)", "uWSGI", "socat"], cpu_per_gib, figures)


def test_system_calls(benchmark: Any, programs: Field) -> None:
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed")
    figures = [
        Figure("keystroke", "system calls per keystroke", "calls", [Target("fastpty", "<=", 1.0, "uWSGI")]),
        Figure("output", "system calls per MiB of output", "calls"),
    ]
    names = ["fastpty", "fastpty (no splice)", "uWSGI", "socat"]
    compare(benchmark, programs, names, calls, figures, rounds=3)


def test_parser(benchmark: Any, tmp_path: Path) -> None:
    """Counts with callgrind, so one run is enough."""
    parsers = {"the parser": "frames_in", "the extension's parser": "extension_frames_in"}
    found = benchmark.pedantic(lambda: [per_frame(64, tmp_path, name) for name in parsers.values()], rounds=1)
    benchmark.extra_info["figures"] = [
        {
            "title": f"{who}, a frame of 64 bytes",
            "unit": "instructions",
            "targets": [],
            "medians": {"fastpty": instructions},
            "spread": {},
        }
        for who, instructions in zip(parsers, found, strict=True)
    ]
    benchmark.extra_info["missing"] = []
