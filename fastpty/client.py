"""Attaches the local terminal, or whatever stdin and stdout are, to a session of a router.

One poll loop and one bounded buffer each way. A direction whose buffer is full stops reading; the other goes on: keys
still reach the program while the local terminal is slow, and output still shows while the program does not read.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Callable

from fastpty import frame
from fastpty.errors import FastptyError
from fastpty.escape import EscapeFilter
from fastpty.terminal import FATAL, HeldSignals, RawTerminal, reopened, window_size

_READ_BYTES = 65536
_HIGH_WATER_BYTES = 262144

# A blocking pipe that poll(2) calls writable takes this much without blocking: PIPE_BUF, one page.
_BLOCKING_WRITE_BYTES = 4096


def attach(
    sock: socket.socket, framed: bool, stdin_fd: int = 0, stdout_fd: int = 1, escape: bytes | None = b"~"
) -> None:
    """Moves bytes both ways until the session ends and all of its output is written, or stdout has gone.

    `framed` is whether the router speaks the uwsgi protocol. `escape` is the escape character, or None; it
    counts only where stdin is a terminal. Raises FastptyError where the connection breaks, where the output
    cannot be written, and where the person disconnects: the session did not come to its end. For the main
    thread only. The caller closes `sock`.
    """
    sock.setblocking(False)
    with HeldSignals() as signals, RawTerminal(stdin_fd) as terminal, _Stream(stdin_fd, stdout_fd) as stream:
        escapes = EscapeFilter(escape if os.isatty(stdin_fd) else None)
        _Attachment(sock, framed, stream, escapes, signals, terminal).run()


class _Stream:
    """The local side: stdin and stdout, non-blocking where the kernel allows."""

    def __init__(self, stdin_fd: int, stdout_fd: int) -> None:
        self._given = stdin_fd, stdout_fd

    def __enter__(self) -> _Stream:
        stdin_fd, stdout_fd = self._given
        self._opened = reopened(stdin_fd, os.O_RDONLY), reopened(stdout_fd, os.O_WRONLY)
        self.stdin = stdin_fd if self._opened[0] is None else self._opened[0]
        self.stdout = stdout_fd if self._opened[1] is None else self._opened[1]
        self.write_bytes = _BLOCKING_WRITE_BYTES if self._opened[1] is None else _READ_BYTES
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._opened:
            if fd is not None:
                os.close(fd)

    def window_size(self) -> tuple[int, int] | None:
        return window_size(self.stdin) or window_size(self.stdout)
