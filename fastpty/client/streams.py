"""Standard input and output of the client, made non-blocking where that changes nothing for other processes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from fastpty.client.ready import SHORT_OF_MEMORY
from fastpty.errors import FastptyError

_PTMX = os.makedev(5, 2)

CHUNK_BYTES = 65536

# A pipe that poll(2) reports as writable takes this much, PIPE_BUF, without blocking.
_BLOCKING_CHUNK_BYTES = 4096


def check_streams(stdin_fd: int = 0, stdout_fd: int | None = 1) -> None:
    """Raises FastptyError if `stdin_fd` is not open for reading, or `stdout_fd`, if given, not for writing."""
    for fd, wrong, what in (
        (stdin_fd, os.O_WRONLY, "cannot read the input: standard input is not open for reading"),
        (stdout_fd, os.O_RDONLY, "cannot write the output: standard output is not open for writing"),
    ):
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) if fd is not None else os.O_RDWR
        if flags & os.O_PATH or flags & os.O_ACCMODE == wrong:
            raise FastptyError(what)


def is_writable(fd: int) -> bool:
    """True if `fd` is open for writing."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_PATH | os.O_ACCMODE) in (os.O_WRONLY, os.O_RDWR)


class Streams:
    """stdin and stdout within a `with` block, opened again as non-blocking if that is possible.

    `stdin_events`: the descriptor to poll(2) for input. A fifo that is opened again after its last writer has closed it
    does not report that end; the descriptor that was given does.
    """

    def __init__(self, stdin_fd: int, stdout_fd: int) -> None:
        self._given = stdin_fd, stdout_fd
        # EIO from a terminal means that it was hung up, which is an end. From a file it means a bad disk.
        self._stdin_ends = _gone(stdin_fd)
        self.stdout_ends = _gone(stdout_fd) | {errno.EPIPE, errno.ECONNRESET}

    def __enter__(self) -> Streams:
        stdin_fd, stdout_fd = self._given
        stdin, stdout = reopened(stdin_fd, os.O_RDONLY), reopened(stdout_fd, os.O_WRONLY)
        self._opened = [fd for fd in (stdin, stdout) if fd is not None]
        self.stdin = stdin_fd if stdin is None else stdin
        self.stdin_events = stdin_fd if stat.S_ISFIFO(os.fstat(stdin_fd).st_mode) else self.stdin
        self.stdout = stdout_fd if stdout is None else stdout
        self.write_bytes = _BLOCKING_CHUNK_BYTES if stdout is None else CHUNK_BYTES
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._opened:
            os.close(fd)

    def read(self, most_bytes: int = CHUNK_BYTES) -> bytes | None:
        """Returns input that has arrived, b"" at its end, or None if there is none now.

        Raises FastptyError if it cannot be read, and OSError for lack of memory.
        """
        try:
            return os.read(self.stdin, most_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            if error.errno not in self._stdin_ends:
                raise FastptyError(f"cannot read the input: {error.strerror}") from error
            return b""


def _gone(fd: int) -> frozenset[int]:
    return frozenset({errno.EIO}) if os.isatty(fd) else frozenset()


def reopened(fd: int, flags: int) -> int | None:
    """Opens the terminal or pipe behind `fd` once more, non-blocking; returns the new descriptor, or None.

    `flags` is os.O_RDONLY or os.O_WRONLY. O_NONBLOCK on `fd` itself would also apply to the shell that shares it.
    Without O_NONBLOCK, only small writes are sure not to block, and a pipe gets a third of the throughput. Regular
    files are not reopened: the new descriptor would have an offset of its own. Sockets cannot be reopened, and neither
    can another user's terminal.
    """
    try:
        found = os.fstat(fd)
        # Opening /dev/ptmx would make a new pty.
        if stat.S_ISFIFO(found.st_mode) or (os.isatty(fd) and found.st_rdev != _PTMX):
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    return None
