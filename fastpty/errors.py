"""Errors that end a command with one line on standard error."""

from __future__ import annotations


class FastptyError(Exception):
    """A failure at run time. The text is one line: what happened, where, and what to do."""

    exit_status: int = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(FastptyError):
    """A mistake in the command line or in a configuration file."""

    exit_status: int = 2


class SessionError(FastptyError):
    """A session could not begin, or did not run to the end of its program.

    `exit_status` is 127 if its command was not found, 126 if it cannot be executed, else 255, as in ssh(1).
    """

    def __init__(self, text: str, exit_status: int = 255) -> None:
        super().__init__(text)
        self.exit_status = exit_status


class LostConnectionError(SessionError):
    """The connection broke, so nobody knows how the program ended. `why`: why it broke, or None if that is unknown."""

    def __init__(self, why: str | None) -> None:
        super().__init__(f"lost the connection{f': {why}' if why else ''}; exit status unknown")
        self.why = why


class RefusedError(FastptyError):
    """A client is refused. The text is sent to the client and logged."""


class CopyError(FastptyError):
    """A copy of files cannot begin or go on: its target is unusable, or the stream is malformed or incomplete."""


class ExecuteError(OSError):
    """A program cannot be executed, or its directory cannot be entered."""


def counted(number: int, thing: str) -> str:
    """The number and the noun, in the plural unless it is 1."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Escapes control characters, such as those in file names, so that the text is one line and safe on a terminal.

    A byte of a name that is not UTF-8 is shown as \\xff.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"
    return f"\\x{ord(character) - 0xDC00:02x}" if is_byte else ascii(character)[1:-1]
