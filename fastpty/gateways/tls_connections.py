"""The connections of the TLS proxy: the handshake, the names in the certificate, and the bytes."""

from __future__ import annotations

import secrets
import signal
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence

from fastpty.access.peer import name_behind_tls
from fastpty.access.refusals import Refusals
from fastpty.errors import RefusedError
from fastpty.gateways.tls_front import Front
from fastpty.log import logger
from fastpty.net import tcp
from fastpty.net.tls import Pump, begins_with_hello, certificate_names, handshake_deadline
from fastpty.wire import extension

# Times the buffer of the relay: each turn of the proxy costs more than one of the relay.
_BUFFERS = 4
_NAMES_SHOWN = 10
_NOT_ALLOWED = b"refused: no name of your certificate is allowed to connect"
_NOT_TLS = b"fastpty: this port speaks TLS: connect with --tls-cert, --tls-key and --tls-ca\r\n"


class Connections:
    """Serves each connection in a thread.

    contexts: the one for fronts that negotiate (True), and the one for the others.
    allowed: allow-tls-name. users: tls-user, the uid for a name in a certificate. handshakes_most: the largest number
    of handshakes at a time, which limits the threads of silent clients; more clients wait in the listen queue.
    buffer_bytes: session-buffer.
    """

    def __init__(
        self,
        fronts: Sequence[Front],
        contexts: Mapping[bool, ssl.SSLContext],
        allowed: frozenset[str],
        users: Mapping[str, int],
        handshakes_most: int,
        buffer_bytes: int,
    ) -> None:
        self._fronts = fronts
        self._contexts = contexts
        self._allowed = allowed
        self._users = users
        self._handshakes = threading.Semaphore(handshakes_most)
        self._high_water_bytes = _BUFFERS * buffer_bytes
        self._refusals = Refusals()
        self._lock = threading.Lock()
        self._summing_up: threading.Timer | None = None

    def serve(self, flush_seconds: float) -> None:
        """Serves until SIGTERM, which must be blocked. Connections then have `flush_seconds` to end."""
        for front in self._fronts:
            front.outside.socket.setblocking(True)
            threading.Thread(target=self._accept, args=(front,), daemon=True).start()
        signal.sigwait({signal.SIGTERM})
        deadline = time.monotonic() + flush_seconds
        for thread in threading.enumerate():
            if thread.name == "connection":
                thread.join(max(0, deadline - time.monotonic()))

    def _accept(self, front: Front) -> None:
        while True:
            self._handshakes.acquire()
            try:
                network, where = front.outside.socket.accept()
                text = f"{where[0]} port {where[1]}"
                arguments = (network, text, front)
                threading.Thread(target=self._serve, args=arguments, name="connection", daemon=True).start()
            except (OSError, RuntimeError) as error:
                self._handshakes.release()
                self._log(f"a TLS client was not accepted: {error}", "TLS clients that could not be accepted")
                time.sleep(0.1)

    def _serve(self, network: socket.socket, text: str, front: Front) -> None:
        try:
            with network:
                pump = self._greet(network, text, front)
                if pump is not None:
                    self._serve_admitted(pump, network, text, front)
        except OSError as error:
            self._log(f"TLS client {text}: {error}", "TLS clients: the connection broke")
        except Exception:
            logger.exception("TLS client %s: internal error", text)

    def _serve_admitted(self, pump: Pump, network: socket.socket, text: str, front: Front) -> None:
        """Checks the certificate's names and moves the bytes of an allowed client. Raises OSError if that breaks."""
        names: list[str] = []
        try:
            names = _names_of(pump)
            uid = self._admit(names)
        except RefusedError as error:
            self._log(f"TLS client {text} ({_in_words(names)}): refused: {error}", f"TLS clients: {error}")
            pump.say(_refusal(pump.has_negotiated))
            return
        who = f"{text} {names[0] if names else 'nameless'}"
        # The name is random: another user of the machine could bind a name that it can guess.
        name = name_behind_tls(secrets.token_hex(16), uid, who, negotiated=pump.has_negotiated)
        self._connect(pump, network, name, front)

    def _log(self, line: str, kind: str) -> None:
        """Logs a line that any client can cause. If they are too many, logs their number each second."""
        with self._lock:
            if not self._refusals.tell(line, kind) and self._summing_up is None:
                self._sum_up_later()

    def _sum_up_later(self) -> None:
        self._summing_up = threading.Timer(self._refusals.patience() or 0, self._sum_up)
        self._summing_up.daemon = True
        self._summing_up.start()

    def _sum_up(self) -> None:
        with self._lock:
            self._summing_up = None
            if self._refusals.sum_up():
                self._sum_up_later()

    def _admit(self, names: Sequence[str]) -> int | None:
        """The uid of a certificate with these names, or None. Raises RefusedError if it may not connect."""
        if self._allowed and not self._allowed.intersection(names):
            raise RefusedError("no name of its certificate is in allow-tls-name")
        uids = {self._users[name] for name in names if name in self._users}
        if len(uids) > 1:
            raise RefusedError("its names stand for more than one tls-user")
        return uids.pop() if uids else None

    def _greet(self, network: socket.socket, text: str, front: Front) -> Pump | None:
        try:
            tcp.prepare(network)
            deadline = handshake_deadline()
            if not begins_with_hello(network, deadline):
                _turn_away(network)
                raise ConnectionError("it does not speak TLS")
            context = self._contexts[front.negotiates]
            pump = Pump(network, context, server_side=True, high_water_bytes=self._high_water_bytes)
            pump.shake_hands(deadline)
        except OSError as error:
            self._log(f"TLS client {text}: the handshake failed: {error}", "TLS clients: the handshake failed")
            return None
        finally:
            self._handshakes.release()
        return pump

    def _connect(self, pump: Pump, network: socket.socket, name: bytes, front: Front) -> None:
        """Connects to the relay and moves bytes. The socket's own name tells the relay who the client is."""
        with socket.socket(socket.AF_UNIX) as plain:
            plain.bind(name)
            plain.connect(f"/proc/self/fd/{front.entrance}")
            pump.run(plain)
        tcp.wait_until_read(network)


def _turn_away(network: socket.socket) -> None:
    """Tells a client that does not speak TLS what this port is. A client that waits for a prompt sends nothing."""
    network.send(_NOT_TLS, socket.MSG_DONTWAIT)
    tcp.mark_notice(network)
    tcp.wait_until_read(network)


def _refusal(negotiated: bool) -> bytes:
    """The text for a client whose certificate is not allowed."""
    if not negotiated:
        return b"fastpty: " + _NOT_ALLOWED + b"\r\n"
    welcome = extension.welcome(bytes(extension.NONCE_BYTES), 0, 0)
    return welcome + extension.refusal(extension.REFUSED, _NOT_ALLOWED)


def _names_of(pump: Pump) -> list[str]:
    try:
        return certificate_names(pump.certificate)
    except ValueError as error:
        raise RefusedError("a name of its certificate is not UTF-8") from error


def _in_words(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
