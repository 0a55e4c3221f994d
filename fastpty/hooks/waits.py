"""Waits for what the jail needs: a network interface, a file, a directory, a mount point, a listening socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from fastpty.errors import FastptyError
from fastpty.hooks.mounts import mount_points
from fastpty.net import address
from fastpty.system.records import dataclass

_POLL_SECONDS = 0.05
_CONNECT_SECONDS = 1.0


def _is_interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def _is_mounted(path: str) -> bool:
    try:
        return os.path.realpath(path) in set(mount_points())
    except OSError:
        return os.path.ismount(path)  # without /proc; this misses bind mounts


def _is_listening(text: str) -> bool:
    """Whether a socket accepts connections there; the connection is closed at once, as in uWSGI."""
    try:
        address.connect(address.parse(text), _CONNECT_SECONDS).close()
    except FastptyError:
        return False
    return True


INTERFACE = "interface"
SOCKET = "socket"
_EXISTS: dict[str, Callable[[str], bool]] = {
    INTERFACE: _is_interface,
    "fs": os.path.exists,
    "file": os.path.isfile,
    "dir": os.path.isdir,
    "mountpoint": _is_mounted,
    SOCKET: _is_listening,
}


@dataclass(frozen=True)
class Wait:
    """Something to wait for: its kind, and its name, path or address."""

    kind: str
    name: str

    @property
    def phase(self) -> str:
        """When to wait: with the interfaces, the files ("fs") or the sockets."""
        return self.kind if self.kind in (INTERFACE, SOCKET) else "fs"

    def run(self, seconds: float) -> None:
        """Returns when it exists; raises FastptyError if it does not within `seconds`."""
        deadline = time.monotonic() + seconds
        while not _EXISTS[self.kind](self.name):
            left = deadline - time.monotonic()
            if left <= 0:
                raise FastptyError(f"wait-for-{self.kind}: {self.name} does not exist after {seconds:g} s")
            time.sleep(min(_POLL_SECONDS, left))


def parse(kind: str) -> Callable[[str], Wait]:
    """Returns the parser for the value of a `wait-for-` option or `wait_for_` action. It raises ValueError."""

    def read(text: str) -> Wait:
        if not text:
            raise ValueError("needs a value")
        if kind == SOCKET and isinstance(address.parse(text), address.FdAddress | address.SharedAddress):
            raise ValueError(f"{text} is not an address that can be connected to")
        return Wait(kind, text)

    return read
