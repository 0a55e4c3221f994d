"""What a router's processes use: CPU time, memory, wake-ups, system calls."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cpu_seconds(pids: list[int]) -> float:
    """CPU time from the scheduler's count in ns, since /proc/PID/stat counts ticks of 10 ms."""
    return sum(int(text.split()[0]) for pid in pids if (text := _read(pid, "schedstat"))) / 1e9


def private_kib(pids: list[int]) -> int:
    """Memory of these processes that no other process shares."""
    return sum(_number(pid, "smaps_rollup", "Private_Dirty") for pid in pids)


def proportional_kib(pids: list[int]) -> int:
    """Memory of these processes (PSS): what n processes share counts 1/n for each."""
    return sum(_number(pid, "smaps_rollup", "Pss") for pid in pids)


def wakeups(pids: list[int]) -> int:
    return sum(_number(pid, "status", "voluntary_ctxt_switches") for pid in pids)


@contextmanager
def system_calls(pids: list[int]) -> Iterator[dict[str, int]]:
    """Counts each system call during the block; filled in at its end."""
    argv = ["strace", "-f", "-c", "-U", "name,calls"]
    for pid in pids:
        argv += ["-p", str(pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    for _ in pids:
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
    counts: dict[str, int] = {}
    try:
        yield counts
    finally:
        tracer.send_signal(signal.SIGINT)
        summary = tracer.stderr.read()
        tracer.wait()
    for name, calls in re.findall(r"^\s*(\w+)\s+(\d+)$", summary, re.MULTILINE):
        if name != "total":
            counts[name] = int(calls)


def _number(pid: int, name: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", _read(pid, name), re.MULTILINE)
    return int(found[1]) if found else 0


def _read(pid: int, name: str) -> str:
    """The text of the file `name` in /proc/PID; empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
