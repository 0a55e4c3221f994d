"""A client of the statistics server: what it asks over HTTP, and what it is told. Nothing here waits for it."""

from __future__ import annotations

import ipaddress
import re
import selectors
import socket
import time

from fastpty.errands.processes import may_pass_descriptors

_READ_BYTES = 4096
_READ_MOST_BYTES = 65536
_HEAD_MOST_BYTES = 16384

_HEAD = "HTTP/1.0 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n\r\n"
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HOST = re.compile(r"(?:\[(?P<v6>[^][]*)\]|(?P<name>[^:]*))(?::[0-9]*)?")


def in_http(status: str, text: str, kind: str = "text/plain") -> bytes:
    """The text with HTTP headers before it. None of them lets a web page of elsewhere read it (CORS)."""
    return (_HEAD.format(status=status, kind=kind) + text).encode()


class Client:
    """A connection to the server, which ends after `seconds`.

    It is read for its request, where one is awaited, and after its answer until it closes, as closing first, with bytes
    unread, would break the connection under the answer. In all no more is read than 64 KiB.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.until = time.monotonic() + seconds
        self._request = b""
        self._left = b""
        self._unread_bytes = _READ_MOST_BYTES
        self._is_guarded = may_pass_descriptors(connection)

    def has_asked(self) -> bool | None:
        """Reads on; whether the request is complete. None where the client has left or goes on without an end."""
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

    def means_this_machine(self, own_name: str) -> bool:
        """Whether its request is for this machine by a name that no other machine can have, or for `own_name`.

        A web page can have its own host's name stand for 127.0.0.1 (DNS rebinding), and then read what it gets from
        there. A browser says which name it has used.
        """
        for line in self._request.decode("latin-1").split("\n")[1:]:
            name, _, value = line.partition(":")
            if name.strip().lower() == "host" and not _is_local(value.strip().lower(), own_name.lower()):
                return False
        return True

    def tell(self, answer: bytes) -> None:
        """What go_on will write."""
        self._left = answer

    def go_on(self) -> bool:
        """Writes and reads what can be, once; whether the client stays. What it says after its request is dropped."""
        try:
            if self._left:
                self._left = self._left[self.connection.send(self._left) :]
                if not self._left:
                    self.connection.shutdown(socket.SHUT_WR)
                return bool(self._left) or not self._is_guarded
            if self._is_guarded:
                return False  # what it has sent is not read here, and so is not closed here
            data = self.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._unread_bytes -= len(data)
        return bool(data) and self._unread_bytes > 0

    def events(self) -> int:
        """What go_on waits for."""
        return selectors.EVENT_WRITE if self._left else selectors.EVENT_READ


def _is_local(host: str, own_name: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["v6"] or found["name"] or "").rstrip(".")
    if name in ("localhost", own_name) or name.endswith(".localhost"):
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
