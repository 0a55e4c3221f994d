"""A client of the statistics server: reads its HTTP request and writes the answer, without waiting."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import time

from fastpty.system.passed_descriptors import may_pass_descriptors

_READ_BYTES = 4096
_READ_MOST_BYTES = 65536
_HEAD_MOST_BYTES = 16384

_HEAD = "HTTP/1.0 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n\r\n"
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HOST = re.compile(r"(?:\[(?P<v6>[^][]*)\]|(?P<name>[^:]*))(?::[0-9]*)?")


def in_http(status: str, text: str, kind: str = "text/plain") -> bytes:
    """Puts HTTP headers before the text. No header lets a web page of another site read it (CORS)."""
    return (_HEAD.format(status=status, kind=kind) + text).encode()


class Client:
    """A connection to the server. `until`: its deadline, `seconds` from now.

    The server reads the request, if there is one, and after the answer reads on until the client closes: closing with
    unread bytes could break the connection before the client has read the answer. It reads at most 64 KiB in all.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.until = time.monotonic() + seconds
        self._request = b""
        self._left = b""
        self._unread_bytes = _READ_MOST_BYTES
        self._is_guarded = may_pass_descriptors(connection)

    def read_request(self) -> bool | None:
        """Reads once. True if the request is complete; None if the client has left or the request is too long."""
        try:
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return None
        self._unread_bytes -= len(data)
        self._request += data
        if not data or _END_OF_HEAD.search(self._request):
            return True
        return None if len(self._request) > _HEAD_MOST_BYTES else False

    def asks_for_this_host(self, listening_host: str) -> bool:
        """True if the Host header is an IP address, localhost or `listening_host`.

        A web page's own host name can be made to resolve to 127.0.0.1 (DNS rebinding), so that the page can read the
        answer. The browser then sends that name.
        """
        for line in self._request.decode("latin-1").split("\n")[1:]:
            name, _, value = line.partition(":")
            if name.strip().lower() == "host" and not _is_local(value.strip().lower(), listening_host.lower()):
                return False
        return True

    def queue(self, answer: bytes) -> None:
        """Sets what step() will write."""
        self._left = answer

    def step(self) -> bool:
        """Writes or reads once; False if the connection is to be closed. Bytes after the request are dropped."""
        try:
            if self._left:
                self._left = self._left[self.connection.send(self._left) :]
                if not self._left:
                    self.connection.shutdown(socket.SHUT_WR)
                return bool(self._left) or not self._is_guarded
            if self._is_guarded:
                return False  # closing descriptors that it may have sent could block
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._unread_bytes -= len(data)
        return bool(data) and self._unread_bytes > 0

    def events(self) -> int:
        """The events that step() waits for."""
        return selectors.EVENT_WRITE if self._left else selectors.EVENT_READ


def _is_local(host: str, listening_host: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["v6"] or found["name"] or "").rstrip(".")
    if name in ("localhost", listening_host) or name.endswith(".localhost"):
        return bool(name)
    return _is_ip_address(name)


def _is_ip_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):  # ValueError: it contains a NUL character
            socket.inet_pton(family, text)
            return True
    return False
