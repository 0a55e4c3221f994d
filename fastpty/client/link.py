"""The client's end of a connection: the bytes that wait to be sent, and which directions are open.

A call that fails for lack of memory has changed nothing. Its OSError is raised for the caller to try again later. Any
other error ends a direction: input that could not be sent is dropped, and then nothing more is sent.
"""

from __future__ import annotations

import _socket
import errno

from fastpty.client.legacy import Legacy
from fastpty.client.outgoing import InputPipe, Outgoing
from fastpty.client.ready import SHORT_OF_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from fastpty.client.keep_alive import KeepAlive
    from fastpty.client.negotiation import Greeting
    from fastpty.client.session import Session

CHUNK_BYTES = 65536
HIGH_WATER_BYTES = 262144

_URGENT_MARK = b"!"

_TAKES_NO_MORE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


class Link:
    """A connection to a router, over the uwsgi protocol if `framed`, else the raw one.

    `name` is the address for messages. The caller closes `sock`. `broken` is why the connection broke, or None. While
    `greeting` is undecided, take() may raise LateWelcomeError. `early`: bytes that were received already; the caller
    passes them to take(). `is_marked`: the router has marked its last line as a notice. `ask_mark`: asks for that mark
    on the router's connection if `sock` is only the plain end of a TLS tunnel.
    """

    def __init__(
        self, sock: socket.socket | _socket.socket, framed: bool, name: str = "", greeting: Greeting | None = None
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.name = name
        self.protocol: Legacy | Session = Legacy(name, framed=framed, is_local=self._is_local, greeting=greeting)
        self.early = b""
        self.takes_input = True
        self.output_open = True
        self.broken: str | None = None
        self.ask_mark: Callable[[], bool] | None = None
        self.is_marked = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self._unsent = Outgoing()
        self.keep_alive: KeepAlive | None = None
        self._wants_shutdown = False
        self._sends = True
        self._announced: tuple[int, int] | None = None

    @property
    def has_room(self) -> bool:
        """True if more input should be read for queue()."""
        waiting = len(self._unsent) + self.protocol.held_bytes
        return self.takes_input and not self.protocol.is_waiting and waiting < HIGH_WATER_BYTES

    @property
    def wants_to_send(self) -> bool:
        """True if send() has something to do."""
        return bool(self._unsent) or self._wants_shutdown

    def queue(self, data: bytes) -> None:
        """Queues input for send(). Does nothing if the router takes no more."""
        if self.takes_input:
            self._unsent.add(self.protocol.input(data))

    @property
    def is_clear(self) -> bool:
        """True if nothing waits to be sent, and input is still taken."""
        return self.takes_input and not self._unsent

    def queue_pipe(self, header: bytes, pipe: InputPipe) -> None:
        """Queues a frame of input: `header`, and the payload that `pipe` holds."""
        self._unsent.add_pipe(header, pipe)

    def interrupt(self, signum: int) -> bool:
        """Drops the input that waits for room at the router, and queues a signal to the foreground job instead.

        Returns False, and does nothing, if no input waits.
        """
        if not (self.takes_input and self.protocol.held_bytes):
            return False
        self._unsent.add(self.protocol.interrupt(signum))
        return True

    def queue_frames(self, frames: bytes) -> None:
        """Queues frames of the extension other than input."""
        if self._sends:
            self._unsent.add(frames)

    def keep_alive_wait(self, *, is_reading: bool) -> float | None:
        """Queues a PING if one is due. Returns the seconds until the next one is; None without keep-alive.

        Raises SessionError if the router does not answer. `is_reading`: False if this client reads nothing now, and so
        would not see an answer.
        """
        if self.keep_alive is None or not self._sends:
            return None
        if not is_reading:
            self.keep_alive.note_life()
        elif self.keep_alive.wait() == 0.0:
            self.keep_alive.note_ping()
            self._unsent.add(self.protocol.ping())
        return self.keep_alive.wait()

    def begin(self, session: Session, request: bytes, size: tuple[int, int] | None, greeting: Greeting) -> None:
        """Switches to the extension. `request` is the START frame to send, which holds the window's `size`."""
        self.protocol = session
        self._unsent.clear()
        self._unsent.add(request)
        self._announced = size
        self.early = bytes(greeting.received)

    def stay_legacy(self, greeting: Greeting) -> None:
        """Notes that the router does not speak the extension."""
        assert isinstance(self.protocol, Legacy)
        self.protocol.has_no_welcome()
        self.early = bytes(greeting.received)

    def keep_no_more(self) -> None:
        """Stops the wait for the router's first byte and queues the input. Raises as Legacy.keep_no_more() does."""
        assert isinstance(self.protocol, Legacy)
        self.protocol.keep_no_more()
        self._unsent.add(self.protocol.replies())

    def traffic(self) -> str:
        """Says how much was sent and received: input and output if the protocol counts them, else all bytes."""
        counts = self.protocol.counts() or (self.bytes_sent, self.bytes_received)
        return "{} bytes sent, {} bytes received".format(*counts)

    def announce(self, size: tuple[int, int] | None) -> None:
        """Queues the window's rows and columns, if the protocol has a frame for them and they have changed."""
        if self._sends and size and size != self._announced:
            self._unsent.add(self.protocol.window(*size))
            self._announced = size

    def end_input(self) -> None:
        """Ends the input once all queued input is sent."""
        if self.takes_input:
            self.takes_input = False
            frames = self.protocol.end_input()
            self._wants_shutdown = frames is None
            self._unsent.add(frames or b"")

    def send(self) -> None:
        """Sends as much as the connection takes without waiting."""
        try:
            while self._unsent:
                self.bytes_sent += self._unsent.send(self.sock)
            if self._wants_shutdown and not self._unsent:
                self.sock.shutdown(_socket.SHUT_WR)
                self._wants_shutdown = self._sends = False
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            self._lose_input(error)

    def _lose_input(self, error: OSError) -> None:
        """Gives up sending: after a gap, the rest of the input could mean something else.

        If the router takes no more, the output is still read: it may show that the session had ended. After any other
        error the output ends with what has arrived. Over TCP a reset is a broken connection, and the kernel reports it
        only once, here or to receive().
        """
        self._unsent.clear()
        self.takes_input = self._wants_shutdown = self._sends = False
        was_reset = error.errno == errno.ECONNRESET and not self._is_local
        if was_reset or error.errno not in _TAKES_NO_MORE:
            self.broken = self.broken or error.strerror
        if error.errno not in _TAKES_NO_MORE:
            try:
                self.sock.shutdown(_socket.SHUT_RD)
            except OSError:  # the connection has ended already
                return

    @property
    def _is_local(self) -> bool:
        return self.sock.family == _socket.AF_UNIX

    def read(self) -> bytes:
        """Reads from the connection, and notes whether the router marks a notice (fastpty/relay/notice.pxd).

        Raises OSError.
        """
        if self._is_local:
            # The mark is a descriptor. There is no buffer for it here, so the kernel drops it and sets MSG_CTRUNC.
            data, _, flags, _ = self.sock.recvmsg(CHUNK_BYTES)
            self.is_marked = self.is_marked or bool(flags & _socket.MSG_CTRUNC)
            return data
        self.is_marked = self.is_marked or has_urgent_mark(self.sock)
        return self.sock.recv(CHUNK_BYTES)

    def has_notice(self) -> bool:
        """True if the last line of the output is the router's, not the program's. Call it at the end of the output."""
        return self.is_marked or (self.ask_mark is not None and self.ask_mark())

    def receive(self) -> bytes:
        """Returns the next output; no bytes if none has come, or if it has ended (see `output_open`)."""
        data = b""
        try:
            data = self.read()
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            # A local socket is reset after the last output if the session ended before its input was all read.
            if not (self._is_local and error.errno == errno.ECONNRESET):
                self.broken = self.broken or error.strerror
        return self.take(data)

    def take(self, data: bytes) -> bytes:
        """Returns the output in the received `data`. No data means that the connection has ended."""
        self.bytes_received += len(data)
        if self.keep_alive is not None:
            self.keep_alive.note_life()
        output = self.protocol.take(data)
        self.output_open = bool(data) and not self.protocol.is_over
        if self._sends:
            self._unsent.add(self.protocol.replies())
        return output


def has_urgent_mark(sock: socket.socket | _socket.socket) -> bool:
    """True if the router has marked the end of its output on this TCP connection.

    Call it before recv(): a recv() that begins at the mark discards it.
    """
    try:
        return sock.recv(1, _socket.MSG_OOB) == _URGENT_MARK
    except OSError:  # there is no urgent data
        return False
