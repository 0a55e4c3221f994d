"""What a channel concludes from a read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.channel_probe import Probe

DRY_BELOW_BYTES = 2048


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    source, end = os.pipe()
    os.set_blocking(source, False)
    yield source, end
    os.close(source)
    os.close(end)


@pytest.mark.parametrize("splice", [False, True])
def test_a_read_that_was_cut_short_by_its_own_room_does_not_mean_dry(pipe: tuple[int, int], splice: bool) -> None:
    """Else the rest would wait for an event that has come already."""
    source, end = pipe
    probe = Probe(source, DRY_BELOW_BYTES)
    os.write(end, bytes(2500))
    probe.fill(4000, 1, splice)
    os.write(end, bytes(6000))
    while (state := probe.fill(4000, 1, splice))[0] < 4000:
        assert state[1:] == (True, True)
    assert state == (4000, True, False)


@pytest.mark.parametrize("splice", [False, True])
def test_a_short_read_means_dry(pipe: tuple[int, int], splice: bool) -> None:
    source, end = pipe
    probe = Probe(source, DRY_BELOW_BYTES)
    os.write(end, bytes(100))
    assert probe.fill(4000, 4, splice) == (100, False, False)


def test_a_quiet_source_costs_one_read(pipe: tuple[int, int]) -> None:
    source, _ = pipe
    assert Probe(source, DRY_BELOW_BYTES).fill(4000, 4, False) == (0, False, False)
