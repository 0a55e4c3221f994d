"""A proxy between a client and a router: it can hold back what the client sends, and cut the connection."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.support.harness import PATIENCE_SECONDS, join_thread


class Proxy:
    """Connects one client to a router's unix socket. holds: the client's bytes wait until release() is called.

    It connects when the client does, since a router waits only a short time for a client's first frames.
    """

    def __init__(self, path: str, *, holds: bool) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._router = socket.socket(socket.AF_UNIX)
        self._path = path
        self._client: socket.socket | None = None
        self._lock = threading.Lock()
        self._holds = holds
        self._held = b""
        self._from_client, self._from_router = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._server.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # ends accept()
        self.cut()
        join_thread(self._thread)
        self._server.close()

    def wait_for_both(self) -> None:
        """Waits until the client and the router have sent something."""
        for event in (self._from_client, self._from_router):
            assert event.wait(PATIENCE_SECONDS), "nothing has come"

    def release(self) -> None:
        with self._lock:
            self._holds = False
            self._router.sendall(self._held)

    def cut(self) -> None:
        """Ends both connections. What is held back is lost."""
        for sock in (self._router, self._client):
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with suppress(OSError), self._server.accept()[0] as client:
            self._client = client
            self._router.connect(self._path)
            back = threading.Thread(target=self._to_client, args=(client,), daemon=True)
            back.start()
            self._to_router(client)
            self.cut()
            join_thread(back)
        self._router.close()

    def _to_client(self, client: socket.socket) -> None:
        with suppress(OSError):
            while data := self._router.recv(65536):
                client.sendall(data)
                self._from_router.set()
        self.cut()

    def _to_router(self, client: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                with self._lock:
                    if self._holds:
                        self._held += data
                    else:
                        self._router.sendall(data)
                self._from_client.set()
