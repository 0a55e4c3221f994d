"""Starts the router in the background, and reports a failed start to the process that started it."""

from __future__ import annotations

import os
import select
import sys

from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.system.signals import signal_name

_MESSAGE_BYTES_MOST = select.PIPE_BUF  # a pipe transfers this much in one piece


class Starter:
    """Reports to the process that started the router: that it is ready, or why it is not.

    With `daemonize`, that process waits for the report and exits with the router's status and error. uWSGI's exits
    with 0 at once.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd
        self._error = os.fstat(2)

    def ready(self) -> None:
        """Reports that clients are served."""
        self._report(0, "")

    def failed(self, error: FastptyError) -> None:
        """Reports the error, also on standard error if that is a log file by now."""
        if self._fd is None or not os.path.samestat(self._error, os.fstat(2)):
            print(f"fastpty-router: {error}", file=sys.stderr)
        self._report(error.exit_status, str(error))

    def stopped(self, number: int) -> None:
        """Reports that a stop signal has ended the start."""
        logger.info("%s: stopped before it was ready", signal_name(number))
        self._report(1, f"stopped by {signal_name(number)} before it was ready")

    def close(self) -> None:
        """In a child: closes the pipe, so that only the router reports."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _report(self, status: int, text: str) -> None:
        if self._fd is not None:
            os.write(self._fd, (bytes([status]) + os.fsencode(text))[:_MESSAGE_BYTES_MOST])
            self.close()


def go_to_background() -> Starter:
    """Returns in a new session without a terminal. The calling process exits when the Starter reports."""
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
    # Reads one message and not to the end of file: children of the router may hold the other end open.
    report = os.read(reader, _MESSAGE_BYTES_MOST)
    if not report:
        report = b"\1the router ended during its start without saying why: see its log"
    if report[0]:
        print(f"fastpty-router: {os.fsdecode(report[1:])}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(report[0])
