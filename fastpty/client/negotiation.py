"""Finds out whether a router speaks the extension: docs/protocol.md, part B.

A client binds its socket to a name with a nonce before it connects. A router that knows the extension answers such a
client with WELCOME, which repeats the nonce. Other routers ignore the name.
"""

from __future__ import annotations

import os
import select
import time

from fastpty.client.ready import SHORT_OF_MEMORY
from fastpty.errors import FastptyError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import socket
    from collections.abc import Callable, Sequence

_HEADER_BYTES = 4
_DECIDED_BYTES = _HEADER_BYTES + len(extension.MAGIC) + extension.NONCE_BYTES


class NoAnswerError(FastptyError):
    """The router has sent nothing. With TLS, the end of the tunnel may bring a better reason."""


def new_name() -> bytes:
    """A name for a client's socket, with a nonce that no other client has."""
    return extension.NAME + os.urandom(extension.NONCE_BYTES).hex().encode()


def _nonce(name: bytes | None) -> bytes:
    return bytes(extension.NONCE_BYTES) if name is None else bytes.fromhex(name[len(extension.NAME) :].decode())


class Greeting:
    """Compares the first bytes of a connection, as they arrive, with WELCOME.

    A WELCOME for this client has the nonce of one of its `names`. The name None stands for a client whose name the
    router does not see: its nonce is zero. With no `names`, no WELCOME is expected. `is_welcome`: None until it is
    decided. `is_unnamed`: a WELCOME came whose nonce is zero, but the names do not include None. It is not accepted,
    because a program behind a raw address can write the same bytes. `received`: all bytes so far. `is_ruled_out`: the
    user has said that the router does not speak the extension.
    """

    def __init__(self, names: Sequence[bytes | None], *, is_ruled_out: bool = False) -> None:
        self._payloads = [extension.MAGIC + _nonce(name) for name in names]
        self._unnamed = extension.MAGIC + _nonce(None)
        self.is_expected = bool(names)
        self.is_ruled_out = is_ruled_out
        self.received = bytearray()
        self.is_welcome: bool | None = None
        self.is_unnamed = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. No bytes means that the connection has ended."""
        self.received += data
        if self.is_welcome is not None:
            return
        expected = self._possible()
        if not data or not expected:
            self.is_welcome = False
        elif len(self.received) >= _DECIDED_BYTES:
            self.is_welcome = expected[0] in self._payloads
            self.is_unnamed = not self.is_welcome

    def _possible(self) -> list[bytes]:
        """Returns the payloads of WELCOME that the received bytes can still turn out to be.

        The size of the frame, in bytes 1 and 2, is not compared.
        """
        received = bytes(self.received[:_DECIDED_BYTES])
        header, payload = received[:_HEADER_BYTES], received[_HEADER_BYTES:]
        if header[:1] not in (b"", b"\0") or header[3:] not in (b"", bytes((extension.WELCOME,))):
            return []
        return [expected for expected in (*self._payloads, self._unnamed) if expected.startswith(payload)]


def wait_for_greeting(
    sock: socket.socket | _socket.socket, read: Callable[[], bytes], greeting: Greeting, seconds: float | None
) -> None:
    """Reads from `sock`, with `read`, until `greeting` is decided, or for `seconds`; None waits forever.

    If the connection breaks before that, `greeting` is decided: there was no WELCOME.
    """
    until = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while greeting.is_welcome is None:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return
        try:
            if poll.poll(None if left is None else left * 1000 + 1):
                greeting.feed(read())
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in SHORT_OF_MEMORY:
                greeting.feed(b"")
