"""TLS for the client: a plain socket whose bytes a thread moves through a TLS connection."""

from __future__ import annotations

import _socket
import contextlib
import select
import signal
import socket
import ssl
import threading
from collections.abc import Iterator

from fastpty.client.link import has_urgent_mark
from fastpty.client.negotiation import NoAnswerError
from fastpty.client.ready import is_ready
from fastpty.errors import FastptyError, LostConnectionError, UsageError
from fastpty.net.tls import Pump, context_of, reason
from fastpty.net.tls_files import Identity

_END_SECONDS = 12.0
_MARK_SECONDS = 1.0

# OpenSSL's words for an answer that is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")


def wait_for_mark(network: _socket.socket) -> bool:
    """Waits up to a second for the router's mark that its last line is a notice. Returns True if it has come.

    The mark is a byte on the TCP connection after TLS has ended, where nothing else is sent.
    """
    is_ready(network.fileno(), select.POLLPRI, _MARK_SECONDS * 1000)
    return has_urgent_mark(network)


def shake_hands(
    network: _socket.socket,
    identity: Identity,
    server_name: str,
    name: str,
    *,
    deadline: float | None = None,
    negotiates: bool = True,
) -> Pump:
    """Begins TLS over `network`. negotiates: offers the negotiated extension (Pump.has_negotiated).

    `server_name` is the name in the router's certificate, `name` the address for messages, `deadline` that of the
    handshake (time.monotonic()). Raises FastptyError if the router is not `server_name`, refuses this client or does
    not answer in time.
    """
    context = context_of(identity, server=False, negotiates=negotiates)
    try:
        pump = Pump(network, context, server_side=False, server_name=server_name)
    except ValueError as error:  # empty, longer than DNS allows, or not text
        raise UsageError(f"tls-name: {server_name!r} cannot be the name in a certificate") from error
    try:
        pump.shake_hands(deadline)
    except TimeoutError as error:
        raise FastptyError(f"{name}: no answer in TLS in time: is this a router's TLS address?") from error
    except OSError as error:
        if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
            raise FastptyError(
                f"{name} does not speak TLS: connect without --tls-cert, --tls-key and --tls-ca"
            ) from error
        raise FastptyError(f"TLS with {server_name} failed: {reason(error)}") from error
    return pump


@contextlib.contextmanager
def tunnel(network: _socket.socket, pump: Pump) -> Iterator[socket.socket]:
    """A plain socket whose bytes a thread moves through TLS over `network`; closed at the end.

    Raises FastptyError at the end if the connection broke.
    """
    ours, theirs = socket.socketpair()
    failures: list[str] = []

    def move() -> None:
        with theirs:
            try:
                pump.run(theirs)
            except OSError as error:
                failures.append(reason(error))

    # The thread blocks all signals, so that the main thread gets them.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    thread = threading.Thread(target=move, daemon=True)
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    try:
        with ours:
            yield ours
    except BaseException as error:
        with contextlib.suppress(OSError):
            network.shutdown(socket.SHUT_RDWR)  # nothing more is wanted from the router, so the thread ends at once
        if failures and isinstance(error, NoAnswerError):  # such as a certificate that the router does not trust
            raise FastptyError(f"the connection broke: {failures[0]}") from error
        if failures and isinstance(error, LostConnectionError) and error.why is None:
            raise LostConnectionError(failures[0]) from error
        raise
    finally:
        thread.join(_END_SECONDS)
    if thread.is_alive():
        failures.append("the router did not read the rest of the input in time")
    if failures:
        raise FastptyError(f"the connection broke: {failures[0]}")
