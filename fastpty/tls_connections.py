"""The connections of the TLS proxy: shaking hands, asking for a name, moving bytes."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Sequence

from fastpty.log import logger
from fastpty.sessions import prepare_tcp
from fastpty.tls import Pump, certificate_names
from fastpty.tls_identity import Front

# At a time, so that connections that never say anything take no more threads than this.
_HANDSHAKES_MOST = 64
_LAST_WORDS_SECONDS = 5.0
_NAME_BYTES_MOST = 107  # unix(7)


class Connections:
    """A thread for each connection."""

    def __init__(self, fronts: Sequence[Front], context: ssl.SSLContext, allowed: frozenset[str]) -> None:
        self._fronts = fronts
        self._context = context
        self._allowed = allowed
        self._handshakes = threading.Semaphore(_HANDSHAKES_MOST)
        self._count = 0

    def serve(self) -> None:
        """Until SIGTERM, which the supervisor has blocked; what is under way then may come to its end."""
        for front in self._fronts:
            front.outside.socket.setblocking(True)
            threading.Thread(target=self._accept, args=(front,), daemon=True).start()
        signal.sigwait({signal.SIGTERM})
        deadline = time.monotonic() + _LAST_WORDS_SECONDS
        for thread in threading.enumerate():
            if thread.name == "connection":
                thread.join(max(0, deadline - time.monotonic()))

    def _accept(self, front: Front) -> None:
        while True:
            self._handshakes.acquire()
            try:
                network, where = front.outside.socket.accept()
                self._count += 1
                text = f"{where[0]} port {where[1]}"
                arguments = (network, text, self._count, front)
                threading.Thread(target=self._serve, args=arguments, name="connection", daemon=True).start()
            except (OSError, RuntimeError) as error:
                self._handshakes.release()
                logger.error("a TLS client was not accepted: %s", error)
                time.sleep(0.1)

    def _serve(self, network: socket.socket, text: str, number: int, front: Front) -> None:
        try:
            with network:
                pump = self._greet(network, text)
                if pump is None:
                    return
                names = certificate_names(pump.certificate)
                if self._allowed and not self._allowed.intersection(names):
                    logger.error("TLS client %s (%s): refused: no name of it is allowed", text, ", ".join(names))
                    pump.say(b"fastpty: refused: the names of your certificate may not connect here\r\n")
                    return
                self._connect(pump, f"{text} {names[0] if names else 'nameless'}", number, front)
        except OSError as error:
            logger.warning("TLS client %s: %s", text, error)

    def _greet(self, network: socket.socket, text: str) -> Pump | None:
        try:
            prepare_tcp(network)
            pump = Pump(network, self._context, server_side=True)
            pump.shake_hands()
        except OSError as error:
            logger.warning("TLS client %s: no session: %s", text, error)
            return None
        finally:
            self._handshakes.release()
        return pump

    def _connect(self, pump: Pump, who: str, number: int, front: Front) -> None:
        """To the relay. The name of our end tells it who comes, for its log."""
        with socket.socket(socket.AF_UNIX) as plain:
            plain.bind(f"\0{os.getpid()}.{number} {who}".encode("utf-8", "replace")[:_NAME_BYTES_MOST])
            plain.connect(f"/proc/self/fd/{front.entrance}")
            pump.run(plain)
        pump.part()
