"""Puts a file or link in its place in one step, when it is complete."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_PLACE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_COPIED_BYTES = 65536

NOT_REPLACEABLE = "a device, socket or pipe is there"

_incomplete: tuple[int, bytes] | None = None
"""The directory and the temporary name of what is written now, or was written last."""


def abandon() -> None:
    """Removes what is not complete. Also for a signal handler that ends the process."""
    if _incomplete is not None:
        with suppress(OSError):
            os.unlink(_incomplete[1], dir_fd=_incomplete[0])


class NewFile:
    """A file with a temporary name in the directory where it belongs.

    Leaving the `with` block removes it, unless commit() gave it its name. Every method raises OSError.
    """

    def __init__(self, directory: int, name: bytes) -> None:
        self._directory = directory
        self._name = name
        self._temporary = _begin(directory, name)
        self._descriptor = os.open(self._temporary, _NEW, 0o600, dir_fd=directory)
        self._is_committed = False

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_committed:
            abandon()
        os.close(self._descriptor)

    def write(self, content: bytes) -> None:
        """Appends to the file."""
        _write(self._descriptor, content)

    def commit(self, mode: int, mtime_ns: int) -> bool:
        """Gives the file its name, in place of a file or link that has it.

        A mount point cannot be replaced: the file there is overwritten, and keeps its mode. Returns True in that case.
        """
        os.fchmod(self._descriptor, mode)
        os.utime(self._descriptor, ns=(mtime_ns, mtime_ns))
        os.close(os.dup(self._descriptor))  # a network file system may report only now that it is full
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self._overwrite(mtime_ns)
            return True
        self._is_committed = True
        return False

    def _overwrite(self, mtime_ns: int) -> None:
        place = os.open(self._name, _IN_PLACE, dir_fd=self._directory)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.EBUSY, "a mount point that is not a file")
            os.ftruncate(place, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            while content := os.read(self._descriptor, _COPIED_BYTES):
                _write(place, content)
            os.utime(place, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(place)


def put_link(directory: int, name: bytes, target: bytes) -> None:
    """Creates a symbolic link, in place of a file or link that has the name. Raises OSError."""
    temporary = _begin(directory, name)
    os.symlink(target, temporary, dir_fd=directory)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        abandon()
        raise


def _begin(directory: int, name: bytes) -> bytes:
    """Returns a temporary name for what is written next. Raises OSError if there is something that must stay."""
    global _incomplete
    with suppress(FileNotFoundError):
        if not is_replaceable(os.stat(name, dir_fd=directory, follow_symlinks=False)):
            raise OSError(errno.EEXIST, NOT_REPLACEABLE)
    temporary = b".fastpty-%b" % os.urandom(8).hex().encode()
    _incomplete = directory, temporary
    return temporary


def is_replaceable(status: os.stat_result) -> bool:
    """Returns False for a device, socket or FIFO: a file in the place of /dev/null would break the system."""
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
