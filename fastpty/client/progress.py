"""The progress of a copy: a line on the terminal that is written over again and again."""

from __future__ import annotations

import os
import time

from fastpty.client.terminal import window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_SECONDS = 0.1
_AFTER_SECONDS = 0.5  # short copies show nothing
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_CLEAR = "\r\x1b[K"


class Progress:
    """Shows how much is copied, the rate and the time left, if standard error is a terminal and not `is_quiet`.

    `complain` writes a line; call say() instead while something is shown.
    """

    def __init__(self, complain: Callable[[str], None], *, is_quiet: bool) -> None:
        self._complain = complain
        self._is_shown = not is_quiet and os.isatty(2)
        self._began = time.monotonic()
        self._next = self._began + _AFTER_SECONDS
        self._has_line = False

    def say(self, text: str) -> None:
        """Writes a line of its own."""
        self.clear()
        self._complain(text)

    def show(self, done: int, total: int) -> None:
        """Shows `done` bytes of `total`; 0: not known."""
        now = time.monotonic()
        if not self._is_shown or now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        self._has_line = True
        columns = (window_size(2) or (24, 80))[1]
        os.write(2, (_CLEAR + describe(done, total, now - self._began)[: columns - 1]).encode())

    def clear(self) -> None:
        """Removes the line of the progress."""
        if self._has_line:
            self._has_line = False
            os.write(2, _CLEAR.encode())


def describe(done: int, total: int, seconds: float) -> str:
    """Returns the line: `  42%  4.2 MiB of 10.0 MiB  1.4 MiB/s  0:04 left`."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [size(done), f"{size(int(rate))}/s"]
    if total:
        left = max(0, total - done) / rate if rate else 0.0
        parts = [f"{min(100, 100 * done // total):3d}%", f"{size(done)} of {size(total)}", parts[1], _clock(left)]
    return "  ".join(parts)


def size(count: int) -> str:
    """Returns a number of bytes in the unit that suits it."""
    number, unit = float(count), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}") + " left"
