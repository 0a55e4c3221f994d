"""A process that has a worker's table of descriptors in common with it (CLONE_FILES), and outlives it.

A process that is killed closes what it has open before it is gone, and the last close of a pty master can wait for ever
(`fastpty.errands`). Then nobody would learn that the worker has ended: its supervisor would neither replace it nor
stop, and the clients of its other sessions would wait. Nothing is closed by the end of a process whose table another
one shares. So a killed worker is gone at once, and its heir closes what it has left: connections first, then the
terminals, by errands.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import resource
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import NoReturn

from fastpty.errands.keeper import OWNER_CLIENTS, OWNER_ROUTER
from fastpty.errands.processes import Errands, may_pass_descriptors
from fastpty.system.linux import PR_SET_NAME, fork_sharing_files, prctl

_PTMX = os.makedev(5, 2)
_DESCRIPTORS_MOST = 65536  # looked at, as the limit may be 2³⁰; what is above is closed by the heir's own end
_GONE_SECONDS = 1.0
_RETRY_SECONDS = 0.01


class Heir:
    """This process's heir. To be made while there is one thread.

    Raises OSError where there can be none: valgrind and old filters of container engines refuse clone3(2).
    """

    def __init__(self) -> None:
        shared = mmap.mmap(-1, mmap.PAGESIZE)
        maker = os.pidfd_open(os.getpid())
        try:
            between = fork_sharing_files()
        except OSError:
            os.close(maker)
            raise
        if between == 0:
            _start(shared, maker)
        if os.waitpid(between, 0)[1] != 0:
            os.close(maker)
            raise OSError("no process can be started")
        (self._pidfd,) = struct.unpack_from("i", shared)

    def dismiss(self) -> None:
        """Ends it, so that this process's end closes everything."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        select.select([self._pidfd], [], [], _GONE_SECONDS)


def _start(shared: mmap.mmap, maker: int) -> NoReturn:
    """A child of a child, so that the worker has no child but its sessions' programs."""
    status = 1
    try:
        heir = fork_sharing_files()
        if heir == 0:
            os.setpgid(0, 0)
            prctl(PR_SET_NAME, b"fastpty-heir")
            select.select([maker], [], [])
            _close_all()
        struct.pack_into("i", shared, 0, os.pidfd_open(heir))
        status = 0
    finally:
        os._exit(status)


def _close_all() -> NoReturn:
    """The errands are this process's own: of the worker's it knows only what they were when it was made."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        errands = Errands()
        terminals = []
        for descriptor in _open_ones(but={*errands.descriptors()}):
            kind = os.fstat(descriptor)
            if stat.S_ISCHR(kind.st_mode) and kind.st_rdev == _PTMX:
                terminals.append(descriptor)
            elif stat.S_ISSOCK(kind.st_mode) and _is_guarded(descriptor):
                _close_elsewhere(errands, descriptor, OWNER_CLIENTS)
            else:
                os.close(descriptor)
        for descriptor in terminals:
            _close_elsewhere(errands, descriptor, OWNER_ROUTER)
    finally:
        os._exit(0)


def _open_ones(but: set[int]) -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for descriptor in range(3, min(most, _DESCRIPTORS_MOST)):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            if descriptor not in but:
                yield descriptor


def _is_guarded(descriptor: int) -> bool:
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:  # an O_PATH descriptor of a socket's file
        return False
    try:
        return may_pass_descriptors(connection)
    finally:
        connection.detach()


def _close_elsewhere(errands: Errands, descriptor: int, owner: int) -> None:
    while True:
        try:
            errands.take(descriptor, owner)
            return
        except OSError:  # nobody takes it now
            time.sleep(_RETRY_SECONDS)
