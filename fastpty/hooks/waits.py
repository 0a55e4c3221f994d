"""Waiting for what the jail needs: a network interface, a file, a directory, a mount."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastpty.errors import FastptyError
from fastpty.hooks.mounts import mount_points

_POLL_SECONDS = 0.05


def _is_interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def _is_mounted(path: str) -> bool:
    try:
        return os.path.realpath(path) in set(mount_points())
    except OSError:
        return os.path.ismount(path)  # there is no /proc; this misses bind mounts


INTERFACE = "interface"
_THERE: dict[str, Callable[[str], bool]] = {
    INTERFACE: _is_interface,
    "fs": os.path.exists,
    "file": os.path.isfile,
    "dir": os.path.isdir,
    "mountpoint": _is_mounted,
}
KINDS = tuple(_THERE)
"""What can be waited for, in uWSGI's order."""


@dataclass(frozen=True)
class Wait:
    """Something to wait for: a kind of KINDS, and its name or path."""

    kind: str
    name: str

    def run(self, seconds: float) -> None:
        """Returns when it is there; raises FastptyError when it is not after `seconds`."""
        deadline = time.monotonic() + seconds
        while not _THERE[self.kind](self.name):
            left = deadline - time.monotonic()
            if left <= 0:
                raise FastptyError(f"wait-for-{self.kind}: {self.name} is not there after {seconds:g} s")
            time.sleep(min(_POLL_SECONDS, left))


def parse(kind: str) -> Callable[[str], Wait]:
    """The reader of a `wait-for-` option's value."""

    def read(text: str) -> Wait:
        if not text:
            raise ValueError("needs a value")
        return Wait(kind, text)

    return read
