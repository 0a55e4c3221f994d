"""The cgroup that contains the cgroups of one router's sessions: how it is created and marked as in use.

A running router holds a write lock on its `cgroup.kill` (fcntl(2), open file description locks). Only processes that
may write to the file can lock it. So a router that removes the cgroups of killed routers spares those in use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

_PREFIX = "fastpty-"
_ATTEMPTS = 100
_FLOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of 64-bit Linux: the whole file


def make(above: int) -> tuple[str, int]:
    """Creates a cgroup in the directory `above` (a descriptor); returns its name and its locked cgroup.kill.

    Raises OSError, which is FileNotFoundError if cgroups have no cgroup.kill.
    """
    for attempt in range(_ATTEMPTS):
        # A router with the same pid in another pid namespace may use the name, or may have left it behind.
        name = f"{_PREFIX}{os.getpid()}" + (f".{attempt}" if attempt else "")
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
            killer = _take(name, above)
            if killer is not None:
                return name, killer
    raise OSError(errno.EBUSY, "others remove it at once")


def lock(name: str | Path, above: int | None = None) -> int | None:
    """Opens and locks the cgroup.kill of a cgroup; None if another process holds the lock. Raises OSError."""
    killer = os.open(f"{name}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=above)
    try:
        fcntl.fcntl(killer, fcntl.F_OFD_SETLK, _FLOCK)
    except OSError as error:
        os.close(killer)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return killer


def _take(name: str, above: int) -> int | None:
    """Locks the new cgroup's cgroup.kill; None if another router's sweep() came first."""
    try:
        killer = lock(name, above)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=above)
            raise  # the cgroup exists, so cgroups have no cgroup.kill
        return None
    if killer is None:
        return None
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(f"{name}/cgroup.kill", dir_fd=above), os.fstat(killer)):
            return killer
    os.close(killer)
    return None


def sweep(above: Path) -> None:
    """Removes the cgroups of routers that were killed, or had no right to remove them."""
    for left in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # EBUSY: it has processes. EACCES: it is another user's
            killer = lock(left)
            if killer is not None:
                try:
                    _remove(left)
                finally:
                    os.close(killer)


def _remove(cgroup: Path) -> None:
    for inner in cgroup.glob("*/"):
        inner.rmdir()
    cgroup.rmdir()
