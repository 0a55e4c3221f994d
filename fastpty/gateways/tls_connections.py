"""The connections of the TLS proxy: shaking hands, asking for a name, moving bytes."""

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
from fastpty.net.tls import Pump, certificate_names

# So many times what the relay holds of a direction, as each of its turns costs more.
_BUFFERS = 4
_NAMES_SHOWN = 10


class Connections:
    """A thread for each connection.

    allowed: allow-tls-name. users: tls-user, a uid for a name of a certificate. handshakes_most: at a time, so that
    connections that never say anything take no more threads than this; who comes then waits in the listen queue.
    buffer_bytes: session-buffer.
    """

    def __init__(
        self,
        fronts: Sequence[Front],
        context: ssl.SSLContext,
        allowed: frozenset[str],
        users: Mapping[str, int],
        handshakes_most: int,
        buffer_bytes: int,
    ) -> None:
        self._fronts = fronts
        self._context = context
        self._allowed = allowed
        self._users = users
        self._handshakes = threading.Semaphore(handshakes_most)
        self._high_water_bytes = _BUFFERS * buffer_bytes
        self._refusals = Refusals()
        self._lock = threading.Lock()
        self._summing_up: threading.Timer | None = None

    def serve(self, last_words_seconds: float) -> None:
        """Until SIGTERM, which is blocked; what is under way then may come to its end, for a while."""
        for front in self._fronts:
            front.outside.socket.setblocking(True)
            threading.Thread(target=self._accept, args=(front,), daemon=True).start()
        signal.sigwait({signal.SIGTERM})
        deadline = time.monotonic() + last_words_seconds
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
                self._tell(f"a TLS client was not accepted: {error}", "TLS clients, before they were accepted")
                time.sleep(0.1)

    def _serve(self, network: socket.socket, text: str, front: Front) -> None:
        try:
            with network:
                pump = self._greet(network, text)
                if pump is not None:
                    self._let_in(pump, text, front)
        except OSError as error:
            self._tell(f"TLS client {text}: {error}", "TLS clients: the connection broke")
        except Exception:
            logger.exception("TLS client %s: internal error", text)

    def _let_in(self, pump: Pump, text: str, front: Front) -> None:
        """Asks for a name, and moves the bytes of a client that may connect. Raises OSError where that breaks."""
        names: list[str] = []
        try:
            names = _names_of(pump)
            uid = self._admit(names)
        except RefusedError as error:
            self._tell(f"TLS client {text} ({_in_words(names)}): refused: {error}", f"TLS clients: {error}")
            pump.say(b"fastpty: refused: the names of your certificate may not connect here\r\n")
            return
        who = f"{text} {names[0] if names else 'nameless'}"
        # At random: another user of the machine could take a name that it can guess, and keep the client out.
        self._connect(pump, name_behind_tls(secrets.token_hex(16), uid, who), front)

    def _tell(self, line: str, kind: str) -> None:
        """Logs a line that a stranger can cause, or counts it and says how many there were when a second is over."""
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
        """Which user a certificate with these names is, if one; raises RefusedError where it may not connect."""
        if self._allowed and not self._allowed.intersection(names):
            raise RefusedError("no name of it is allowed")
        uids = {self._users[name] for name in names if name in self._users}
        if len(uids) > 1:
            raise RefusedError("its names are more than one user's")
        return uids.pop() if uids else None

    def _greet(self, network: socket.socket, text: str) -> Pump | None:
        try:
            tcp.prepare(network)
            pump = Pump(network, self._context, server_side=True, high_water_bytes=self._high_water_bytes)
            pump.shake_hands()
        except OSError as error:
            self._tell(f"TLS client {text}: no session: {error}", "TLS clients: no handshake")
            return None
        finally:
            self._handshakes.release()
        return pump

    def _connect(self, pump: Pump, name: bytes, front: Front) -> None:
        """To the relay. The name of our end tells it who comes."""
        with socket.socket(socket.AF_UNIX) as plain:
            plain.bind(name)
            plain.connect(f"/proc/self/fd/{front.entrance}")
            pump.run(plain)
        pump.part()


def _names_of(pump: Pump) -> list[str]:
    try:
        return certificate_names(pump.certificate)
    except ValueError as error:
        raise RefusedError("a name of its certificate is not UTF-8") from error


def _in_words(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
