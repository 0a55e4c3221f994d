"""`fastpty exec`: runs a program with three streams instead of a terminal, or with -t as connect does."""

from __future__ import annotations

import os

from fastpty.client import connect
from fastpty.client.connect import Connection
from fastpty.client.streams import check_streams
from fastpty.client.wanted import OPTIONS, Wanted, seconds, split
from fastpty.errors import UsageError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastpty.client.arguments import Arguments
    from fastpty.client.link import Link
    from fastpty.client.session import Session

__all__ = ["read", "run"]

_OPTIONS = {name: takes for name, takes in OPTIONS.items() if name not in ("--uwsgi", "--pty-no-isig")} | {
    "-i": False,
    "-t": False,
    "--merge-stderr": False,
    "--drain": True,
    "--timeout": True,
}

_OF_STREAMS = ("--merge-stderr", "--drain", "--timeout")
_DRAIN_MS = 1000
_DRAIN_MOST_MS = 86_400_000


class ExecWanted(Wanted):
    """What a command line of `fastpty exec` asks for. Raises UsageError if it is not valid.

    `drain_ms`: how long to wait for the end of the output after the command has ended; None waits forever. `timeout`:
    the command's time limit in seconds; 0 means none.
    """

    def __init__(self, given: Arguments, words: list[str]) -> None:
        super().__init__(given, words, framed=False)
        options = given.options
        self.on_terminal = "-t" in options
        if not self.command:
            raise UsageError(
                "the command is missing: fastpty exec ADDR -- PROGRAM [ARG]... (see fastpty exec --help)"
            )
        if "-i" in options and "-n" in options:
            raise UsageError("-i and -n contradict each other: give one")
        for name in _OF_STREAMS if self.on_terminal else ():
            if name in options:
                raise UsageError(f"{name} does not work with -t")
        if not self.on_terminal and len(given.values("-e")) > len(self.environment):
            raise UsageError("-e takes NAME=VALUE; an escape character needs -t")
        self.merges = "--merge-stderr" in options
        self.drain_ms = _milliseconds(options.get("--drain", str(_DRAIN_MS)))
        self.timeout = seconds(options, "--timeout", 0.0)
        if not self.on_terminal:
            self.reads_input = "-n" not in options and ("-i" in options or not os.isatty(0))

    def _need(self) -> str | None:
        return "exec"


def read(arguments: Sequence[str]) -> ExecWanted | None:
    """Parses `arguments`; returns None if they ask for the help."""
    found = split(arguments, _OPTIONS, "fastpty exec")
    return None if found is None else ExecWanted(*found)


def run(wanted: ExecWanted, complain: Callable[[str], None]) -> int:
    """Runs the command; returns its exit status. Raises FastptyError if that is not known."""
    if wanted.on_terminal:
        return connect.run(wanted, complain)
    return connect.run_on(ExecConnection(wanted, complain))


class ExecConnection(Connection):
    """One run of a program without a terminal."""

    wanted: ExecWanted

    def _check_streams(self) -> None:
        if self.wanted.reads_input:
            check_streams(stdout_fd=None)

    def _session(self) -> tuple[Session, bytes]:
        from fastpty.client.exec_session import ExecSession
        from fastpty.client.request import start

        wanted = self.wanted
        streams = extension.STREAMS_ITEM, extension.streams(merges=wanted.merges, drain_ms=wanted.drain_ms)
        request = start(None, wanted.command, wanted.environment, wanted.directory, items=[streams])
        return ExecSession(), request

    def _attach(self, link: Link) -> int:
        from fastpty.client.exec_loop import relay
        from fastpty.client.report import exit_status

        status = relay(link, self._stdin, 1, timeout=self.wanted.timeout, show_notice=self._show_notice)
        if status.flags & extension.STILL_OPEN:
            self._show_notice("other processes still have the output open: what they write from now on is lost")
        return exit_status(status)


def _milliseconds(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        number = -2
    if not -1 <= number <= _DRAIN_MOST_MS:
        raise UsageError(f"--drain: {text!r} is not a number of milliseconds from 0 to {_DRAIN_MOST_MS}, nor -1")
    return None if number == -1 else number
