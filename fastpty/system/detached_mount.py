"""Directories of the outside that may be taken along into a jail: nothing else can be reached from them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from fastpty.system import child, linux

_SECONDS = 30.0


def open_detached(directory: Path) -> int:
    """A descriptor of this directory as the root of a mount of its own, which is mounted nowhere: `..` ends there.

    By an ordinary one a process in the jail that may look at ours (/proc/PID/fd) would get out. It takes rights over a
    mount namespace; who lacks them has them in one of a new user namespace. Raises OSError.
    """
    try:
        return _open(directory)
    except PermissionError:
        _, [fd] = child.ask("opening a directory", partial(_open_in_user_namespace, directory), _SECONDS)
        return fd


def _open(directory: Path) -> int:
    tree = linux.open_tree(str(directory), linux.OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)


def _open_in_user_namespace(directory: Path) -> child.Answer:
    """To be run in a child, which enters new namespaces."""
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    return b"", [_open(directory)]
