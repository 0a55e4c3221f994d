"""The memory of an idle supervisor and its worker, beside a bare interpreter that has forked once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from bench.compare import ROUNDS, Figure, Target, summary
from bench.test_client_start import install
from bench.usage import proportional_kib

FORK = "import os, _signal; os.fork(); print(flush=True); _signal.pause()"
SETTLE_SECONDS = 0.5
WANTED = "12 MB"
WANTED_KIB = 12 * 1024.0


def family_kib(argv: list[str], line: str, environment: dict[str, str]) -> float:
    """The memory of a process and its children, a moment after the last of them has written a line with this word."""
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0, env=environment
    )
    assert process.stdout is not None
    while line not in (said := process.stdout.readline()):
        assert said, f"{argv[0]} ended"
    time.sleep(SETTLE_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    taken = proportional_kib([process.pid, *map(int, children)])
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate()
    return float(taken)


def copy_interpreter(commands: Path) -> dict[str, str]:
    """Puts copies of the interpreter and of its library into a virtual environment; returns the variables to use them.

    Other programs of the same Python would share the pages of the originals, and so make the figures smaller.
    """
    interpreter = Path(sys.executable).resolve()
    for name in ("python", "python3"):
        (commands / name).unlink()
        shutil.copy2(interpreter, commands / name)
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    if library.suffix != ".a" and library.exists():
        shutil.copy2(library, commands)
    return {**os.environ, "LD_LIBRARY_PATH": str(commands)}


def test_memory_of_an_idle_router(benchmark: Any, tmp_path: Path) -> None:
    commands = install(tmp_path / "venv")
    environment = copy_interpreter(commands)
    contestants = {
        "fastpty": ([f"{commands}/fastpty-router", f"{tmp_path}/socket"], "ready"),
        "bare": ([f"{commands}/python3", "-I", "-c", FORK], "\n"),
    }
    taken: dict[str, list[float]] = {name: [] for name in (*contestants, WANTED)}

    def turn() -> None:
        taken[WANTED].append(WANTED_KIB)
        for name, (argv, line) in contestants.items():
            taken[name].append(family_kib(argv, line, environment))

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=1)
    figure = Figure(
        "memory", "memory of an idle supervisor and worker (PSS)", "KiB", [Target("fastpty", "<=", 1, WANTED)]
    )
    benchmark.extra_info["figures"] = [summary(figure, {name: values[1:] for name, values in taken.items()})]
    benchmark.extra_info["missing"] = []
