"""What a channel concludes from the size of a read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.probes.channel_probe import Probe


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    source, end = os.pipe()
    os.set_blocking(source, False)
    yield source, end
    os.close(source)
    os.close(end)


@pytest.mark.parametrize("splice", [False, True])
def test_a_read_that_filled_its_room_does_not_mean_that_the_source_is_empty(
    pipe: tuple[int, int], splice: bool
) -> None:
    """Otherwise the rest would wait for an event that has come already."""
    source, end = pipe
    probe = Probe(source)
    os.write(end, bytes(3500))
    assert probe.fill(4000, 1, splice) == (3500, False)
    os.write(end, bytes(1000))
    assert probe.fill(4000, 1, splice) == (4000, True)


@pytest.mark.parametrize("splice", [False, True])
def test_a_short_read_means_that_the_source_is_empty_and_no_read_follows(pipe: tuple[int, int], splice: bool) -> None:
    source, end = pipe
    os.write(end, bytes(100))
    assert Probe(source).fill(4000, 4, splice) == (100, False)


def test_a_read_that_would_block_means_that_the_source_is_empty(pipe: tuple[int, int]) -> None:
    source, _ = pipe
    assert Probe(source).fill(4000, 4, False) == (0, False)
