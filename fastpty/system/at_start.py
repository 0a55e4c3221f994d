"""What this process was started with and has changed for itself, and how commands that it runs get it back."""

from __future__ import annotations

import contextlib
import resource

from fastpty.system import signals

FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""RLIMIT_NOFILE, soft and hard. Programs get it: some close every descriptor up to it, or use select(2)."""


def raise_file_limit() -> None:
    """Raises this process's RLIMIT_NOFILE to what is allowed, three descriptors being a session."""
    _, hard = FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def restore() -> None:
    """In a child that is about to execute a command: default signals, none blocked, and the file limit.

    A mask, ignored signals and limits pass through execve(2), and a command may start a daemon, which would keep them.
    """
    signals.reset()
    # Refused where somebody has lowered the limit of this process since (prlimit(1)): then that is the limit.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
