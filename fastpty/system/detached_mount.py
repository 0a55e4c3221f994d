"""Directories of the outside that may be taken along into a jail: nothing else can be reached from them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import NoReturn

from fastpty.system import linux


def open_detached(directory: Path) -> int:
    """A descriptor of this directory as the root of a mount of its own, which is mounted nowhere: `..` ends there.

    By an ordinary one a process in the jail that may look at ours (/proc/PID/fd) would get out. It takes rights over a
    mount namespace; who lacks them has them in one of a new user namespace. Raises OSError.
    """
    try:
        return _open(directory)
    except PermissionError:
        return _open_in_child(directory)


def _open(directory: Path) -> int:
    tree = linux.open_tree(str(directory), linux.OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)


def _open_in_child(directory: Path) -> int:
    ours, its = socket.socketpair()
    with ours:
        child = os.fork()
        if child == 0:
            _hand_over(directory, its)
        its.close()
        said, found, _, _ = socket.recv_fds(ours, 16, 1, socket.MSG_CMSG_CLOEXEC)
    with contextlib.suppress(ChildProcessError):  # where whoever started us had SIGCHLD ignored
        os.waitpid(child, 0)
    if not found:
        number = int(said or errno.EIO)
        raise OSError(number, os.strerror(number))
    return found[0]


def _hand_over(directory: Path, channel: socket.socket) -> NoReturn:
    """In a child: sends the descriptor, or why there is none."""
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        socket.send_fds(channel, [b"0"], [_open(directory)])
    except OSError as error:
        channel.send(b"%d" % (error.errno or errno.EIO))
    finally:
        os._exit(0)
