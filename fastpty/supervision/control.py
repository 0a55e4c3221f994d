"""Takes requests from the control sockets within the supervisor's loop. Nothing here waits for a client."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Sequence
from functools import partial

from fastpty.log import logger
from fastpty.service.control import RELOAD, ControlSocket, answer, may_control

_CLIENTS_MOST = 16
_REQUEST_BYTES = 64

Answer = Callable[[str | None], None]
"""Called once with the outcome of a request: None for success, or the reason for the failure."""


class Control:
    """Serves these control sockets.

    reload: begins a reload. discard: closes a client's connection, which must not block.
    """

    def __init__(
        self,
        sockets: Sequence[ControlSocket],
        selector: selectors.BaseSelector,
        reload: Callable[[Answer], None],
        discard: Callable[[socket.socket], None],
    ) -> None:
        self._sockets = sockets
        self._selector = selector
        self._reload = reload
        self._discard = discard
        self._clients: set[socket.socket] = set()

    def listen(self) -> None:
        """Starts to accept."""
        for control in self._sockets:
            if control.socket is not None:
                self._selector.register(control.socket, selectors.EVENT_READ, partial(self._accept, control.socket))

    def close(self) -> None:
        """In a child process: closes its copies of the sockets."""
        for control in self._sockets:
            control.close()
        for client in self._clients:
            client.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # While descriptors or memory are short, the socket stays readable: the supervisor would spin.
            logger.warning(
                "the control socket failed (%s): --reload cannot wait for its outcome any longer", error.strerror
            )
            self._selector.unregister(listener)
            return
        client.setblocking(False)
        if len(self._clients) >= _CLIENTS_MOST or not may_control(client):
            self._discard(client)
            return
        self._clients.add(client)
        self._selector.register(client, selectors.EVENT_READ, partial(self._read, client))

    def _read(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        try:
            request = client.recv(_REQUEST_BYTES)
        except OSError:
            request = b""
        if request == RELOAD:
            self._reload(partial(self._answer, client))
        else:
            self._answer(client, "unknown request")

    def _answer(self, client: socket.socket, error: str | None) -> None:
        self._clients.discard(client)
        answer(client, error)
        self._discard(client)
