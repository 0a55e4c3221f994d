"""The router's name in ps(1) and top(1)."""

from __future__ import annotations

import ctypes
import functools
import os

from fastpty.system import linux
from fastpty.system.files import read_text

_NAME_BYTES_MOST = 15  # prctl(2), PR_SET_NAME


def set_title(title: str) -> None:
    """Sets the short name of this process, at most 15 bytes, and replaces its arguments as far as there is room.

    The first call must be before the jail is entered, because it needs /proc.
    """
    name = os.fsencode(title)
    linux.prctl(linux.PR_SET_NAME, name[:_NAME_BYTES_MOST])
    _replace_arguments(name)


def hide_arguments() -> None:
    """Hides this process's arguments, if find_arguments() was called before."""
    _replace_arguments(b"fastpty-router")


def _replace_arguments(title: bytes) -> None:
    start, size = find_arguments()
    if size > 1:
        ctypes.memmove(start, title[: size - 1].ljust(size, b"\0"), size)


@functools.cache
def find_arguments() -> tuple[int, int]:
    """Address and size of this process's arguments in memory (proc(5), /proc/PID/stat, fields 48 and 49)."""
    try:
        fields = read_text("/proc/self/stat").rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, ValueError, IndexError):
        return 0, 0
    return start, end - start
