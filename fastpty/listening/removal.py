"""Removes socket files at the router's end, after it has given up the right to do that or has entered another root.

A separate process keeps that right: a descriptor of the directory in the router would lead out of the jail. All it can
do is remove the files that were bound before it was started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from functools import partial

from fastpty.errors import FastptyError
from fastpty.listening.bind import Listener
from fastpty.system import child

_ANSWER_SECONDS = 2.0
_DONE = b"done"


class Remover:
    """The process that removes the files of these listeners on request. It ends with the process that created it.

    Create it before any right is given up. Raises FastptyError if the process cannot be started.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._numbers = {listener: number for number, listener in enumerate(listeners)}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [listener.file for listener in listeners]
        # Opened now, since the paths may lead elsewhere later.
        with theirs, _directories(files) as directories:
            try:
                maker = os.pidfd_open(os.getpid())
                child.start_orphan("socket files", partial(_be_the_remover, theirs, maker, directories, files))
            except OSError as error:
                raise FastptyError(f"cannot start the process that removes socket files: {error.strerror}") from error
            os.close(maker)

    def can_remove(self, listener: Listener) -> bool:
        """True if the process has this listener's file."""
        return listener in self._numbers

    def remove(self, listener: Listener) -> None:
        """Removes the listener's file, unless another file has replaced it; raises OSError if that fails."""
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.send(b"%d" % self._numbers.pop(listener))
        answer = self._socket.recv(4096)
        if answer != _DONE:
            raise OSError(0, answer.decode() or "the process that was to remove it has ended")


def _be_the_remover(
    orders: socket.socket, maker: int, directories: Sequence[int | None], files: Sequence[tuple[str, int] | None]
) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a service manager signals all processes; this one ends last
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    pins = [file[1] for file in files if file]
    child.keep_only([0, 1, 2, orders.fileno(), maker, *pins, *filter(None, directories)])
    os.chdir("/")
    _serve(orders, maker, directories, files)


def _serve(
    orders: socket.socket, maker: int, directories: Sequence[int | None], files: Sequence[tuple[str, int] | None]
) -> None:
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    poll.register(maker, select.POLLIN)
    while (orders.fileno(), select.POLLIN) in poll.poll():
        number = int(orders.recv(16))
        file, directory = files[number], directories[number]
        orders.send(b"its directory is gone" if file is None or directory is None else _remove(directory, *file))


def _remove(directory: int, path: str, pin: int) -> bytes:
    name = os.path.basename(path)
    try:
        # The pin keeps the inode's number from being given to another file.
        if not os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(pin)):
            return _DONE  # another program's file
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        return os.strerror(error.errno or 0).encode()
    return _DONE


@contextlib.contextmanager
def _directories(files: Sequence[tuple[str, int] | None]) -> Iterator[list[int | None]]:
    """Opens the directories that hold these files; None for one that cannot be opened."""
    opened = [None if file is None else _directory(file[0]) for file in files]
    try:
        yield opened
    finally:
        for descriptor in filter(None, opened):
            os.close(descriptor)


def _directory(path: str) -> int | None:
    """A descriptor: whoever replaces a directory above it cannot make the process remove another file."""
    try:
        return os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
