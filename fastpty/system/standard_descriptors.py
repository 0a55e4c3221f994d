"""Descriptors 0, 1 and 2."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` is slow to load
import os
import sys

from fastpty.errors import FastptyError


def open_standard_descriptors(flags: int) -> None:
    """Opens /dev/null for those of 0, 1 and 2 that are closed.

    Otherwise a socket could get the number, and output meant for a standard descriptor would go to it.
    """
    while (fd := os.open(os.devnull, flags)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def write_output(text: str) -> None:
    """Writes `text` to standard output. Characters that the locale's encoding lacks become backslash escapes.

    Ends the process by SIGPIPE, without a message, if nobody reads the output. Raises FastptyError if it cannot be
    written for another reason.
    """
    if sys.stdout is None:  # it was closed when Python started
        raise FastptyError("cannot write the output: standard output is closed")
    try:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        _discard(1)
        if isinstance(error, BrokenPipeError):
            _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
            _signal.raise_signal(_signal.SIGPIPE)
        raise FastptyError(f"cannot write the output: {error.strerror}") from error


ERROR, WARNING = 3, 4
"""Priorities of a line, as syslog(3) numbers them."""

_JOURNAL = os.environ.get("JOURNAL_STREAM")  # read now: the router removes the variable before it starts sessions


def is_journal(fd: int) -> bool:
    """True if systemd has connected this descriptor to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}" == _JOURNAL


def write_error(line: str, priority: int | None = None) -> None:
    """Writes a line to standard error if that is open. In the journal the line gets this priority.

    A failure is ignored: there is nowhere to report it.
    """
    if sys.stderr is None:
        return
    try:
        head = f"<{priority}>" if priority is not None and is_journal(2) else ""
        print(head + line, file=sys.stderr, flush=True)
    except OSError:
        _discard(2)


def _discard(fd: int) -> None:
    """Redirects `fd` to /dev/null. At its exit, Python writes what is left in the buffer, and must not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
