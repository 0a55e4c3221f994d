"""Bulk output: programs write to raw ptys as fast as they can, and clients read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench._load import drain, drain_each
from bench.compare import MIB, SIZE_MIB, Figure, Target, compare
from bench.field import Field
from bench.peers import Peer

SHARED = [8, 64, 512]


def one_session(peer: Peer) -> Mapping[str, float]:
    size = SIZE_MIB * MIB
    with peer.connect().ready() as connection:
        start = time.perf_counter()
        connection.order(f"write {size}")
        assert drain(connection.fd, size) == size
        return {"rate": SIZE_MIB / (time.perf_counter() - start)}


def many_sessions(peer: Peer, sessions: int) -> Mapping[str, float]:
    """The rate of all sessions together, until the last has finished."""
    size = SIZE_MIB * MIB // sessions
    connections = [peer.connect().ready() for _ in range(sessions)]
    start = time.perf_counter()
    for connection in connections:
        connection.order(f"write {size}")
    drained = drain_each([connection.fd for connection in connections], size)
    elapsed = time.perf_counter() - start
    for connection in connections:
        connection.close()
    assert [count for count, _ in drained] == [size] * sessions
    return {"rate": SIZE_MIB / elapsed}


def test_one_session(benchmark: Any, programs: Field) -> None:
    names = ["fastpty", "fastpty (uwsgi)", "fastpty (no splice)", "uWSGI", "socat", "bare"]
    targets = [
        Target(subject, ">=", factor, other)
        for subject in ("fastpty", "fastpty (uwsgi)")
        for factor, other in ((1.0, "uWSGI"), (0.95, "bare"))
    ]
    compare(benchmark, programs, names, one_session, [Figure("rate", "bulk output, 1 session", "MiB/s", targets)])


@pytest.mark.parametrize("sessions", SHARED)
def test_many_sessions(benchmark: Any, programs: Field, sessions: int) -> None:
    names = ["fastpty", "fastpty (no splice)", "uWSGI", "socat", "bare"]
    figure = Figure("rate", f"bulk output, {sessions} sessions, 1 worker", "MiB/s", targets(sessions))
    compare(benchmark, programs, names, lambda peer: many_sessions(peer, sessions), [figure])


def test_many_workers(benchmark: Any, many_workers: Field) -> None:
    sessions = SHARED[0]
    figure = Figure("rate", f"bulk output, {sessions} sessions, a worker a core", "MiB/s", targets(sessions))
    names = ["fastpty", "uWSGI", "bare"]
    compare(benchmark, many_workers, names, lambda peer: many_sessions(peer, sessions), [figure])


def targets(sessions: int) -> list[Target]:
    if sessions != SHARED[0]:
        return []
    return [Target("fastpty", ">=", 1.4, "uWSGI"), Target("fastpty", ">=", 0.9, "bare")]
