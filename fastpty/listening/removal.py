"""Removes files at the end that the router itself cannot remove any more: it has dropped its rights or left their root.

A separate process keeps the rights, since a descriptor of the directory would lead out of the jail. All that it does is
to remove the files that it was started for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from fastpty.errors import FastptyError

_ANSWER_SECONDS = 2.0
_ANSWER_BYTES_MOST = 4096
_DONE = b"done"


class Removable(Protocol):
    """An object that owns a file."""

    @property
    def file(self) -> tuple[str, int] | None:
        """Path and a descriptor of the file; None if there is no file."""


class Remover:
    """A process that removes the files of `owners` on request. It ends with the process that made it.

    To be made before any right is dropped. Raises FastptyError if the process cannot be started.
    """

    def __init__(self, owners: Sequence[Removable]) -> None:
        self._numbers = {owner: number for number, owner in enumerate(owners)}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        files = [owner.file for owner in owners]
        # The directories are opened here: when the process has started, the paths may lead elsewhere.
        with theirs, _directories(files) as directories:
            try:
                maker = os.pidfd_open(os.getpid())
                pid = os.fork()
            except OSError as error:
                raise FastptyError(f"cannot start the process that removes files: {error.strerror}") from error
            if pid == 0:
                _be_the_remover(theirs, maker, directories, files)
            os.waitpid(pid, 0)
            os.close(maker)

    def can_remove(self, owner: Removable) -> bool:
        """True if it was made for this owner's file."""
        return owner in self._numbers

    def remove(self, owner: Removable) -> None:
        """Removes the file, unless another file has its name now. Raises OSError if it was not removed."""
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


def _be_the_remover(
    orders: socket.socket, maker: int, directories: Sequence[int | None], files: Sequence[tuple[str, int] | None]
) -> None:
    """Never returns. Forks again, so that the supervisor does not have the remover among its children."""
    try:
        if os.fork() == 0:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(
                    number, signal.SIG_IGN
                )  # it ends after the router, even if a service manager signals both
            _close_all_but({orders.fileno(), maker, *(file[1] for file in files if file), *filter(None, directories)})
            os.chdir("/")
            _serve(orders, maker, directories, files)
    finally:
        os._exit(0)


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
            return _DONE  # another program has replaced it
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        return os.strerror(error.errno or 0).encode()
    return _DONE


@contextlib.contextmanager
def _directories(files: Sequence[tuple[str, int] | None]) -> Iterator[list[int | None]]:
    """Descriptors of the directories of these files; None for a directory that cannot be opened."""
    opened = [None if file is None else _directory(file[0]) for file in files]
    try:
        yield opened
    finally:
        for descriptor in filter(None, opened):
            os.close(descriptor)


def _directory(path: str) -> int | None:
    """Opens the directory, so that replacing a directory above cannot have another file removed."""
    try:
        return os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def _close_all_but(kept: set[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    first = 3
    for number in sorted(kept):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
