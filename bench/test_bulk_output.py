"""Bulk output: what a program writes on a raw pty as fast as it can, drained by clients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bench._load import drain, drain_each
from bench.compare import BENCH_MIB, MIB, Figure, Target, compare
from bench.conftest import Field
from bench.peers import Peer

SESSIONS = 8


def one_session(peer: Peer, size: int) -> Mapping[str, float]:
    with peer.connect().ready() as connection:
        start = time.perf_counter()
        connection.order(f"write {size}")
        assert drain(connection.fd, size) == size
        return {"rate": size / MIB / (time.perf_counter() - start)}


def many_sessions(peer: Peer, size: int) -> Mapping[str, float]:
    """The rate of all together, until the last one is through."""
    connections = [peer.connect().ready() for _ in range(SESSIONS)]
    start = time.perf_counter()
    for connection in connections:
        connection.order(f"write {size}")
    drained = drain_each([connection.fd for connection in connections], size)
    elapsed = time.perf_counter() - start
    for connection in connections:
        connection.close()
    assert [count for count, _ in drained] == [size] * SESSIONS
    return {"rate": SESSIONS * size / MIB / elapsed}


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


def test_eight_sessions(benchmark: Any, programs: Field) -> None:
    chosen = programs.select("fastpty", "fastpty (no splice)", "uWSGI", "socat", "bare")
    targets = [Target("fastpty", ">=", 1.4, "uWSGI"), Target("fastpty", ">=", 0.9, "bare")]
    figure = Figure("rate", "bulk output, 8 sessions, 1 worker", "MiB/s", targets)
    share = BENCH_MIB * MIB // SESSIONS
    measures = {name: (lambda peer=peer: many_sessions(peer, share)) for name, peer in chosen.items()}
    compare(benchmark, measures, [figure], programs.missing)


def test_eight_sessions_many_workers(benchmark: Any, programs: Field, many_workers: Field) -> None:
    chosen = {**many_workers.select("fastpty", "uWSGI"), **programs.select("bare")}
    targets = [Target("fastpty", ">=", 1.4, "uWSGI"), Target("fastpty", ">=", 0.9, "bare")]
    figure = Figure("rate", "bulk output, 8 sessions, a worker a core", "MiB/s", targets)
    share = BENCH_MIB * MIB // SESSIONS
    measures = {name: (lambda peer=peer: many_sessions(peer, share)) for name, peer in chosen.items()}
    compare(benchmark, measures, [figure], many_workers.missing)
