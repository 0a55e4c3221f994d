"""What looks at heartbeats tell, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastpty.supervision.heartbeat import LOOKS, Idleness, Stuckness

LIMIT = 8.0
PERIOD = LIMIT / LOOKS


def looks(look: Callable[[float, int], bool], values: list[int], period: float = PERIOD) -> list[bool]:
    return [look(100 + number * period, value) for number, value in enumerate(values)]


def stuck(now: float, turn: int, watch: Stuckness) -> bool:
    return watch.look(now, turn, LIMIT)


def test_the_same_turn_for_the_whole_time_is_stuck() -> None:
    watch = Stuckness()
    assert looks(lambda now, turn: stuck(now, turn, watch), [5] * 5) == [False] * 4 + [True]


@pytest.mark.parametrize("values", [[0] * 20, [1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 5, 5, 5, 0, 5, 5, 5, 5]])
def test_waiting_and_new_turns_are_not_stuck(values: list[int]) -> None:
    watch = Stuckness()
    assert not any(looks(lambda now, turn: stuck(now, turn, watch), values))


def test_many_looks_in_a_short_time_do_not_add_up() -> None:
    watch = Stuckness()
    assert not any(looks(lambda now, turn: stuck(now, turn, watch), [5] * 1000, LIMIT / 2000))


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """The whole router may have been stopped, or the machine suspended."""
    watch = Stuckness()
    assert not stuck(100, 5, watch)
    assert not stuck(100 + PERIOD, 5, watch)
    assert not stuck(100_000, 5, watch)


@pytest.mark.parametrize(
    ("sessions", "accepted", "idle"),
    [([0] * 5, [0] * 5, True), ([1] * 9, [1] * 9, False), ([0] * 9, [1, 1, 1, 2, 2, 2, 3, 3, 3], False)],
)
def test_no_session_and_no_new_one_for_the_whole_time_is_idle(
    sessions: list[int], accepted: list[int], idle: bool
) -> None:
    watch = Idleness()
    told = [
        watch.look(100 + number * PERIOD, live, total, LIMIT)
        for number, (live, total) in enumerate(zip(sessions, accepted, strict=True))
    ]
    assert told[-1] is idle
    assert not any(told[:-1])
