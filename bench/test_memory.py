"""The memory of an idle supervisor and its worker, beside a bare interpreter that has forked once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.compare import ROUNDS, Figure, Target, summary
from bench.test_client_start import install
from bench.usage import proportional_kib

FORK = "import os, _signal; os.fork(); print(flush=True); _signal.pause()"
SETTLE_SECONDS = 0.5


def family_kib(argv: list[str], line: str) -> float:
    """The memory of a process and its children, a moment after the last of them has written a line with this word."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    assert process.stdout is not None
    while line not in (said := process.stdout.readline()):
        assert said, f"{argv[0]} ended"
    time.sleep(SETTLE_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    taken = proportional_kib([process.pid, *map(int, children)])
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate()
    return float(taken)


def test_memory_of_an_idle_router(benchmark: Any, tmp_path: Path) -> None:
    commands = install(tmp_path / "venv")
    # A link would share the pages of the interpreter with every other program of the same Python.
    python = commands / "python3"
    interpreter = Path(sys.executable).resolve()
    for name in ("python", "python3"):
        (commands / name).unlink()
        shutil.copy2(interpreter, commands / name)
    contestants = {
        "fastpty": ([f"{commands}/fastpty-router", f"{tmp_path}/socket"], "ready"),
        "bare": ([f"{python}", "-I", "-c", FORK], "\n"),
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}

    def turn() -> None:
        for name, (argv, line) in contestants.items():
            taken[name].append(family_kib(argv, line))

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=1)
    target = Target("fastpty", "<=", 1.8, "bare")  # 12 MB
    figure = Figure("memory", "memory of an idle supervisor and worker (PSS)", "KiB", [target])
    benchmark.extra_info["figures"] = [summary(figure, {name: values[1:] for name, values in taken.items()})]
    benchmark.extra_info["missing"] = []
