"""Pid files: written whole, private to their writer, and good for telling whether the router they name still runs.

A running router holds a record lock (fcntl(2)) on its pid file. Unlike flock(2) it takes the right to write, so nobody
else can pretend; it ends with the process, however that ends; no child inherits it; and F_GETLK says whose it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

from fastpty.errors import FastptyError

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
        # Put in place by its name in one go: nobody reads half a number, and a symbolic link is not followed.
        fresh = f"{self.path}.{os.getpid()}"
        try:
            self._fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(self._fd, 0o644)
                os.write(self._fd, b"%d\n" % os.getpid())
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.rename(fresh, self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(fresh)
                os.close(self._fd)
                raise
        except OSError as error:
            raise FastptyError(f"cannot write pidfile {path}: {error.strerror}") from error

    def close(self, *, remove: bool) -> None:
        """Gives up the lock; removes the file before that, if wanted and if it still is this one. Raises OSError."""
        try:
            if remove and os.path.samestat(os.lstat(self.path), os.fstat(self._fd)):
                os.unlink(self.path)
        finally:
            os.close(self._fd)


def holder(path: str) -> int | None:
    """The process id of the running router that wrote this pid file; None if there is none.

    Raises FastptyError if the file is there but cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FastptyError(f"cannot read pidfile {path}: {error.strerror}") from error
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return pid if kind != fcntl.F_UNLCK else None
    except OSError as error:
        raise FastptyError(f"pidfile {path} cannot be asked for its router: {error.strerror}") from error
    finally:
        os.close(descriptor)


def send(path: str, number: int) -> None:
    """Sends a signal to the router that wrote this pid file; raises FastptyError if none runs or it is not allowed."""
    pid = holder(path)
    if pid is None:
        raise FastptyError(f"pidfile {path}: no router that wrote it runs")
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise FastptyError(f"pidfile {path}: router {pid} has ended") from None
    except PermissionError:
        raise FastptyError(f"pidfile {path}: router {pid} belongs to somebody else") from None
