"""Pid files, and the signals and requests that `--stop` and `--reload` send to the router that wrote one.

A running router holds a write lock (fcntl(2), record locks) on its pid file. Taking one needs the right to write to the
file, so no other user can pretend to be the router; read locks are ignored, since every reader can take one. The kernel
releases the lock when the process ends, no child inherits it, and F_GETLK tells which process holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from functools import partial

from fastpty.errors import FastptyError
from fastpty.service import control
from fastpty.system import child, foreign_root
from fastpty.system.files import read_text
from fastpty.system.readable import readable
from fastpty.system.records import dataclass

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


class PidFile:
    """The pid file of this process, with mode 0644, and its control socket.

    Raises FastptyError if the file names another running router, or cannot be written.
    remove_from_outside: removes the file at the end, if this process cannot.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        try:
            self._write(f"{self.path}.{os.getpid()}")
        except OSError as error:
            raise FastptyError(f"cannot write pidfile {path}: {error.strerror}") from error
        self.control = control.ControlSocket(self._fd)
        self.remove_from_outside: Callable[[PidFile], None] | None = None

    @property
    def file(self) -> tuple[str, int]:
        """Its path and a descriptor."""
        return self.path, self._fd

    def _write(self, fresh: str) -> None:
        """Renames a complete and locked file into place: nobody reads half a number, and no link is followed."""
        begin = partial(_begin, self.path, fresh, os.getpid())
        self._identity, [self._fd] = foreign_root.in_time("writing a pid file", begin)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            foreign_root.in_time("writing a pid file", partial(_complete, self.path, fresh, self._fd), [self._fd])
        except OSError:
            with contextlib.suppress(OSError):
                foreign_root.in_time("removing a pid file", partial(_remove, fresh, self._identity))
            os.close(self._fd)
            raise

    def close(self, *, remove: bool) -> None:
        """Releases the lock. If `remove`, removes the file first, unless another one has its name. Raises OSError."""
        self.control.close()
        try:
            if remove and self.remove_from_outside is not None:
                self.remove_from_outside(self)
            elif remove:
                # While it is open, no other file can have its inode number.
                foreign_root.in_time("removing a pid file", partial(_remove, self.path, self._identity))
        finally:
            os.close(self._fd)


def _begin(path: str, fresh: str, pid: int) -> child.Answer:
    """Writes the file `fresh`. Returns its device and inode, and a descriptor."""
    running = holder(path)
    if running is not None:
        raise FastptyError(f"pidfile {path}: router {running} runs: stop it first, or choose another file")
    with foreign_root.directory_of(fresh) as directory:
        name, flags = os.path.basename(fresh), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            foreign_root.check_answers(descriptor)
            os.write(descriptor, b"%d\n" % pid)
            status = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            os.unlink(name, dir_fd=directory)
            raise
    return (status.st_dev, status.st_ino), [descriptor]


def _complete(path: str, fresh: str, descriptor: int) -> child.Answer:
    with foreign_root.directory_of(path) as directory:
        os.fchmod(descriptor, 0o644)  # only now: a reader's lock would have kept ours out
        os.rename(os.path.basename(fresh), os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
    return None, ()


def _remove(path: str, identity: tuple[int, int]) -> child.Answer:
    name = os.path.basename(path)
    with foreign_root.directory_of(path) as directory:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if (there.st_dev, there.st_ino) == identity:
            os.unlink(name, dir_fd=directory)
    return None, ()


def holder(path: str) -> int | None:
    """The process id of the running router that wrote this pid file; None if no such router runs.

    Raises FastptyError if the file exists but cannot be read, or if the router has no process id in this namespace.
    """
    with _opened(path) as descriptor:
        return None if descriptor is None else _writer(path, descriptor)


def stop(path: str, *, wait: bool) -> None:
    """Sends SIGTERM to the router that wrote this pid file. wait: returns only after the router has ended.

    Raises FastptyError if no such router runs, if the signal is not permitted or ignored, or if a user who may write
    to the file or its directory could have chosen a process of another user.
    """
    with _router(path) as router:
        router.send(signal.SIGTERM)
        if wait:
            readable(router.pidfd)


def reload(path: str, *, wait: bool) -> str:
    """Makes the router that wrote this pid file read its configuration again. wait: until that has succeeded.

    Returns what to tell the user. Raises FastptyError as stop() does, and with `wait` if the reload is refused.
    """
    with _router(path) as router:
        if wait:
            try:
                error = control.request(router.descriptor, router.pid, control.RELOAD)
            except OSError:  # there is no control socket, or it does not serve this user
                pass
            else:
                if error is not None:
                    raise FastptyError(error)
                return "reloaded"
        router.send(signal.SIGHUP)
        return "reload requested: see the router's log for the outcome" if wait else ""


@dataclass(frozen=True)
class _Router:
    """A running router: its pid file, a descriptor of that file, its process id and a pidfd."""

    path: str
    descriptor: int
    pid: int
    pidfd: int

    def send(self, number: signal.Signals) -> None:
        """Sends a signal. Raises FastptyError if the router ignores it, has ended or belongs to another user."""
        found = re.search(r"^SigIgn:\s*([0-9a-f]+)$", _status(self.path, self.pid), re.MULTILINE)
        if found and int(found[1], 16) >> (number - 1) & 1:
            raise FastptyError(
                f"pidfile {self.path}: router {self.pid} ignores {number.name}, because it was started so (nohup?)"
            )
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            raise FastptyError(f"pidfile {self.path}: router {self.pid} has ended") from None
        except PermissionError:
            raise FastptyError(f"pidfile {self.path}: router {self.pid} belongs to another user") from None


@contextlib.contextmanager
def _router(path: str) -> Iterator[_Router]:
    """The running router that wrote this pid file; raises FastptyError if there is none that can be trusted."""
    with _opened(path, os.O_NOFOLLOW) as descriptor:
        pid = None if descriptor is None else _writer(path, descriptor)
        if descriptor is None or pid is None:
            raise FastptyError(f"pidfile {path}: no running router holds this pid file")
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise FastptyError(f"pidfile {path}: router {pid} has ended") from None
        try:
            _check_owner(path, descriptor, pid)
            # If it still holds the lock, the pidfd is not of a process that has got the number since.
            if _writer(path, descriptor) != pid:
                raise FastptyError(f"pidfile {path}: router {pid} has ended")
            yield _Router(path, descriptor, pid, pidfd)
        finally:
            os.close(pidfd)


@contextlib.contextmanager
def _opened(path: str, flags: int = 0) -> Iterator[int | None]:
    """A descriptor of the file; None if there is no such file."""
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
    """The process that holds a write lock: the only kind that conflicts with the read lock asked for here."""
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError as error:
        raise FastptyError(
            f"pidfile {path}: cannot find out which process holds its lock: {error.strerror}"
        ) from error
    if kind == fcntl.F_UNLCK:
        return None
    # kill(2) takes -1 for every process and 0 for the process group.
    if pid <= 0:
        raise FastptyError(
            f"pidfile {path} is locked by a process whose pid is not visible here (in another pid namespace?)"
        )
    return int(pid)


def _check_owner(path: str, descriptor: int, pid: int) -> None:
    """Raises FastptyError if the process does not belong to the file's owner. A file of root's is trusted.

    A lock can outlive the process that took it, in a process that shares its descriptor table. Then its number may
    belong to any process. A router that root started may have become any user, so no owner is expected for it.
    """
    owner = os.fstat(descriptor).st_uid
    if owner == 0:
        return
    # Not the owner of /proc/PID, which is root if the process has changed its user.
    found = re.search(r"^Uid:(.*)$", _status(path, pid), re.MULTILINE)
    if found is None or {int(uid) for uid in found[1].split()} != {owner}:
        raise FastptyError(f"pidfile {path}: process {pid} does not belong to the file's owner (uid {owner})")


def _status(path: str, pid: int) -> str:
    try:
        return read_text(f"/proc/{pid}/status")
    except OSError as error:
        raise FastptyError(f"pidfile {path}: cannot read the status of process {pid}: {error.strerror}") from error
