"""The errors that end a command with one line for the person who ran it."""

from __future__ import annotations


class FastptyError(Exception):
    """Something failed at run time. Its text is one line: what, where, and what to do about it."""

    exit_status: int = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(FastptyError):
    """The command line or a configuration file asks for something that cannot be: the person can mend it."""

    exit_status: int = 2


class RefusedError(FastptyError):
    """A client does not get a session. The text is for the client and for the log."""


def printable(text: str) -> str:
    """One line that is safe on a terminal: a file name or a value may hold line ends, escapes and any bytes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
