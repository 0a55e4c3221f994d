"""Bulk input: what a client sends, read by a program on a raw pty."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench._load import pour, pour_frames
from bench.compare import MIB, SIZE_MIB, Figure, Target, compare
from bench.field import Field
from bench.peers import Peer

PACKETS = {1: None, 64: 0.85, 4096: 0.95, 65535: None}  # payload bytes: what share of our raw rate it must reach


def input_rate(peer: Peer, size: int, payload_bytes: int) -> Mapping[str, float]:
    """Until the program says that it has read all. payload_bytes: of a packet, where the socket takes packets."""
    with peer.session(f"read {size}") as connection:
        time.sleep(0.01)  # the order is read
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
    """Real uWSGI wedges on packets that are joined in a write, so our own raw socket is the yardstick."""
    names = ["fastpty (uwsgi)", "fastpty"]
    factor = PACKETS[payload_bytes]
    targets = [Target("fastpty (uwsgi)", ">=", factor, "fastpty")] if factor else []
    figure = Figure("rate", f"bulk input, packets of {payload_bytes}", "MiB/s", targets)
    size = SIZE_MIB * MIB // (8 if payload_bytes == 1 else 1)
    compare(benchmark, programs, names, lambda peer: input_rate(peer, size, payload_bytes), [figure])
