"""The client's end of a connection: what waits to be sent, and which directions are open.

A call that fails for lack of memory has changed nothing. Its OSError is raised for the caller to try again later. Any
other error ends a direction: input that could not be sent is dropped, and then nothing more is sent.
"""

from __future__ import annotations

import _socket
import errno

from fastpty.errors import FastptyError
from fastpty.wire import uwsgi

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

CHUNK_BYTES = 65536
HIGH_WATER_BYTES = 262144

SHORT_OF_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})
"""Errors of system calls that succeed when they are tried again later."""

_TAKES_NO_MORE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})

# How far into the output a sign of the wrong protocol is looked for.
_BEGINNING_BYTES = 1024
_URGENT_MARK = b"!"

# How servers of other protocols answer on TCP, and what to do.
_OTHER_SERVERS = {
    b"\x15\x03": "speaks TLS: give --tls-cert, --tls-key and --tls-ca",
    b"HTTP/1.1 400 ": "is a web server, not a router",
    b"SSH-2.0-": "is an SSH server, not a router",
}


class Link:
    """A connection to a router, over the uwsgi protocol if `framed`. `name` is the address for messages.

    The caller closes `sock`. `broken` is why the connection broke, or None. `is_marked`: a mark has come that shows
    that the output ends with a notice of the router's. `ask_mark` asks for it where `sock` only leads to the router.
    """

    def __init__(self, sock: socket.socket | _socket.socket, framed: bool, name: str = "") -> None:
        sock.setblocking(False)
        self.sock = sock
        self.framed = framed
        self.name = name
        self.takes_input = True
        self.output_open = True
        self.broken: str | None = None
        self.bytes_sent = 0
        self.bytes_received = 0
        self.ask_mark: Callable[[], bool] | None = None
        self.is_marked = False
        self._unsent = bytearray()
        self._wants_shutdown = False
        self._announced: tuple[int, int] | None = None
        self._beginning: bytearray | None = bytearray()

    @property
    def has_room(self) -> bool:
        """True if more input should be read for queue()."""
        return self.takes_input and len(self._unsent) < HIGH_WATER_BYTES

    @property
    def wants_to_send(self) -> bool:
        """True if send() has something to do."""
        return bool(self._unsent) or self._wants_shutdown

    def queue(self, data: bytes) -> None:
        """Queues input for send(). Does nothing if the router takes no more."""
        if self.takes_input:
            self._unsent += uwsgi.stdin_frames(data) if self.framed else data

    def announce(self, size: tuple[int, int] | None) -> None:
        """Queues the window's rows and columns, if the protocol has a frame for them and they have changed."""
        if self.framed and self._can_send and size and size != self._announced:
            self._unsent += uwsgi.window_frames(*size)
            self._announced = size

    @property
    def _can_send(self) -> bool:
        return self.takes_input or self._wants_shutdown

    def end_input(self) -> None:
        """Closes the sending direction, once all that is queued is sent."""
        self._wants_shutdown = self._wants_shutdown or self.takes_input
        self.takes_input = False

    def send(self) -> None:
        """Sends what the connection takes without waiting."""
        try:
            if self._unsent:
                count = self.sock.send(self._unsent[:CHUNK_BYTES])
                self.bytes_sent += count
                del self._unsent[:count]
            if self._wants_shutdown and not self._unsent:
                self.sock.shutdown(_socket.SHUT_WR)
                self._wants_shutdown = False
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            self._lose_input(error)

    def _lose_input(self, error: OSError) -> None:
        """Sends nothing more: after a gap the rest of the input would mean something else.

        The output is still read. It may show that the session had ended. Over TCP a reset is a broken connection, and
        the kernel reports it only once, here or to receive().
        """
        self._unsent.clear()
        self.takes_input = self._wants_shutdown = False
        was_reset = error.errno == errno.ECONNRESET and not self._is_local
        if was_reset or error.errno not in _TAKES_NO_MORE:
            self.broken = self.broken or error.strerror

    @property
    def _is_local(self) -> bool:
        return self.sock.family == _socket.AF_UNIX

    def receive(self) -> bytes:
        """Returns the next output; none if there is none yet, or if it has ended (see `output_open`)."""
        data = b""
        try:
            data = self._read()
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            # A local socket is reset after the last output if the session ended before its input was all read.
            if not (self._is_local and error.errno == errno.ECONNRESET):
                self.broken = self.broken or error.strerror
        self.output_open = bool(data)
        self.bytes_received += len(data)
        if self._beginning is not None:
            self._check_protocol(data)
        return data

    def _read(self) -> bytes:
        """Reads output, and notes a mark that a notice of the router carries (fastpty/relay/notice.pxd)."""
        if self._is_local:
            # The kernel drops the descriptor, as there is no room for it, and says that it did.
            data, _, flags, _ = self.sock.recvmsg(CHUNK_BYTES)
            self.is_marked = self.is_marked or bool(flags & _socket.MSG_CTRUNC)
            return data
        self.is_marked = self.is_marked or has_urgent_mark(self.sock)
        return self.sock.recv(CHUNK_BYTES)

    def has_notice(self) -> bool:
        """True if the last line of the output is the router's, not the program's. For the end of the output."""
        return self.is_marked or (self.ask_mark is not None and self.ask_mark())

    def _check_protocol(self, data: bytes) -> None:
        """Raises FastptyError if the first output shows that the router speaks another protocol."""
        assert self._beginning is not None
        self._beginning += data
        for answer, what in _OTHER_SERVERS.items():
            if self._beginning.startswith(answer) and not self._is_local:
                raise FastptyError(f"{self.name} {what}")
        if self._announced and _echo(uwsgi.window_frames(*self._announced)) in self._beginning:
            raise FastptyError(f"{self.name} speaks the raw protocol: connect without --uwsgi")
        if len(self._beginning) > _BEGINNING_BYTES:
            self._beginning = None


def has_urgent_mark(sock: socket.socket | _socket.socket) -> bool:
    """True if the router has marked the end of its output on this TCP connection.

    Ask before reading what can be read: a read that finds nothing before the mark passes over it.
    """
    try:
        return sock.recv(1, _socket.MSG_OOB) == _URGENT_MARK
    except OSError:  # there is no urgent data
        return False


def _echo(data: bytes) -> bytes:
    """What a terminal echoes for `data`: ^X for a control character."""
    return b"".join(bytes((byte,)) if byte >= 0x20 else b"^" + bytes((byte + 0x40,)) for byte in data)
