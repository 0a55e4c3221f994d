"""A TCP listener for TLS, and the private socket that leads from the TLS proxy to the relay."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator

from fastpty.listening.bind import Listener
from fastpty.system.records import dataclass


@dataclass(frozen=True)
class Front:
    """A TCP listener for TLS, and the private socket behind it."""

    outside: Listener
    inside: Listener
    entrance: int  # O_PATH descriptor of the private socket's file, which is unlinked
    negotiates: bool  # clients may negotiate the extension

    @property
    def descriptors(self) -> tuple[int, int]:
        """The descriptors that the TLS proxy needs."""
        return self.outside.socket.fileno(), self.entrance

    def close_copies(self) -> None:
        """Closes this process's copies of those descriptors."""
        self.outside.close_copy()
        os.close(self.entrance)


def front_for(outside: Listener, backlog: int, *, negotiates: bool) -> Front:
    """Makes the private socket for a TCP listener. Its file is unlinked: only a holder of `entrance` can connect.

    Raises OSError.
    """
    with _private_directory() as directory:
        path = f"/proc/self/fd/{directory}/s"
        inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inside.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - it has no name, and must stay usable after a change of user
        inside.listen(backlog)
        entrance = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.unlink(path)
    return Front(outside, Listener(inside, outside.address), entrance, negotiates)


@contextlib.contextmanager
def _private_directory() -> Iterator[int]:
    """A descriptor of a new directory in which nobody else can make a file.

    The directory is used through the descriptor, because the owner of TMPDIR could replace it.
    """
    import tempfile  # only TLS needs it, and it loads a lot

    path = tempfile.mkdtemp(prefix="fastpty-tls-")
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(directory)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
                raise OSError(errno.EPERM, f"another user has replaced {path}: choose another TMPDIR")
            yield directory
        finally:
            os.close(directory)
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)
