"""Bulk input: a client sends, and a program on a raw pty reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench._load import pour, pour_frames
from bench.compare import MIB, SIZE_MIB, Figure, Target, compare
from bench.field import Field
from bench.peers import Peer

PACKETS = {1: None, 64: 0.85, 4096: 0.95, 65535: None}  # bytes of payload: the share of our raw rate to reach


def input_rate(peer: Peer, size: int, payload_bytes: int) -> Mapping[str, float]:
    """The rate until the program has read everything. payload_bytes: of each frame, on a uwsgi socket."""
    with peer.session(f"read {size}") as connection:
        time.sleep(0.01)  # the program reads its order
        start = time.perf_counter()
        if connection.framed:
            pour_frames(connection.fd, size, payload_bytes)
        else:
            pour(connection.fd, size)
        connection.skip(1)
        return {"rate": size / MIB / (time.perf_counter() - start)}


def test_raw(benchmark: Any, programs: Field) -> None:
    names = ["fastpty", "fastpty (no splice)", "uWSGI", "socat", "bare"]
    targets = [Target("fastpty", ">=", 1.0, "uWSGI"), Target("fastpty", ">=", 0.95, "bare")]
    figure = Figure("rate", "bulk input, raw", "MiB/s", targets)
    compare(benchmark, programs, names, lambda peer: input_rate(peer, SIZE_MIB * MIB, 0), [figure])


@pytest.mark.parametrize("payload_bytes", PACKETS)
def test_packets(benchmark: Any, programs: Field, payload_bytes: int) -> None:
    """Compares with our raw socket: real uWSGI stops at several frames in one write."""
    names = ["fastpty (uwsgi)", "fastpty"]
    factor = PACKETS[payload_bytes]
    targets = [Target("fastpty (uwsgi)", ">=", factor, "fastpty")] if factor else []
    figure = Figure("rate", f"bulk input, packets of {payload_bytes}", "MiB/s", targets)
    size = SIZE_MIB * MIB // (8 if payload_bytes == 1 else 1)
    compare(benchmark, programs, names, lambda peer: input_rate(peer, size, payload_bytes), [figure])
