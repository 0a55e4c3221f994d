"""Reports that the first processes of sessions send to their worker before they execute a program."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from fastpty.system.records import dataclass

_REPORT_BYTES_MOST = select.PIPE_BUF  # a pipe takes this much in one piece
_READ_BYTES = 65536


@dataclass(frozen=True)
class Outcome:
    """A report. number: the session's. text: its program's name for the log, or why the client is refused."""

    number: int
    text: str
    is_refusal: bool


class Outcomes:
    """A pipe from the first processes of a worker's sessions to the worker. No read or write blocks."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._rest = b""

    def report(self, outcome: Outcome) -> None:
        """In a session's process: sends the outcome. Raises OSError if the pipe is full or the worker has ended."""
        text = os.fsencode(outcome.text.replace("\n", " "))[: _REPORT_BYTES_MOST - 32]
        os.write(self.writer, b"%d %d %b\n" % (outcome.number, outcome.is_refusal, text))

    def read(self) -> Iterator[Outcome]:
        """In the worker: yields the outcomes that have arrived."""
        while True:
            try:
                data = self._rest + os.read(self._reader, _READ_BYTES)
            except BlockingIOError:
                return
            *lines, self._rest = data.split(b"\n")
            for line in lines:
                number, is_refusal, text = line.split(b" ", 2)
                yield Outcome(int(number), os.fsdecode(text), is_refusal == b"1")
