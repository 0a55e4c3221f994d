"""What reading a configuration may cost: bytes, settings and seconds, over all its sources together.

A mistake (`for-readline = /dev/zero`, files that include each other twice) or somebody else's file must not fill the
memory or hold up a router. Files are opened so that nothing waits, and only regular files are read: a FIFO, a device or
a socket in the place of a file is refused. Commands and everything that computes end at the deadline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import NoReturn

from fastpty.errors import UsageError
from fastpty.system import at_start

SECONDS = 30.0
SETTINGS = 100_000
BYTES = 16 << 20
SOURCE_BYTES = 1 << 20
"""As much as one file or command may give, and one value may be."""

_TOO_LONG = "it is longer than 1 MiB"
_LEAST_COST = 4096  # of a file or command, however little it gives, so that many small ones are too much as well
_CHUNK_BYTES = 65536
_AGAIN_SECONDS = 0.1  # an exception that was raised where nobody could pass it on is lost


class Budget:
    """What is left to be spent. Whoever spends more gets a ValueError that says of what, or UsageError for time.

    apart: commands have a session of their own, which is killed when they take too long. Otherwise they stay in the
    process group of this process, and its parent kills that.
    """

    def __init__(
        self, *, seconds: float = SECONDS, settings: int = SETTINGS, size: int = BYTES, apart: bool = True
    ) -> None:
        self._apart = apart
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._settings = self._settings_most = settings
        self._bytes = self._bytes_most = size

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """Ends its body with UsageError when the time is over, whatever that computes or waits for.

        By SIGALRM, which only the main thread can have; elsewhere only commands end in time.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handler = signal.signal(signal.SIGALRM, self._out_of_time)
        before = time.monotonic()
        left, interval = signal.setitimer(signal.ITIMER_REAL, max(self.seconds_left(), 1e-6), _AGAIN_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if left:  # somebody else's timer goes on
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - before), 1e-6), interval)

    def seconds_left(self) -> float:
        """How long there still is time; zero when it is over."""
        return max(0.0, self._deadline - time.monotonic())

    def take_setting(self) -> None:
        """For each setting that there is, also for one that a loop makes."""
        self._settings -= 1
        if self._settings < 0:
            raise ValueError(f"more than {self._settings_most} settings: is there a loop too long?")

    def take_bytes(self, count: int) -> None:
        """For what was read, and for what values become."""
        self._bytes -= count
        if self._bytes < 0:
            raise ValueError(f"all files and values together come to more than {_mebibytes(self._bytes_most)}")

    def take_source(self, content: bytes) -> bytes:
        """The content of a file or a command, paid for; one that is too long is refused."""
        if len(content) > SOURCE_BYTES:
            raise ValueError(_TOO_LONG)
        self.take_bytes(max(len(content), _LEAST_COST))
        return content

    def read(self, descriptor: int) -> bytes:
        """What a file of `opened` holds."""
        parts: list[bytes] = []
        left = SOURCE_BYTES + 1
        while left > 0 and (part := os.read(descriptor, min(left, _CHUNK_BYTES))):
            parts.append(part)
            left -= len(part)
        return self.take_source(b"".join(parts))

    def read_file(self, path: str) -> bytes:
        """What the file of this path holds. Raises OSError as well."""
        with opened(path) as descriptor:
            return self.read(descriptor)

    def run(self, command: str, environ: Mapping[str, str]) -> bytes:
        """What a command writes. /bin/sh -c runs it, without a terminal to ask at. Out of time it is killed."""
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environ,
            start_new_session=self._apart,
            preexec_fn=at_start.restore,
        ) as process:
            try:
                content = self._output(process)
                with _pidfd(process.pid) as pidfd:
                    self._wait_for(pidfd)
            except BaseException:
                # Not reaped yet, so the number is still its own.
                if self._apart:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                raise
        status = process.returncode
        if status:
            raise ValueError(
                f"the command ended with status {status}" if status > 0 else f"the command died of signal {-status}"
            )
        return self.take_source(content)

    def _output(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        parts: list[bytes] = []
        left = SOURCE_BYTES + 1
        while left > 0:
            self._wait_for(process.stdout.fileno())
            part = os.read(process.stdout.fileno(), _CHUNK_BYTES)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        if left <= 0:
            raise ValueError(_TOO_LONG)
        return b"".join(parts)

    def _wait_for(self, descriptor: int) -> None:
        if not select.select([descriptor], [], [], self.seconds_left())[0]:
            self._out_of_time()

    def _out_of_time(self, _number: int = 0, _frame: FrameType | None = None) -> NoReturn:
        raise UsageError(
            f"reading the configuration takes longer than {self._seconds:g} s: a slow command, or far too much of it?"
        )


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a regular file. Nothing waits; raises OSError, and ValueError for anything else but a file."""
    check_kind(os.stat(path).st_mode)  # before it is opened, which may do something to a device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_kind(os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def check_kind(mode: int) -> None:
    """Raises ValueError for what is no regular file, and IsADirectoryError for a directory."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise ValueError(f"it is {kind}, and only regular files are read: @(exec://cat …) reads others")


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):g} MiB"
