"""A TCP listener that speaks TLS, and the private way from there to the relay."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
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
    with _private_directory() as directory:
        path = f"/proc/self/fd/{directory}/s"
        inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inside.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - nobody finds it, and it stays usable when the router gives up root
        inside.listen(backlog)
        entrance = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.unlink(path)
    return Front(outside, Listener(inside, outside.address), entrance)


@contextlib.contextmanager
def _private_directory() -> Iterator[int]:
    """A descriptor of a new directory in which nobody else can make a file.

    It is not used by its name: where TMPDIR is a directory of somebody else's, that one could put another in its place.
    """
    path = tempfile.mkdtemp(prefix="fastpty-tls-")
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(directory)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
                raise OSError(errno.EPERM, f"somebody else has replaced {path}: choose another TMPDIR")
            yield directory
        finally:
            os.close(directory)
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)
