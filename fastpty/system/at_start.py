"""Restores, for the programs that the router runs, signals and limits that the router has changed for itself."""

from __future__ import annotations

import contextlib
import resource

from fastpty.system import signals

FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""RLIMIT_NOFILE at the start, soft and hard. Programs get it: some close all descriptors up to it, or use select(2)."""


def raise_file_limit() -> None:
    """Raises this process's RLIMIT_NOFILE to the hard limit. A session needs three descriptors."""
    _, hard = FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def restore() -> None:
    """Call it in a child before it executes a command: resets signals, the signal mask and RLIMIT_NOFILE.

    They pass through execve(2), and a daemon that the command starts would keep them.
    """
    signals.reset()
    # It fails if prlimit(1) has lowered the limit since. Then the lower one holds.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
