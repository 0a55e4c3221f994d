"""`fastpty exec` beside ssh and a command without any of them: start, output, input, and many at once.

ssh runs without a terminal, over a connection that exists already (ControlMaster), to an sshd of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench._load import drain
from bench.compare import MIB, ROUNDS, SIZE_MIB, Figure, Target, summary
from bench.peers import Server
from bench.test_client_start import install, milliseconds

SIZE = 8 * SIZE_MIB * MIB  # 1 GiB by default
MANY = 200
STARTS = 10 * ROUNDS

Commands = dict[str, list[str]]


@dataclass
class Tools:
    """What comes before a command, for each contestant; and the interpreter that fastpty's client has."""

    before: Commands
    python: str
    missing: list[str]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    directory = tmp_path_factory.mktemp("exec")
    commands = install(directory / "venv")
    router = [f"{commands}/fastpty-router", f"{directory}/socket"]
    server = Server(router, [directory / "socket"], directory / "router.log")
    found = Tools(
        {"fastpty": [f"{commands}/fastpty", "exec", f"{directory}/socket", "--"]}, f"{commands}/python3", []
    )
    with contextlib.ExitStack() as stack:
        if shutil.which("ssh") and Path("/usr/sbin/sshd").exists():
            found.before["ssh"] = stack.enter_context(ssh(directory))
        else:
            found.missing.append("ssh: apt-get install openssh-server")
        found.before["bare"] = []
        yield found
    server.end()


@contextlib.contextmanager
def ssh(directory: Path) -> Iterator[list[str]]:
    """Starts an sshd and a ControlMaster; yields the command that runs another one over the same connection."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
    config = directory / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nMaxSessions {2 * MANY}\n"
        "SetEnv SHLVL=2\n"  # so that bash reads no ~/.bashrc, which can take long
    )
    os.makedirs("/run/sshd", exist_ok=True)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config], stderr=subprocess.DEVNULL) as sshd:
        options = (
            f"-p {port} -i {directory}/user -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no"
            f" -o LogLevel=ERROR -o ControlPath={directory}/master -o ConnectionAttempts=20 -T 127.0.0.1"
        ).split()
        with subprocess.Popen(["ssh", "-M", "-N", *options]) as master:
            while not (directory / "master").exists() and master.poll() is None:
                time.sleep(0.02)
            yield ["ssh", *options]
            master.terminate()
        sshd.terminate()


def measure(
    benchmark: Any,
    contestants: Commands,
    figure: Figure,
    take: Callable[[list[str]], float],
    rounds: int = ROUNDS,
) -> None:
    """Measures the contestants in turn."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}

    def turn() -> None:
        for name, argv in contestants.items():
            taken[name].append(take(argv))

    benchmark.pedantic(turn, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["figures"] = [summary(figure, {name: values[1:] for name, values in taken.items()})]
    benchmark.extra_info["missing"] = []


def test_start(benchmark: Any, tools: Tools) -> None:
    contestants = {name: [*before, "true"] for name, before in tools.before.items()}
    contestants["python3 -I -c pass"] = [tools.python, "-I", "-c", "pass"]
    targets = [Target("fastpty", "<=", 2.5, "python3 -I -c pass"), Target("fastpty", "<=", 1, "ssh")]
    figure = Figure("start", "exec of `true`, whole process", "ms", targets)
    measure(benchmark, contestants, figure, milliseconds, STARTS)
    benchmark.extra_info["missing"] = tools.missing


def test_output(benchmark: Any, tools: Tools) -> None:
    def rate(before: list[str]) -> float:
        begin = time.monotonic()
        argv = [*before, "head", "-c", str(SIZE), "/dev/zero"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            assert drain(program.stdout.fileno(), SIZE) == SIZE
        return SIZE / MIB / (time.monotonic() - begin)

    figure = Figure("rate", "exec, standard output", "MiB/s", [Target("fastpty", ">=", 2, "ssh")])
    measure(benchmark, tools.before, figure, rate)


def test_input(benchmark: Any, tools: Tools) -> None:
    def rate(before: list[str]) -> float:
        begin = time.monotonic()
        source = subprocess.Popen(["head", "-c", str(SIZE), "/dev/zero"], stdout=subprocess.PIPE)
        counted = subprocess.run([*before, "wc", "-c"], stdin=source.stdout, capture_output=True, check=True)
        assert source.stdout is not None
        source.stdout.close()
        source.wait()
        assert int(counted.stdout) == SIZE
        return SIZE / MIB / (time.monotonic() - begin)

    figure = Figure("rate", "exec, standard input", "MiB/s", [Target("fastpty", ">=", 2, "ssh")])
    measure(benchmark, tools.before, figure, rate)


def test_many_at_once(benchmark: Any, tools: Tools) -> None:
    def rate(before: list[str]) -> float:
        begin = time.monotonic()
        running = [subprocess.Popen([*before, "true"], stdin=subprocess.DEVNULL) for _ in range(MANY)]
        assert [program.wait() for program in running] == [0] * MANY
        return MANY / (time.monotonic() - begin)

    figure = Figure("rate", f"exec of `true`, {MANY} at once", "sessions/s", [Target("fastpty", ">=", 2, "ssh")])
    measure(benchmark, tools.before, figure, rate)
