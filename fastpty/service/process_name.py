"""The router's name in ps(1) and top(1)."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from fastpty.system import linux

_NAME_BYTES_MOST = 15  # prctl(2), PR_SET_NAME


def set_title(title: str) -> None:
    """Names this process: in place of its arguments, as far as there is room; the first 15 bytes as its short name.

    To be called before the jail is entered for the first time, since it needs /proc.
    """
    name = os.fsencode(title)
    linux.prctl(linux.PR_SET_NAME, name[:_NAME_BYTES_MOST])
    _replace_arguments(name)


def hide_arguments() -> None:
    """Shows nothing of this process's arguments any more, where `find_arguments` has been called before."""
    _replace_arguments(b"fastpty-router")


def _replace_arguments(title: bytes) -> None:
    start, size = find_arguments()
    if size > 1:
        ctypes.memmove(start, title[: size - 1].ljust(size, b"\0"), size)


@functools.cache
def find_arguments() -> tuple[int, int]:
    """Where the kernel reads this process's arguments from (proc(5), /proc/PID/stat fields 48 and 49), and the size."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, ValueError, IndexError):
        return 0, 0
    return start, end - start
