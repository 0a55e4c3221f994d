"""A program that cannot be executed for a while."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.peers import need_root


@contextmanager
def leased(command: Path, script: str = "#!/bin/sh\n") -> Iterator[Path]:
    """Writes a program, and keeps a write lease on its file (fcntl(2), F_SETLEASE): execve(2) waits for its end."""
    need_root()
    command.write_text(script)
    command.chmod(0o755)
    held = os.open(command, os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield command
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)
