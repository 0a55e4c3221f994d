"""Lets a signal end the process of a copy, but without the file that is not complete."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from fastpty.copying.new_file import abandon

_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # the call fails, and that is reported
_HARMLESS = (
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
)
_NOT_CAUGHT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


def clean_up_at_signals(clean: Callable[[], None] | None = None) -> None:
    """Has every signal that ends this process remove the incomplete file first. clean: is called after that.

    SIGKILL cannot be caught. After a fault of this process itself nothing is safe to do.
    """

    def end(number: int, frame: FrameType | None) -> None:
        abandon()
        if clean is not None:
            clean()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    for number in signal.valid_signals() - {*_IGNORED, *_HARMLESS, *_NOT_CAUGHT}:
        signal.signal(number, end)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
