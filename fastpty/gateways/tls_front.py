"""A TCP listener that speaks TLS, and the private way from there to the relay."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from dataclasses import dataclass

from fastpty.listening.bind import Listener


@dataclass(frozen=True)
class Front:
    """A TCP listener that speaks TLS, and the way to the relay behind it."""

    outside: Listener
    inside: Listener
    entrance: int  # O_PATH descriptor of the inner socket's file, which has no name any more

    @property
    def descriptors(self) -> tuple[int, int]:
        """Those that the TLS proxy needs."""
        return self.outside.socket.fileno(), self.entrance

    def let_go(self) -> None:
        """Closes this process's copies of what is the TLS proxy's."""
        self.outside.let_go()
        os.close(self.entrance)


def front_for(outside: Listener, backlog: int) -> Front:
    """The relay's private socket for a TCP listener: its file is gone, so only who holds `entrance` gets there.

    Raises OSError.
    """
    directory = tempfile.mkdtemp(prefix="fastpty-tls-")
    try:
        path = f"{directory}/s"
        inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inside.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - nobody finds it, and it stays usable when the router gives up root
        inside.listen(backlog)
        entrance = os.open(path, os.O_PATH | os.O_CLOEXEC)
    finally:
        shutil.rmtree(directory)
    return Front(outside, Listener(inside, outside.address), entrance)
