"""Renders a pytest-benchmark report as a table and a picture: `python -m bench.report RESULT.json`.

The table goes between two markers into docs/performance.md, the picture of the ratios beside it.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.compare import ROUNDS, SIZE_MIB

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance.md"
PICTURE = DOCS / "performance.svg"
BEGIN = "<!-- begin: written by `make bench` -->"
END = "<!-- end: written by `make bench` -->"

Summary = dict[str, Any]


def reached(target: Summary) -> bool:
    return bool(margin(target) >= 1)


def margin(target: Summary) -> float:
    """How much better than its target a ratio is: 1 = just reached, 2 = twice as good."""
    ratio, factor = target["ratio"], target["factor"]
    if target["bound"] == ">=":
        return float(ratio / factor)
    return float(factor / ratio) if ratio else math.inf


def number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def figure_lines(figure: Summary) -> list[str]:
    medians = dict(figure["medians"])
    subject = next(iter(medians))
    mine = number(medians.pop(subject))
    label = "" if subject == "fastpty" else f" ({subject})"
    others = "<br>".join(f"{name} {number(value)}" for name, value in medians.items())
    targets = "<br>".join(
        f"{'✓' if reached(target) else '✗'} {number(target['ratio'])} of {target['other']}"
        f" (wanted {'≥' if target['bound'] == '>=' else '≤'} {target['factor']:g})"
        + (f", {target['subject']}" if target["subject"] != subject else "")
        for target in figure["targets"]
    )
    return [f"| {figure['title']}, {figure['unit']} | {mine}{label} | {others} | {targets} |"]


def table(figures: list[Summary]) -> list[str]:
    lines = ["| figure | fastpty | beside it | ratios |", "|---|---|---|---|"]
    for figure in figures:
        lines += figure_lines(figure)
    return lines


def growth(figures: list[Summary]) -> list[str]:
    """A table with a row per title and a column per number of sessions: fastpty's figure and the others'."""
    columns = sorted({figure["column"] for figure in figures})
    titles = list(dict.fromkeys((figure["title"], figure["unit"]) for figure in figures))
    lines = ["| sessions | " + " | ".join(map(str, columns)) + " |", "|---" * (len(columns) + 1) + "|"]
    for title, unit in titles:
        row = {figure["column"]: figure["medians"] for figure in figures if figure["title"] == title}
        lines.append(f"| {title}, {unit} | " + " | ".join(_beside(row.get(column, {})) for column in columns) + " |")
    return lines


def _beside(medians: dict[str, float]) -> str:
    (_, mine), *others = medians.items() or [("", math.nan)]
    return number(mine) + "".join(f" ({name} {number(value)})" for name, value in others)


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return ", ".join(
        (
            f"Linux {platform.release().split('-')[0]}",
            f"{os.cpu_count()} cores {model[1] if model else platform.machine()}",
            f"Python {platform.python_version()}",
            f"uWSGI {version('(.+)', 'uwsgi', '--version')}",
            "socat " + version(r"socat version (\S+)", "socat", "-V"),
        )
    )


def version(pattern: str, *argv: str) -> str:
    try:
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "missing"
    found = re.search(pattern, text)
    return found[1] if found else "unknown"


def draw(figures: list[Summary], path: Path) -> None:
    """The picture: one bar per target, as long as the figure is better or worse than it, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (f"{figure['title']} / {target['other']}", min(max(margin(target), 0.1), 10))
        for figure in reversed(figures)
        for target in reversed(figure["targets"])
    ]
    picture, axes = pyplot.subplots(figsize=(9, 0.3 * len(bars) + 1), layout="constrained")
    margins = [value for _, value in bars]
    axes.barh(
        range(len(bars)),
        [math.log2(value) for value in margins],
        color=["tab:green" if value >= 1 else "tab:red" for value in margins],
    )
    axes.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=8)
    axes.set_xticks([-2, -1, 0, 1, 2, 3], ["¼ of it", "½", "as wanted", "2 times", "4 times", "8 times"])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_title("fastpty against what it should reach (right is better)", fontsize=10)
    picture.savefig(path)


def write_between_markers(page: Path, lines: list[str]) -> None:
    text = page.read_text() if page.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + "\n".join([BEGIN, "", *lines, "", END]) + after)


def main(result: Path, publish: bool = True) -> None:
    report = json.loads(result.read_text())
    extras = [
        entry["extra_info"] for entry in report["benchmarks"] if entry["extra_info"]
    ]  # a failed benchmark has none
    figures = [figure for extra in extras for figure in extra["figures"]]
    missing = sorted({text for extra in extras for text in extra["missing"]})
    lines = [f"Measured {report['datetime'][:10]} on {machine()}; {SIZE_MIB} MiB a transfer, {ROUNDS} turns.", ""]
    lines += [f"Left out: {text}." for text in missing] + [""]
    single = [figure for figure in figures if figure.get("column") is None]
    growing = [figure for figure in figures if figure.get("column") is not None]
    lines += [f"![The ratios]({PICTURE.name})", "", *table(single)]
    lines += ["", "What each session, or each byte, costs:", "", *growth(growing)] if growing else []
    print("\n".join(lines))
    if publish:
        draw(figures, PICTURE)
        write_between_markers(PAGE, lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
