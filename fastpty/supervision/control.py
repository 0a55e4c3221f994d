"""Takes requests from the control sockets within the supervisor's loop. Nothing here waits for a client."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Sequence
from functools import partial

from fastpty.log import logger
from fastpty.service.control import RELOAD, ControlSocket, answer

_CLIENTS_MOST = 16
_REQUEST_BYTES = 64

Answer = Callable[[str | None], None]
"""Called once with the outcome of a request: None for success, or the reason for the failure."""


class Control:
    """Serves these control sockets. reload: begins a reload."""

    def __init__(
        self,
        sockets: Sequence[ControlSocket],
        selector: selectors.BaseSelector,
        reload: Callable[[Answer], None],
    ) -> None:
        self._sockets = sockets
        self._selector = selector
        self._reload = reload
        self._clients: set[socket.socket] = set()

    def listen(self) -> None:
        """Starts to accept."""
        for control in self._sockets:
            if control.socket is not None:
                self._selector.register(control.socket, selectors.EVENT_READ, partial(self._accept, control))

    def close(self) -> None:
        """In a child process: closes its copies."""
        for control in self._sockets:
            control.close()
        for client in self._clients:
            client.close()

    def _accept(self, control: ControlSocket) -> None:
        try:
            client = control.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # As long as descriptors or memory are short, the socket would stay readable: it is given up.
            logger.warning("the control socket is closed: %s", error.strerror)
            assert control.socket is not None
            self._selector.unregister(control.socket)
            control.close()
            return
        if client is None:
            return
        if len(self._clients) >= _CLIENTS_MOST:
            client.close()
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
