"""Opens directories that a jailed process may hold: nothing above them can be reached through them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from fastpty.system import child, linux

_SECONDS = 30.0


def open_detached(directory: Path) -> int:
    """Opens a directory as the root of a mount that is attached nowhere, so that `..` leads nowhere. Raises OSError.

    Through an ordinary descriptor, a process in the jail that may read /proc/PID/fd could leave the jail. The mount
    needs CAP_SYS_ADMIN. For a process without it, a child makes the mount in a new user namespace.
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
    """Run it in a child: it enters new namespaces."""
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    return b"", [_open(directory)]
