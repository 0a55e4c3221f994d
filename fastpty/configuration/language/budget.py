"""Limits what reading a configuration may cost: bytes, settings and seconds, over all its sources together.

A mistake (`for-readline = /dev/zero`, files that include each other twice) or another user's file must not fill the
memory or block a router. Only regular files are read, and opening them never waits; a FIFO, a device or a socket in the
place of a file is refused. Commands and computations end at the deadline.
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
"""The most that one file, the output of one command or one value may hold."""

_TOO_LONG = "it is longer than 1 MiB"
_LEAST_COST = 4096  # counted for each file or command, so that very many small ones exceed the budget as well
_CHUNK_BYTES = 65536
_AGAIN_SECONDS = 0.1  # an exception raised in a callback that cannot pass it on is lost, so the alarm repeats


class Budget:
    """What reading may still cost. Exceeding it raises ValueError with the reason, or UsageError if the time is over.

    apart: commands run in a session of their own, which is killed when they take too long. Otherwise they stay in the
    process group of this process, which its parent kills.
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
        """Ends its body with UsageError when the time is over, whatever the body computes or waits for.

        This uses SIGALRM, which only the main thread can handle; in other threads only commands end in time.
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
            if left:  # restore the timer of the caller
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - before), 1e-6), interval)

    def seconds_left(self) -> float:
        """The remaining seconds; zero when the time is over."""
        return max(0.0, self._deadline - time.monotonic())

    def take_setting(self) -> None:
        """Counts one setting, which may come from a loop."""
        self._settings -= 1
        if self._settings < 0:
            raise ValueError(f"more than {self._settings_most} settings: is a loop too long?")

    def take_bytes(self, count: int) -> None:
        """Counts bytes that were read, or that expanded values hold."""
        self._bytes -= count
        if self._bytes < 0:
            raise ValueError(f"all files and values together hold more than {_mebibytes(self._bytes_most)}")

    def take_source(self, content: bytes) -> bytes:
        """Counts and returns the content of a file or command; raises ValueError if it is too long."""
        if len(content) > SOURCE_BYTES:
            raise ValueError(_TOO_LONG)
        self.take_bytes(max(len(content), _LEAST_COST))
        return content

    def read(self, descriptor: int) -> bytes:
        """The content of a file that `opened` has opened."""
        parts: list[bytes] = []
        left = SOURCE_BYTES + 1
        while left > 0 and (part := os.read(descriptor, min(left, _CHUNK_BYTES))):
            parts.append(part)
            left -= len(part)
        return self.take_source(b"".join(parts))

    def read_file(self, path: str) -> bytes:
        """The content of the file at `path`. Raises OSError as well."""
        with opened(path) as descriptor:
            return self.read(descriptor)

    def run(self, command: str, environ: Mapping[str, str]) -> bytes:
        """The output of a command, run by /bin/sh -c with empty input. It is killed when the time is over."""
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
                # The process is not reaped yet, so its number is not reused.
                if self._apart:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                raise
        status = process.returncode
        if status:
            raise ValueError(
                f"the command exited with status {status}" if status > 0 else f"the command died of signal {-status}"
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
            f"reading the configuration takes longer than {self._seconds:g} s: is a command slow, or a file too large?"
        )


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Opens a regular file without waiting. Raises OSError, and ValueError for anything but a regular file."""
    check_kind(os.stat(path).st_mode)  # first, because opening a device may have an effect
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_kind(os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def check_kind(mode: int) -> None:
    """Raises IsADirectoryError for a directory, and ValueError for anything else that is not a regular file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise ValueError(f"it is {kind}, not a regular file: @(exec://cat …) can read it")


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
