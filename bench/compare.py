"""One figure of all contestants, taken in turn, and what it should reach.

pytest-benchmark times fastpty's rounds; before each of them its `setup` lets the peers have their round, so that
whatever else the machine does meets all alike. The figures of all go into the report's `extra_info`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

MIB = 1 << 20
BENCH_MIB = int(os.environ.get("BENCH_MIB", "128"))
BENCH_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))

Measure = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Target:
    """`subject`'s figure is to be at least (or at most) `factor` times `other`'s."""

    subject: str
    bound: str  # ">=" or "<="
    factor: float
    other: str


@dataclass
class Figure:
    """What a measure calls it, and how to show it."""

    name: str
    title: str
    unit: str
    targets: list[Target] = field(default_factory=list)


def compare(benchmark: Any, measures: Mapping[str, Measure], figures: list[Figure], missing: list[str],
            rounds: int = BENCH_ROUNDS) -> None:  # fmt: skip
    """Runs all measures in turn, `rounds` times, the first of them as pytest-benchmark's own; one more to warm up.

    A measure returns the values of all figures by their names. Ratios are the median of those of each round, since
    two figures of one round saw the same machine.
    """
    subject, *others = measures
    taken: dict[str, list[Mapping[str, float]]] = {name: [] for name in measures}

    def others_turn() -> None:
        for name in others:
            taken[name].append(measures[name]())

    def subjects_turn() -> None:
        taken[subject].append(measures[subject]())

    benchmark.pedantic(subjects_turn, setup=others_turn, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["figures"] = [
        _summary(figure, {name: [values[figure.name] for values in series[-rounds:]] for name, series in taken.items()})
        for figure in figures
    ]
    benchmark.extra_info["missing"] = missing


def _summary(figure: Figure, series: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        "title": figure.title,
        "unit": figure.unit,
        "medians": {name: median(values) for name, values in series.items()},
        "spread": {name: [min(values), max(values)] for name, values in series.items()},
        "targets": [
            {**asdict(target), "ratio": _ratio(series[target.subject], series[target.other])}
            for target in figure.targets
            if target.subject in series and target.other in series
        ],
    }


def _ratio(subject: list[float], other: list[float]) -> float:
    return median(mine / theirs if theirs else float("inf") for mine, theirs in zip(subject, other, strict=True))


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """p50 and p99 in microseconds."""
    ordered = sorted(nanoseconds)
    return {"p50": ordered[len(ordered) // 2] / 1000, "p99": ordered[len(ordered) * 99 // 100] / 1000}
