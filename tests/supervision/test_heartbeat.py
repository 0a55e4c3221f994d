"""The detection of stuck and idle workers, with a simulated clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastpty.supervision.heartbeat import SAMPLES, IdleDetector, StuckDetector

LIMIT = 8.0
PERIOD = LIMIT / SAMPLES


def samples(sample: Callable[[float, int], bool], values: list[int], period: float = PERIOD) -> list[bool]:
    return [sample(100 + number * period, value) for number, value in enumerate(values)]


def stuck(now: float, turn: int, detector: StuckDetector) -> bool:
    return detector.sample(now, turn, LIMIT)


def test_the_same_turn_for_the_whole_time_is_stuck() -> None:
    detector = StuckDetector()
    assert samples(lambda now, turn: stuck(now, turn, detector), [5] * 5) == [False] * 4 + [True]


@pytest.mark.parametrize("values", [[0] * 20, [1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 5, 5, 5, 0, 5, 5, 5, 5]])
def test_waiting_and_new_turns_are_not_stuck(values: list[int]) -> None:
    detector = StuckDetector()
    assert not any(samples(lambda now, turn: stuck(now, turn, detector), values))


def test_many_samples_in_a_short_time_do_not_add_up() -> None:
    detector = StuckDetector()
    assert not any(samples(lambda now, turn: stuck(now, turn, detector), [5] * 1000, LIMIT / 2000))


def test_time_without_samples_does_not_count() -> None:
    """The whole router may have been stopped, or the machine suspended."""
    detector = StuckDetector()
    assert not stuck(100, 5, detector)
    assert not stuck(100 + PERIOD, 5, detector)
    assert not stuck(100_000, 5, detector)


@pytest.mark.parametrize(
    ("sessions", "accepted", "idle"),
    [([0] * 5, [0] * 5, True), ([1] * 9, [1] * 9, False), ([0] * 9, [1, 1, 1, 2, 2, 2, 3, 3, 3], False)],
)
def test_a_router_without_sessions_for_the_whole_time_is_idle(
    sessions: list[int], accepted: list[int], idle: bool
) -> None:
    detector = IdleDetector()
    results = [
        detector.sample(100 + number * PERIOD, live, total, LIMIT)
        for number, (live, total) in enumerate(zip(sessions, accepted, strict=True))
    ]
    assert results[-1] is idle
    assert not any(results[:-1])
