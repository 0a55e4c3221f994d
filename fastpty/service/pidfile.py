"""Pid files: written whole, private to their writer, and good for telling whether the router they name still runs.

A running router holds a record lock (fcntl(2)) on its pid file, a write lock, which takes the right to write: so nobody
else can pretend. Everybody who may read the file can hold a read lock, so these are not asked for. The lock ends with
the process, however that ends; no child inherits it; and F_GETLK says whose it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

from fastpty.errors import FastptyError
from fastpty.system import foreign_root

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class PidFile:
    """The pid file of this process, until close() or the process's end. Mode 0644.

    Raises FastptyError if the file names another router that runs, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        running = holder(path)
        if running is not None:
            raise FastptyError(f"pidfile {path}: router {running} runs: stop it first, or choose another file")
        try:
            with foreign_root.directory_of(self.path) as directory:
                self._write(directory)
        except OSError as error:
            raise FastptyError(f"cannot write pidfile {path}: {error.strerror}") from error

    def _write(self, directory: int) -> None:
        """Puts it in place by its name in one go: nobody reads half a number, and a symbolic link is not followed."""
        name = os.path.basename(self.path)
        fresh = f"{name}.{os.getpid()}"
        self._fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            os.write(self._fd, b"%d\n" % os.getpid())
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(self._fd, 0o644)  # only now, for a reader's lock would keep ours out
            os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=directory)
            os.close(self._fd)
            raise

    def close(self, *, remove: bool) -> None:
        """Gives up the lock; removes the file before that, if wanted and if it still is this one. Raises OSError."""
        try:
            if remove:
                self._remove()
        finally:
            os.close(self._fd)

    def _remove(self) -> None:
        name = os.path.basename(self.path)
        with foreign_root.directory_of(self.path) as directory:
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if os.path.samestat(there, os.fstat(self._fd)):
                os.unlink(name, dir_fd=directory)


def holder(path: str) -> int | None:
    """The process id of the running router that wrote this pid file; None if there is none.

    Raises FastptyError if the file is there but cannot be read, or if there is one that has no process id here.
    """
    with _opened(path) as descriptor:
        return None if descriptor is None else _writer(path, descriptor)


def send(path: str, number: int) -> None:
    """Sends a signal to the router that wrote this pid file.

    Raises FastptyError if none runs or it is not allowed, and where whoever may write to the file, or to its directory,
    could choose a process of somebody else's.
    """
    with _opened(path, os.O_NOFOLLOW) as descriptor:
        pid = None if descriptor is None else _writer(path, descriptor)
        if descriptor is None or pid is None:
            raise FastptyError(f"pidfile {path}: no router that wrote it runs")
        try:
            process = os.pidfd_open(pid)
            try:
                _check_owner(path, descriptor, pid)
                # Asked again, it is known that this process is not one which has got the number since.
                if _writer(path, descriptor) != pid:
                    raise ProcessLookupError
                signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)
        except ProcessLookupError:
            raise FastptyError(f"pidfile {path}: router {pid} has ended") from None
        except PermissionError:
            raise FastptyError(f"pidfile {path}: router {pid} belongs to somebody else") from None


@contextlib.contextmanager
def _opened(path: str, flags: int = 0) -> Iterator[int | None]:
    """The file, to be asked; None if it is not there."""
    try:
        descriptor = foreign_root.open_file(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise FastptyError(f"cannot read pidfile {path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _writer(path: str, descriptor: int) -> int | None:
    """The process that holds a write lock, which only conflicts with what a reader would ask for."""
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError as error:
        raise FastptyError(f"pidfile {path} cannot be asked for its router: {error.strerror}") from error
    if kind == fcntl.F_UNLCK:
        return None
    # To kill(2) these would be every process that there is, or all of a group.
    if pid <= 0:
        raise FastptyError(f"pidfile {path} is locked by a process that cannot be named (in another pid namespace?)")
    return int(pid)


def _check_owner(path: str, descriptor: int, pid: int) -> None:
    """Raises FastptyError for a process of others than the file's owner; root's own file is believed.

    A lock can outlive the process that took it, in one that shares its descriptors, and then names whoever gets the
    number next. A router that root started may have become anybody.
    """
    owner = os.fstat(descriptor).st_uid
    if owner == 0:
        return
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError as error:
        raise FastptyError(f"pidfile {path}: cannot tell whose process {pid} is: {error.strerror}") from error
    # Not the owner of /proc/PID, which is root where the process has changed its user.
    found = re.search(r"^Uid:(.*)$", status, re.MULTILINE)
    if found is None or {int(uid) for uid in found[1].split()} != {owner}:
        raise FastptyError(f"pidfile {path}: process {pid} is not of the file's owner (uid {owner})")
