"""What a router's processes used: CPU time, memory, wake-ups, system calls."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cpu_seconds(pids: list[int]) -> float:
    """From the scheduler's count in ns; /proc/PID/stat has ticks of 10 ms."""
    return sum(int(text.split()[0]) for pid in pids if (text := _read(pid, "schedstat"))) / 1e9


def private_kib(pids: list[int]) -> int:
    """Memory that nobody else shares: what the processes cost."""
    return sum(_number(pid, "smaps_rollup", "Private_Dirty") for pid in pids)


def wakeups(pids: list[int]) -> int:
    return sum(_number(pid, "status", "voluntary_ctxt_switches") for pid in pids)


@contextmanager
def system_calls(pids: list[int]) -> Iterator[dict[str, int]]:
    """How often each system call was made meanwhile: filled in at the end."""
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
    """Empty for a process that has ended: what is about to become a program still looks like the router."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
