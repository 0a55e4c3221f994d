"""How long the commands take to start, beside Python itself: as installed, without a router."""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from bench.compare import ROUNDS, Figure, Target, summary

HERE = Path(__file__).resolve().parent.parent
TURNS = 10 * ROUNDS


def install(directory: Path) -> Path:
    """Makes a virtual environment with this checkout's Python files and commands; returns its folder of commands.

    The environment of the checkout would not do: an editable installation loads a finder and much of the library.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    commands = directory / "bin"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    package = directory / "lib" / version / "site-packages" / "fastpty"
    shutil.copytree(HERE / "fastpty", package, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(package, quiet=1)
    ours = Path(sysconfig.get_path("scripts"))
    for name in ("fastpty", "fastpty-router"):
        text = (ours / name).read_text().replace(f"#!{ours}/python", f"#!{commands}/python")
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    return commands


def milliseconds(argv: list[str]) -> float:
    begin_ns = time.monotonic_ns()
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.monotonic_ns() - begin_ns) / 1e6


def test_start_of_the_commands(benchmark: Any, tmp_path: Path) -> None:
    commands = install(tmp_path / "venv")
    contestants = {
        "fastpty connect": [f"{commands}/fastpty", "connect", f"{tmp_path}/none"],
        "fastpty --version": [f"{commands}/fastpty", "--version"],
        "fastpty-router --version": [f"{commands}/fastpty-router", "--version"],
        "python3 -I -c pass": [f"{commands}/python3", "-I", "-c", "pass"],
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}

    def turn() -> None:
        for name, argv in contestants.items():
            taken[name].append(milliseconds(argv))

    benchmark.pedantic(turn, rounds=TURNS, warmup_rounds=1)
    targets = [
        Target("fastpty connect", "<=", 2.2, "python3 -I -c pass"),
        Target("fastpty --version", "<=", 2.2, "python3 -I -c pass"),
        Target("fastpty-router --version", "<=", 4, "python3 -I -c pass"),
    ]
    figure = Figure("start", "start of the commands, no socket there", "ms", targets)
    benchmark.extra_info["figures"] = [summary(figure, {name: values[1:] for name, values in taken.items()})]
    benchmark.extra_info["missing"] = []
    print(
        *(f"{target['subject']}: {target['ratio']:.2f}" for target in benchmark.extra_info["figures"][0]["targets"])
    )
