"""The router's name in ps(1) and top(1)."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from fastpty import linux
from fastpty.config import Config

_NAME_BYTES_MOST = 15  # prctl(2), PR_SET_NAME

MASTER = "master"
WORKER = "worker"


def set_title(config: Config, role: str) -> None:
    """Names this process as the `procname` options ask for; without any of them it keeps its own command line.

    The name is the prefix, `procname` (of the role MASTER: `procname-master` where given) or else fastpty-router and
    the role, and what is appended. It stands in place of the arguments, as far as there is room, and its first 15
    bytes as the process's name. To be called before the jail is entered for the first time, since it needs /proc.
    """
    own = config.procname_master if role == MASTER and config.procname_master else config.procname
    if not (own or config.auto_procname or config.procname_prefix or config.procname_append):
        return
    name = own or f"fastpty-router {role}"
    title = os.fsencode((config.procname_prefix or "") + name + (config.procname_append or ""))
    linux.prctl(linux.PR_SET_NAME, title[:_NAME_BYTES_MOST])
    _replace_arguments(title)


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
