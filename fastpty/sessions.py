"""The router's side of a session: what a client gets when it connects, and what is said of it in the log."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Sequence

from fastpty import log
from fastpty._spawn import spawn
from fastpty.config import Config, command_argv
from fastpty.handler import UNKNOWN_PEER
from fastpty.log import logger, signal_name

DEFAULT_TERM = "xterm-256color"

# tcp(7). Keystrokes are not held back to be joined, and a client that vanished without a word is noticed after
# about a minute: 30 s of silence, then three questions 10 s apart.
_TCP_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class Sessions:
    """Answers the relay's upcalls (`fastpty.handler.Handler`) as the configuration says.

    names: for each listener, in the order of Relay.listen, its address and protocol for the log. on_signal: called
    with each signal that the relay watches. files: the RLIMIT_NOFILE, soft and hard, that programs get.
    """

    def __init__(
        self, config: Config, names: Sequence[str], on_signal: Callable[[int], None], files: tuple[int, int]
    ) -> None:
        environment = {"TERM": DEFAULT_TERM, **os.environ}
        environment = config.environ(environment)
        self._argv = [os.fsencode(word) for word in command_argv(config.command)]
        self._environment = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        self._config = config
        self._names = names
        self._on_signal = on_signal
        self._files = files
        self._put_off: list[tuple[float, tuple[object, ...]]] = []

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> tuple[int, int, int, int, int] | bytes:
        """Starts the command on a new terminal; what goes wrong is told to the client and logged."""
        rows, cols = self._config.rows, self._config.cols
        who = _describe_peer(fd, peer)
        try:
            master, pid, pidfd = spawn(self._argv, self._environment, None, rows, cols, self._files)
        except OSError as error:
            logger.error("session %d: refused %s on %s: %s", number, who, self._names[listener], error.strerror)
            return os.fsencode(f"fastpty: {error.strerror}\r\n")
        self._put_off.append((time.time(), (number, who, self._names[listener], pid, self._config.command)))
        return master, pid, pidfd, rows, cols

    def caught_up(self) -> None:
        """Logs which sessions have started."""
        for when, about in self._put_off:
            log.info_of(when, "session %d: start: %s on %s: process %d: %s", *about)
        self._put_off.clear()

    def session_ended(
        self,
        number: int,
        ending: str,
        exit_code: int,
        exit_status: int,
        transferred: tuple[int, int],
        ignored_frames: int,
        seconds: float,
    ) -> None:
        """Logs how a session ended."""
        ignored = f", {ignored_frames} unknown frames" if ignored_frames else ""
        logger.info(
            "session %d: end: %s, %s after %.3f s, %d bytes in, %d bytes out%s",
            number,
            ending,
            _describe_exit(exit_code, exit_status),
            seconds,
            *transferred,
            ignored,
        )

    def accept_failed(self, error: int) -> None:
        """Logs that a client was turned away, or could not even be."""
        logger.error("a client was not accepted: %s", os.strerror(error))

    def signalled(self, number: int) -> None:
        """Passes a signal on to the router."""
        self._on_signal(number)


def _describe_peer(fd: int, peer: tuple[int, int, int]) -> str:
    """Who is at the other end, for the log. A TCP connection is prepared for terminal work on this occasion."""
    if peer != UNKNOWN_PEER:
        return "pid {} uid {} gid {}".format(*peer)
    connection = socket.socket(fileno=fd)
    try:
        for level, option, value in _TCP_OPTIONS:
            connection.setsockopt(level, option, value)
        host, port = connection.getpeername()[:2]
        return f"{host} port {port}"
    except OSError as error:
        return f"a client that has left ({error.strerror})"
    finally:
        connection.detach()


def _describe_exit(code: int, status: int) -> str:
    if code == 0:
        return "no process"
    if code == os.CLD_EXITED:
        return f"exit status {status}"
    return f"killed by {signal_name(status)}"


def raise_file_limit() -> tuple[int, int]:
    """Raises this process's RLIMIT_NOFILE to what is allowed, three descriptors being a session.

    Returns the limit as it was, for the programs: some close every descriptor up to it one by one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard
