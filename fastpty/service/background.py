"""Going into the background, without losing what goes wrong at the start."""

from __future__ import annotations

import os
import select
import sys

from fastpty.errors import FastptyError
from fastpty.log import logger, signal_name

_MESSAGE_BYTES_MOST = select.PIPE_BUF  # which a pipe takes and gives as one


class Starter:
    """Tells the process that started the router when that is ready, or why it is not.

    For a router in the background a process waits for that, to end with the router's exit status and last words.
    uWSGI's ends at once with 0, whatever happens then.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        self._error = os.fstat(2)

    def ready(self) -> None:
        """Clients are served from now on."""
        self._tell(0, "")

    def failed(self, error: FastptyError) -> None:
        """Says so, and also on this process's standard error if that is a log by now."""
        if self._fd is None or not os.path.samestat(self._error, os.fstat(2)):
            print(f"fastpty-router: {error}", file=sys.stderr)
        self._tell(error.exit_status, str(error))

    def stopped(self, number: int) -> None:
        """A stop signal has ended the start."""
        logger.info("%s: stopped before it was ready", signal_name(number))
        self._tell(1, f"stopped by {signal_name(number)} before it was ready")

    def let_go(self) -> None:
        """In a child: has nothing to say."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _tell(self, status: int, text: str) -> None:
        if self._fd is not None:
            os.write(self._fd, (bytes([status]) + os.fsencode(text))[:_MESSAGE_BYTES_MOST])
            self.let_go()


def go_to_background() -> Starter:
    """Returns in a new session without a terminal; the process that was called ends when Starter.tell is called."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _wait(reader)
    os.close(reader)
    os.setsid()
    # Only a session's leader can get a new controlling terminal.
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return Starter(writer)


def _wait(reader: int) -> None:
    # One message, and not up to the end: children of the router can have the other end, too.
    said = os.read(reader, _MESSAGE_BYTES_MOST)
    if not said:
        said = b"\1the router has ended without a word"
    if said[0]:
        print(f"fastpty-router: {os.fsdecode(said[1:])}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(said[0])
