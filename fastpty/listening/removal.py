"""Removes files at the router's end that it cannot remove itself after it has given up rights or changed its root.

A separate process keeps the right: a descriptor of the directory in the router would lead out of the jail. All it can
do is remove the files that it was started for.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from functools import partial

from fastpty.errors import FastptyError
from fastpty.system import child
from fastpty.system.records import Protocol

_ANSWER_SECONDS = 2.0
_ANSWER_BYTES_MOST = 4096
_DONE = b"done"


class Removable(Protocol):
    """An object that owns a file."""

    @property
    def file(self) -> tuple[str, int] | None:
        """Path and a descriptor of the file; None if there is no file."""


class Remover:
    """The process that removes the files of `owners` on request. It ends with the process that created it.

    Create it before any right is given up. Raises FastptyError if the process cannot be started.
    """

    def __init__(self, owners: Sequence[Removable]) -> None:
        self._numbers = {owner: number for number, owner in enumerate(owners)}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [owner.file for owner in owners]
        # Opened now, since the paths may lead elsewhere later.
        with theirs, _directories(files) as directories:
            try:
                maker = os.pidfd_open(os.getpid())
                child.start_orphan("socket files", partial(_run_remover, theirs, maker, directories, files))
            except OSError as error:
                raise FastptyError(f"cannot start the process that removes files: {error.strerror}") from error
            os.close(maker)

    def can_remove(self, owner: Removable) -> bool:
        """True if the process has this owner's file."""
        return owner in self._numbers

    def remove(self, owner: Removable) -> None:
        """Removes the file, unless another file has replaced it; raises OSError if that fails."""
        number = b"%d" % self._numbers.pop(owner)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.send(number)
        outcome = self._receive(number)
        if outcome != _DONE:
            raise OSError(0, outcome.decode() or "the process that removes it has ended")

    def _receive(self, number: bytes) -> bytes:
        """The outcome for this file; empty if the process has ended. Late answers for other files are dropped."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            answer = self._socket.recv(_ANSWER_BYTES_MOST)
            answered, _, outcome = answer.partition(b" ")
            if not answer or answered == number:
                return outcome


def _run_remover(
    orders: socket.socket, maker: int, directories: Sequence[int | None], files: Sequence[tuple[str, int] | None]
) -> None:
    child.ignore_stop_signals()
    pins = [file[1] for file in files if file]
    child.isolate([orders.fileno(), maker, *pins, *filter(None, directories)])
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
        outcome = b"its directory is gone" if file is None or directory is None else _remove(directory, *file)
        orders.send(b"%d %b" % (number, outcome))


def _remove(directory: int, path: str, pin: int) -> bytes:
    name = os.path.basename(path)
    try:
        # While the pin is open, no other file can get the inode's number.
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
    """A descriptor, so that a replaced directory above it cannot make the process remove another file."""
    try:
        return os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
