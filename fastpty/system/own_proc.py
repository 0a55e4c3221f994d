"""This process's directory in /proc. In a foreign root, a path below /proc may lead to any other file."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from fastpty.system import foreign_root, linux

_PROC_SUPER_MAGIC = 0x9FA0
_ROOT_INODE = 1
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STRICTLY = linux.RESOLVE_NO_XDEV | linux.RESOLVE_NO_MAGICLINKS | linux.RESOLVE_BENEATH


@contextlib.contextmanager
def directory() -> Iterator[int]:
    """A descriptor of /proc/self, for `open_file`. In a foreign root, checks that /proc is a proc file system.

    Raises OSError.
    """
    fd = _checked() if foreign_root.is_entered() else os.open("/proc/self", _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(own: int, name: str, flags: int) -> int:
    """Opens a file below `own`, a descriptor of `directory`. In a foreign root nothing may be mounted over the file.

    Raises OSError.
    """
    if foreign_root.is_entered():
        return linux.openat2(name, flags, _STRICTLY, own)
    return os.open(name, flags | os.O_CLOEXEC, dir_fd=own)


def read(own: int, name: str) -> str:
    """The text of a file below `own`. Raises OSError."""
    with open(open_file(own, name, os.O_RDONLY)) as file:
        return file.read()


def write(own: int, name: str, text: str) -> None:
    """Writes `text` into a file below `own` with one write(2), as id maps need it. Raises OSError."""
    with open(open_file(own, name, os.O_WRONLY), "w") as file:
        file.write(text)


def shows_this_process(proc: int | None = None) -> bool:
    """True if /proc, or the directory of the descriptor `proc`, belongs to this process's pid namespace."""
    try:
        return os.readlink("/proc/self" if proc is None else "self", dir_fd=proc) == str(os.getpid())
    except OSError:
        return False


def _checked() -> int:
    proc = linux.openat2("/proc", _DIRECTORY, linux.RESOLVE_NO_MAGICLINKS)
    try:
        if linux.file_system_type(proc) != _PROC_SUPER_MAGIC or os.fstat(proc).st_ino != _ROOT_INODE:
            raise OSError(errno.ENOENT, "no proc file system is mounted on /proc in the router's root")
        return linux.openat2("self", _DIRECTORY, _STRICTLY, proc)
    finally:
        os.close(proc)
