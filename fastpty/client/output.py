"""Output that waits to be written to standard output, and the terminal modes that it has changed."""

from __future__ import annotations

import os
import select
import time

from fastpty.client.legacy import NOTICE, NOTICE_MOST_BYTES
from fastpty.client.modes import ModeTracker
from fastpty.client.ready import SHORT_OF_MEMORY, is_ready
from fastpty.client.terminal import is_in_foreground
from fastpty.errors import FastptyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.client.streams import Streams

# How long such a line is held back. If the output has not ended by then, a program has written the line.
_HOLD_SECONDS = 0.2
_FOR_EVER = float("inf")


class Output:
    """A buffer for standard output. `is_over`: nobody reads standard output any more.

    `holds_notices`: the router may end its output with a notice.
    """

    def __init__(self, streams: Streams, *, holds_notices: bool) -> None:
        self._streams = streams
        self._holds_notices = holds_notices
        self._buffer = bytearray()
        self._held_bytes = 0
        self._held_until = 0.0
        self._is_terminal = os.isatty(streams.stdout)
        self._modes = ModeTracker()
        self._last = b"\n"
        self.is_over = False

    def __len__(self) -> int:
        return len(self._buffer)

    def add(self, data: bytes, *, is_marked: bool = False) -> None:
        """Queues output of the session. A last line that may be the router's notice is held back.

        If `is_marked`, the line is a notice, and is held back until the output ends.
        """
        self._buffer += data
        held = _notice_bytes(self._buffer, self._last) if self._holds_notices else 0
        if held and not self._held_bytes:
            self._held_until = time.monotonic() + _HOLD_SECONDS
        if is_marked:
            self._held_until = _FOR_EVER
        self._held_bytes = held

    def add_own(self, text: bytes) -> None:
        """Queues a text of the client itself."""
        self._held_bytes = 0
        self._buffer += text

    @property
    def holds_line(self) -> bool:
        """True if a line is held back."""
        return self._held_bytes > 0

    def release(self) -> None:
        """Lets write() write the line that is held back: the program has written it."""
        self._held_bytes = 0

    def take_notice(self) -> str | None:
        """At the end of the output: removes the held line from the queue and returns its text, or None."""
        if not self._held_bytes:
            return None
        notice = self._buffer[-self._held_bytes :]
        del self._buffer[-self._held_bytes :]
        self._held_bytes = 0
        return notice.removeprefix(NOTICE).decode(errors="replace").strip()

    @property
    def wants_to_write(self) -> bool:
        """True if write() has something to do."""
        return len(self._buffer) > self._held_bytes

    def held_for(self) -> float | None:
        """Seconds for which a line is still held back; None for no line or a notice. Releases the line when it is 0."""
        if not self._held_bytes or self._held_until == _FOR_EVER:
            return None
        left = self._held_until - time.monotonic()
        if left <= 0:
            self._held_bytes = 0
        return max(0.0, left)

    def write(self) -> None:
        """Writes as much as standard output takes without waiting. Raises FastptyError if the write fails."""
        ready = len(self._buffer) - self._held_bytes
        try:
            count = os.write(self._streams.stdout, self._buffer[: min(ready, self._streams.write_bytes)])
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if self._is_terminal:
            self._modes.feed(self._buffer[:count])
        self._last = bytes(self._buffer[:count][-1:]) or self._last
        del self._buffer[:count]

    def _fail(self, error: OSError) -> None:
        if error.errno in SHORT_OF_MEMORY:
            raise error
        if error.errno not in self._streams.stdout_ends:
            raise FastptyError(f"cannot write the output: {error.strerror}") from error
        self._buffer.clear()
        self._held_bytes = 0
        self.is_over = True

    def restore_terminal(self, *, new_line: bool) -> None:
        """Turns off the modes that the program has left on; with `new_line` also ends an unfinished line.

        Never waits: bytes that a stopped terminal does not take are lost.
        """
        if not self._is_terminal or self.is_over or not is_in_foreground(self._streams.stdout):
            return
        text = self._modes.undo()
        if new_line and self._last != b"\n":
            text += b"\r\n"
        if text and is_ready(self._streams.stdout, select.POLLOUT):
            try:
                os.write(self._streams.stdout, text)
            except OSError:  # the terminal has gone
                self.is_over = True


def _notice_bytes(buffer: bytearray, last: bytes) -> int:
    """The length of the last line of `buffer` if it may be a notice, else 0. `last`: the byte before the buffer."""
    start = buffer.rfind(b"\n", 0, max(0, len(buffer) - 1)) + 1
    length = len(buffer) - start
    begins_a_line = start > 0 or last == b"\n"
    return length if begins_a_line and length <= NOTICE_MOST_BYTES and buffer.startswith(NOTICE, start) else 0
