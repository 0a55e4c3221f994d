"""The heir of a worker: a process that shares the worker's descriptor table (CLONE_FILES) and outlives it.

A killed process closes its descriptors before it is gone, and the last close of a pty master can block for ever
(`fastpty.errands`). The supervisor would then neither replace the worker nor stop, and the clients of its other
sessions would wait. The end of a process closes nothing while another process shares its table. So a killed worker is
gone at once, and its heir closes what it leaves: connections first, then the terminals, by errands.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator

from fastpty.errands.keeper import OWNER_CLIENTS, OWNER_ROUTER
from fastpty.errands.processes import Errands
from fastpty.system import child
from fastpty.system.linux import PR_SET_NAME, fork_sharing_files, prctl
from fastpty.system.passed_descriptors import may_pass_descriptors
from fastpty.system.readable import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_PTMX = os.makedev(5, 2)
_DESCRIPTORS_MOST = 65536  # the limit may be 2³⁰; the kernel closes higher ones when the heir ends
_GONE_SECONDS = 1.0
_RETRY_SECONDS = 0.01


class Heir:
    """This process's heir. Create it while the process has one thread.

    Raises OSError if it cannot be started: valgrind and old seccomp filters of container engines refuse clone3(2).
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
        """Kills the heir, so that the end of this process closes its descriptors."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        readable(self._pidfd, seconds=_GONE_SECONDS)


def _start(shared: mmap.mmap, maker: int) -> NoReturn:
    """Starts the heir as a grandchild, so that the worker has no children but its sessions' programs."""
    status = 1
    try:
        heir = fork_sharing_files()
        if heir == 0:
            os.setpgid(0, 0)
            prctl(PR_SET_NAME, b"fastpty-heir")
            readable(maker)
            _close_all()
        struct.pack_into("i", shared, 0, os.pidfd_open(heir))
        status = 0
    finally:
        os._exit(status)


def _close_all() -> NoReturn:
    """Closes all descriptors, with errands of the heir's own: the worker may have replaced its keeper since."""
    try:
        child.replace_standard_descriptors()
        errands = Errands()
        terminals = []
        for descriptor in _open_descriptors(but={*errands.descriptors()}):
            kind = os.fstat(descriptor)
            if stat.S_ISCHR(kind.st_mode) and kind.st_rdev == _PTMX:
                terminals.append(descriptor)
            elif stat.S_ISSOCK(kind.st_mode) and _may_hold_passed_descriptors(descriptor):
                _close_elsewhere(errands, descriptor, OWNER_CLIENTS)
            else:
                os.close(descriptor)
        for descriptor in terminals:
            _close_elsewhere(errands, descriptor, OWNER_ROUTER)
    finally:
        os._exit(0)


def _open_descriptors(but: set[int]) -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for descriptor in range(3, min(most, _DESCRIPTORS_MOST)):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
            if descriptor not in but:
                yield descriptor


def _may_hold_passed_descriptors(descriptor: int) -> bool:
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
        except OSError:  # the queue is full, or no process can be started
            time.sleep(_RETRY_SECONDS)
