"""Opens files in a foreign root: a root that somebody else may control.

There, a link through /proc/PID/root leads to the host, and one to /proc/sys changes kernel settings. So no symbolic
link is followed, and a file must belong to the router's user or root.

A file system there may never answer (FUSE). A process that asks it is stuck in the kernel, where no signal ends it.
So a running router uses no path of such a root itself: `in_time` lets a child do that, with a deadline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from fastpty.system import child, linux

SECONDS = 5.0

# linux/magic.h: file systems that answer from the kernel's own data or a disk: tmpfs, ext, xfs, btrfs, f2fs, overlayfs,
# bcachefs, zfs.
_ANSWERING = frozenset(
    (0x0102_1994, 0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x794C_7630, 0xCA45_1A4E, 0x2FC1_2FC1)
)

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NULL = os.makedev(1, 3)

_is_entered = False


def enter() -> None:
    """Records that this process and its children are in a foreign root from now on."""
    global _is_entered
    _is_entered = True


def is_entered() -> bool:
    """Returns True if this process is in a foreign root."""
    return _is_entered


def in_time(name: str, work: Callable[[], child.Answer], keep: Iterable[int] = ()) -> child.Answer:
    """Runs `work`, which uses paths of this root, and returns its value and descriptors. The caller closes these.

    In a foreign root a child runs it, with a deadline. name: the child's. keep: the descriptors that `work` needs.
    Raises the OSError or FastptyError that `work` raises, or TimeoutError.
    """
    if not _is_entered:
        return work()
    try:
        return child.ask(name, work, SECONDS, keep)
    except TimeoutError:
        raise TimeoutError(errno.ETIMEDOUT, f"its file system does not answer within {SECONDS:g} s") from None


def check_answers(fd: int) -> None:
    """In a foreign root, raises OSError if the file system of `fd` may depend on another process.

    Even the close of a file could then block. Call it within `in_time`.
    """
    if _is_entered and linux.file_system_type(fd) not in _ANSWERING:
        raise OSError(errno.EPERM, "its file system may depend on another process: choose another directory")


def open_file(path: str, flags: int, mode: int = 0) -> int:
    """Opens a file of the router, such as a log. Raises OSError with a text that says what to do."""
    opened = open_no_link(path, flags, mode)
    if not _is_entered:
        return opened
    try:
        _check(os.fstat(opened))
    except OSError:
        os.close(opened)
        raise
    return opened


def open_no_link(path: str, flags: int, mode: int = 0) -> int:
    """As open(2), but follows no link in a foreign root, where it could lead to the host. Raises OSError."""
    if not _is_entered:
        return os.open(path, flags, mode)
    with directory_of(path) as directory:
        return _open_no_link(os.path.basename(path), flags, mode, directory)


@contextlib.contextmanager
def directory_of(path: str) -> Iterator[int]:
    """Opens the directory that contains `path`. Raises OSError.

    The descriptor is closed at the end: a process in the jail could leave through a directory outside.
    """
    path = os.path.dirname(os.path.abspath(path))
    directory = _walk(path) if _is_entered else os.open(path, _DIRECTORY)
    try:
        yield directory
    finally:
        os.close(directory)


def _walk(path: str) -> int:
    """Opens component by component. openat2(2) with RESOLVE_NO_SYMLINKS is not in old kernels and seccomp filters."""
    directory = os.open("/", _DIRECTORY)
    try:
        for name in filter(None, path.split("/")):
            inner = _open_no_link(name, _DIRECTORY, 0, directory)
            os.close(directory)
            directory = inner
    except OSError:
        os.close(directory)
        raise
    return directory


def _open_no_link(name: str, flags: int, mode: int, directory: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            what = f"{name} is a link or not a directory, and in another root no link is followed"
            raise OSError(error.errno, what) from error
        raise


def _check(status: os.stat_result) -> None:
    """Raises OSError unless it is a FIFO, the null device, or a file of root or this user with one hard link."""
    if stat.S_ISFIFO(status.st_mode) or (stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL):
        return
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EPERM, "it is not a regular file, and in another root nothing else is written to")
    if status.st_uid not in (0, os.geteuid()):
        raise OSError(errno.EPERM, f"it belongs to uid {status.st_uid}: remove it, or choose another one")
    if status.st_nlink != 1:
        raise OSError(
            errno.EPERM,
            "it has a second hard link, so it may be somebody else's file: remove it, or choose another one",
        )
