"""The viewers of the shared terminal that are the router's own: its log, and the terminal that it was started on.

To the relay they are viewers as all others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from fastpty.client.attach import attach
from fastpty.client.link import Link
from fastpty.errors import FastptyError
from fastpty.log import logger
from fastpty.net.address import Address, FdAddress, connect

# As long as a line of the log may be; the rest of a longer one goes into the next.
_LINE_BYTES_MOST = 2048

_END_SECONDS = 2.0


class OutputLog:
    """Logs all that comes from `connection`, line by line, in a thread of its own, until the other end is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """To be called when this process forks no more and has blocked the signals that it reads from a descriptor."""
        self._thread.start()

    def end(self) -> None:
        """Returns when the last line is logged: after the relay has closed its end."""
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
    """A process that attaches this one's stdin and stdout to the shared terminal, as `fastpty connect` would.

    It is a client like all others: it has connected to the first of `addresses` that can be connected to, when their
    listeners are there and before this process is in a jail. Raises FastptyError where that cannot be.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        place = next((address for address in addresses if not isinstance(address, FdAddress)), None)
        if place is None:
            raise FastptyError("pty-input needs a pty-socket with an address that can be connected to")
        self._connection = connect(place)

    def start(self) -> None:
        """Forks: into the same process group, so that the child may use the terminal."""
        pid = os.fork()
        if pid == 0:
            _attach_and_exit(self._connection)
        self._pidfd = os.pidfd_open(pid)
        self._connection.close()

    def end(self) -> None:
        """Returns when the process has ended and the terminal has its modes back: once the shared terminal has.

        One whose output nobody takes is told to end.
        """
        if not select.select([self._pidfd], [], [], _END_SECONDS)[0]:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            select.select([self._pidfd], [], [], _END_SECONDS)
        os.close(self._pidfd)


def _attach_and_exit(connection: socket.socket) -> None:
    status = 1
    try:
        # The listeners are the router's alone: they must not outlive it here.
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, 2**31 - 1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        attach(Link(connection, framed=False))
        status = 0
    except FastptyError as error:
        print(f"fastpty-router: {error}; the shared terminal goes on", file=sys.stderr)
    except Exception:
        logger.exception("pty-input: internal error")
    finally:
        os._exit(status)


def _log(line: bytes) -> None:
    logger.info("terminal: %s", line.rstrip(b"\r").decode("utf-8", "replace"))
