"""The memory and the pipe that a worker and its supervisor share."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READY = b"+"
REPORTED = b"!"
DRAINED = b"."

_READ_BYTES = 4096


class Link:
    """What a worker and its supervisor share; made by the supervisor before the fork.

    The relay writes its heartbeat to shared memory without a system call. A worker writes its statistics report to a
    memfd and then one byte to a pipe. So neither side ever waits for the other.
    """

    def __init__(self) -> None:
        self.heartbeat = mmap.mmap(-1, mmap.PAGESIZE)
        self._report = os.memfd_create("fastpty-report")
        self.news, self._news_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def pulse(self) -> tuple[int, int, int]:
        """When the current turn of the loop began, the live sessions, and the sessions accepted so far.

        The time is CLOCK_MONOTONIC in nanoseconds, and 0 while the worker waits for events.
        """
        turn, sessions, accepted = struct.unpack_from("=3q", self.heartbeat)
        return turn, sessions, accepted

    def publish(self, report: dict[str, Any]) -> None:
        """Worker: writes the report and announces it. If memory is short, the supervisor gets no report."""
        data = json.dumps(report).encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self._report, 0)
            os.pwrite(self._report, data, 0)
            os.write(self._news_writer, REPORTED)

    def announce(self, news: bytes) -> None:
        """Worker: announces READY or DRAINED. Does nothing if the supervisor is gone."""
        with contextlib.suppress(OSError):
            os.write(self._news_writer, news)

    def read_news(self) -> bytes:
        """Supervisor, when `news` is readable: some of READY, REPORTED and DRAINED; empty if the worker has ended."""
        return os.read(self.news, _READ_BYTES)

    def report(self) -> dict[str, Any]:
        """Supervisor: the last report. Raises ValueError if the worker is just writing another one."""
        report: dict[str, Any] = json.loads(os.pread(self._report, os.fstat(self._report).st_size, 0))
        return report

    def keep_side(self, *, worker: bool) -> None:
        """After the fork: closes the other side's end of the pipe."""
        os.close(self.news if worker else self._news_writer)

    def close(self) -> None:
        """Closes the supervisor's side."""
        os.close(self.news)
        os.close(self._report)
        self.heartbeat.close()
