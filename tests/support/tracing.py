"""Counts the system calls of a running router, with strace."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.harness import Router
from tests.support.peers import need


@contextmanager
def traced(router: Router, log: Path) -> Iterator[Counter[str]]:
    """The router's system calls meanwhile, by name: filled in at the end."""
    argv = [need("strace"), "-f", "-o", str(log), "-p", str(router.pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    calls: Counter[str] = Counter()
    try:
        yield calls
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
    calls.update(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))
