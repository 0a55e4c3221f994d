"""The cgroup that holds those of one router's sessions: how it is made, and how others see that it is in use.

A running router holds a write lock on its `cgroup.kill` (fcntl(2), open file description locks), which takes the right
to write there. So a router that removes what killed ones have left does not remove what a living one has.
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
    """A new cgroup in `above`, which is a directory's descriptor: its name, and its locked cgroup.kill.

    Raises OSError; FileNotFoundError where cgroups have no cgroup.kill.
    """
    for attempt in range(_ATTEMPTS):
        # The name can be taken: by a router with the same pid in another pid namespace, or what one has left.
        name = f"{_PREFIX}{os.getpid()}" + (f".{attempt}" if attempt else "")
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
            killer = _take(name, above)
            if killer is not None:
                return name, killer
    raise OSError(errno.EBUSY, "others remove it at once")


def lock(name: str | Path, above: int | None = None) -> int | None:
    """The cgroup.kill of a cgroup, locked; None where another process has it. Raises OSError."""
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
    """The locked cgroup.kill of what was just made; None where somebody who sweeps came first."""
    try:
        killer = lock(name, above)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=above)
            raise  # it still was there
        return None
    if killer is None:
        return None
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(f"{name}/cgroup.kill", dir_fd=above), os.fstat(killer)):
            return killer
    os.close(killer)
    return None


def sweep(above: Path) -> None:
    """Removes what routers have left that were killed, or could not go back when they had given up root."""
    for left in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # EBUSY: there are processes. EACCES: it is somebody else's
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
