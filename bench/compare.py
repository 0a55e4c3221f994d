"""Measures one figure of all contestants in turn, and compares it with its targets.

pytest-benchmark times fastpty's rounds. Before each of them its `setup` runs a round of every other contestant, so that
other load on the machine affects all of them alike. The report's `extra_info` holds the figures of all.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.field import Field
from bench.peers import Peer

MIB = 1 << 20
SIZE_MIB = int(os.environ.get("BENCH_MIB", "128"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))

Measure = Callable[[Peer], Mapping[str, float]]


@dataclass(frozen=True)
class Target:
    """A target: `subject`'s figure should be at least (or at most) `factor` times `other`'s."""

    subject: str
    bound: str  # ">=" or "<="
    factor: float
    other: str


@dataclass
class Figure:
    """The name of a figure, and its place in the report: a row of its own, or `column` of the row of its title."""

    name: str
    title: str
    unit: str
    targets: list[Target] = field(default_factory=list)
    column: int | None = None


def compare(
    benchmark: Any, field: Field, names: list[str], measure: Measure, figures: list[Figure], rounds: int = ROUNDS
) -> None:
    """Measures the contestants in turn, `rounds` times and once to warm up; pytest-benchmark times the first.

    `measure` returns the values of all figures by their names. A ratio is the median of those of each round, since
    two values of one round saw the same machine.
    """
    chosen = field.select(*names)
    subject, *others = chosen
    taken: dict[str, list[Mapping[str, float]]] = {name: [] for name in chosen}

    def take(name: str) -> None:
        try:
            chosen[name].settle()
            taken[name].append(measure(chosen[name]))
        except Exception as error:
            error.add_note(f"contestant: {name}, round {len(taken[name])}")
            raise

    def others_turn() -> None:
        for name in others:
            take(name)

    benchmark.pedantic(lambda: take(subject), setup=others_turn, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["figures"] = [
        summary(figure, {name: [values[figure.name] for values in taken[name][-rounds:]] for name in chosen})
        for figure in figures
    ]
    benchmark.extra_info["missing"] = field.missing


def summary(figure: Figure, series: Mapping[str, list[float]]) -> dict[str, Any]:
    """One row of the report; `series` holds the values of each contestant, round by round."""
    return {
        "title": figure.title,
        "unit": figure.unit,
        "column": figure.column,
        "medians": {name: median(values) for name, values in series.items()},
        "spread": {name: [min(values), max(values)] for name, values in series.items()},
        "targets": [
            {**asdict(target), "ratio": _ratio(series[target.subject], series[target.other])}
            for target in figure.targets
            if target.subject in series and target.other in series
        ],
    }


def _ratio(subject: list[float], other: list[float]) -> float:
    pairs = zip(subject, other, strict=True)
    return median(mine / theirs if theirs else (math.inf if mine else 1.0) for mine, theirs in pairs)


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """The 50th and 99th percentiles, in microseconds."""
    ordered = sorted(nanoseconds)
    return {"p50": ordered[len(ordered) // 2] / 1000, "p99": ordered[len(ordered) * 99 // 100] / 1000}
