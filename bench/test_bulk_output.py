"""Bulk output: what a program writes on a raw pty as fast as it can, drained by clients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench._load import drain, drain_each
from bench.compare import BENCH_MIB, MIB, Figure, Target, compare
from bench.conftest import Field
from bench.peers import Peer

SHARED = [8, 64, 512]


def one_session(peer: Peer, size: int) -> Mapping[str, float]:
    with peer.connect().ready() as connection:
        start = time.perf_counter()
        connection.order(f"write {size}")
        assert drain(connection.fd, size) == size
        return {"rate": size / MIB / (time.perf_counter() - start)}


def many_sessions(peer: Peer, sessions: int) -> Mapping[str, float]:
    """The rate of all together, until the last one is through."""
    peer.settle()
    size = BENCH_MIB * MIB // sessions
    connections = [peer.connect().ready() for _ in range(sessions)]
    start = time.perf_counter()
    for connection in connections:
        connection.order(f"write {size}")
    drained = drain_each([connection.fd for connection in connections], size)
    elapsed = time.perf_counter() - start
    for connection in connections:
        connection.close()
    assert [count for count, _ in drained] == [size] * sessions
    return {"rate": sessions * size / MIB / elapsed}


def test_one_session(benchmark: Any, programs: Field) -> None:
    chosen = programs.select("fastpty", "fastpty (uwsgi)", "fastpty (no splice)", "uWSGI", "socat", "bare")
    targets = [
        Target(subject, ">=", factor, other)
        for subject in ("fastpty", "fastpty (uwsgi)")
        for factor, other in ((1.0, "uWSGI"), (0.95, "bare"))
    ]
    figure = Figure("rate", "bulk output, 1 session", "MiB/s", targets)
    measures = {name: (lambda peer=peer: one_session(peer, BENCH_MIB * MIB)) for name, peer in chosen.items()}
    compare(benchmark, measures, [figure], programs.missing)


@pytest.mark.parametrize("sessions", SHARED)
def test_many_sessions(benchmark: Any, programs: Field, sessions: int) -> None:
    names = ["fastpty", "fastpty (no splice)", "uWSGI", "socat", "bare"]
    chosen = programs.select(*names) if sessions == SHARED[0] else programs.select("fastpty", "uWSGI", "bare")
    figure = Figure("rate", f"bulk output, {sessions} sessions, 1 worker", "MiB/s", targets(sessions))
    measures = {name: (lambda peer=peer: many_sessions(peer, sessions)) for name, peer in chosen.items()}
    compare(benchmark, measures, [figure], programs.missing)


def test_many_workers(benchmark: Any, programs: Field, many_workers: Field) -> None:
    sessions = SHARED[0]
    chosen = {**many_workers.select("fastpty", "uWSGI"), **programs.select("bare")}
    figure = Figure("rate", f"bulk output, {sessions} sessions, a worker a core", "MiB/s", targets(sessions))
    measures = {name: (lambda peer=peer: many_sessions(peer, sessions)) for name, peer in chosen.items()}
    compare(benchmark, measures, [figure], many_workers.missing)


def targets(sessions: int) -> list[Target]:
    if sessions != SHARED[0]:
        return []
    return [Target("fastpty", ">=", 1.4, "uWSGI"), Target("fastpty", ">=", 0.9, "bare")]
