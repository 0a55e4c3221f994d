"""The router's own viewers of the shared terminal: its log, and the terminal that it was started on.

The relay treats them like all other viewers.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.net.address import Address, FdAddress, connect
from fastpty.system import child
from fastpty.system.readable import readable

# A longer line of output becomes several lines of the log.
_LINE_BYTES_MOST = 2048

_END_SECONDS = 2.0


class OutputLog:
    """Logs the bytes from `connection` line by line, in a thread, until the other end is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Call it after the last fork of this process, while the signals that it reads from a signalfd are blocked."""
        self._thread.start()

    def end(self) -> None:
        """Waits until the last line is logged. The relay must have closed its end."""
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        line = b""
        with self._connection:
            while data := self._connection.recv(65536):
                *lines, line = (line + data).split(b"\n")
                for text in lines:
                    _log(text)
                while len(line) >= _LINE_BYTES_MOST:
                    _log(line[:_LINE_BYTES_MOST])
                    line = line[_LINE_BYTES_MOST:]
        if line:
            _log(line)


class OwnTerminal:
    """A process that attaches stdin and stdout of this one to the shared terminal, like `fastpty connect`.

    Create it after the router has bound the `addresses` and before it enters the jail: it connects to the first one
    that allows that. Raises FastptyError if it cannot connect.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        from fastpty.client.attach import attach  # few routers need it; in the jail, its file may be missing
        from fastpty.client.link import Link

        place = next((address for address in addresses if not isinstance(address, FdAddress)), None)
        if place is None:
            raise FastptyError("pty-input needs a pty-socket with an address that can be connected to")
        self._connection = connect(place)
        self._attach = partial(attach, Link(self._connection, framed=False))

    def start(self) -> None:
        """Forks a child in the same process group, so that the child may use the terminal."""
        pid = child.fork("pty-input", partial(_attach, self._connection, self._attach))
        self._pidfd = os.pidfd_open(pid)
        self._connection.close()

    def end(self) -> None:
        """After the shared terminal has ended: waits until the process has restored the terminal's modes and ended.

        If the process's output is blocked, the process gets SIGTERM.
        """
        if not readable(self._pidfd, seconds=_END_SECONDS):
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            readable(self._pidfd, seconds=_END_SECONDS)
        os.close(self._pidfd)


def _attach(connection: socket.socket, attach: Callable[[], object]) -> int:
    from fastpty.client.attach import EndedByRouterError  # loaded already

    # An open copy of a listening socket would keep its address in use after the router's end.
    child.keep_only([0, 1, 2, connection.fileno()])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        attach()
    except EndedByRouterError:  # it is this router: its log says why
        return 0
    except FastptyError as error:
        print(f"fastpty-router: {error}; the shared terminal keeps running", file=sys.stderr)
        return 1
    return 0


def _log(line: bytes) -> None:
    logger.info("terminal: %s", line.rstrip(b"\r").decode("utf-8", "replace"))
