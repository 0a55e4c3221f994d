"""Keystroke echo: the round trip of one byte through an echoing program on a raw pty."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from bench._load import drain_each, echo
from bench.compare import SIZE_MIB, Figure, Target, compare, percentiles
from bench.field import Field
from bench.peers import Peer

KEYSTROKES = max(200, SIZE_MIB * 8)
PAUSE_US = 500
FLOODS = 8
WITHOUT_END = 1 << 62


@contextmanager
def flood(peer: Peer) -> Iterator[None]:
    """Eight sessions that write without end, to clients that read."""
    connections = [peer.session("flood") for _ in range(FLOODS)]
    stop_read, stop_write = os.pipe()
    reader = threading.Thread(
        target=drain_each, args=([connection.fd for connection in connections], WITHOUT_END, stop_read)
    )
    reader.start()
    time.sleep(0.2)
    yield
    os.write(stop_write, b"x")
    reader.join()
    for connection in connections:
        connection.close()
    os.close(stop_read)
    os.close(stop_write)


@contextmanager
def stalled(peer: Peer) -> Iterator[None]:
    """A session that writes without end, to a client that never reads."""
    with peer.session("flood"):
        time.sleep(0.2)
        yield


def keystrokes(peer: Peer, beside: AbstractContextManager[None]) -> Mapping[str, float]:
    with peer.session("echo") as connection, beside:
        echo(connection.fd, 20, PAUSE_US, connection.framed)
        return percentiles(echo(connection.fd, KEYSTROKES, PAUSE_US, connection.framed))


def idle(peer: Peer) -> Mapping[str, float]:
    return keystrokes(peer, nullcontext())


def under_flood(peer: Peer) -> Mapping[str, float]:
    return keystrokes(peer, flood(peer))


def beside_stalled(peer: Peer) -> Mapping[str, float]:
    return {"ratio": keystrokes(peer, stalled(peer))["p50"] / idle(peer)["p50"]}


def test_idle(benchmark: Any, programs: Field) -> None:
    names = ["fastpty", "fastpty (uwsgi)", "uWSGI", "socat", "bare"]
    figures = [
        Figure("p50", "keystroke echo, p50", "µs", [Target("fastpty", "<=", 0.9, "uWSGI")]),
        Figure("p99", "keystroke echo, p99", "µs", [Target("fastpty", "<=", 0.9, "uWSGI")]),
    ]
    compare(benchmark, programs, names, idle, figures)


def test_under_flood(benchmark: Any, programs: Field) -> None:
    names = ["fastpty", "fastpty (uwsgi)", "fastpty (no splice)", "uWSGI", "socat", "bare"]
    p50 = [Target("fastpty", "<=", 0.35, "uWSGI"), Target("fastpty", "<=", 2, "bare")]
    figures = [
        Figure("p50", "keystroke echo under flood, p50", "µs", p50),
        Figure("p99", "keystroke echo under flood, p99", "µs", [Target("fastpty", "<=", 0.6, "uWSGI")]),
    ]
    compare(benchmark, programs, names, under_flood, figures)


def test_beside_a_stalled_client(benchmark: Any, programs: Field) -> None:
    figure = Figure("ratio", "keystroke echo beside a stalled client, ratio to idle", "x")
    compare(benchmark, programs, ["fastpty", "uWSGI", "socat"], beside_stalled, [figure])
