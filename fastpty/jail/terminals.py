"""Where sessions get their terminals inside the jail.

In a root that may be somebody else's, a path can wait for ever (FUSE), and /dev/ptmx can be another device. So it is
looked for once, in a child with a deadline. The sessions open the `ptmx` of the directory that was found: it answers
from the kernel's own data, and nothing that is mounted inside later gets in between.
"""

from __future__ import annotations

import errno
import os
import stat

from fastpty.errors import FastptyError
from fastpty.system import child, linux

_PTMX = os.makedev(5, 2)
_MASTER_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY
_BELOW = linux.RESOLVE_NO_XDEV | linux.RESOLVE_NO_SYMLINKS | linux.RESOLVE_NO_MAGICLINKS | linux.RESOLVE_BENEATH
_SECONDS = 5.0

# linux/magic.h: devpts, and file systems that need no other process to answer: tmpfs and devtmpfs, ext, xfs, btrfs.
_DEVPTS = 0x1CD1
_ANSWERING = frozenset((_DEVPTS, 0x0102_1994, 0xEF53, 0x5846_5342, 0x9123_683E))

_HINT = "mount /dev, or a devpts with ptmxmode=666 on /dev/pts and a link /dev/ptmx to pts/ptmx, see docs/jails.md"


def check() -> None:
    """Raises FastptyError if no terminal can be opened here, in a root that is the router's own."""
    try:
        os.close(os.open("/dev/ptmx", _MASTER_FLAGS))
    except OSError as error:
        raise _unusable(error) from error


def find() -> int:
    """A descriptor of the directory whose `ptmx` opens the terminals of this root. Raises FastptyError."""
    try:
        _, [directory] = child.ask("looking for /dev/ptmx", _find, _SECONDS)
    except TimeoutError as error:
        raise FastptyError(
            f"no terminal can be opened in the jail: /dev does not answer within {_SECONDS:g} s"
        ) from error
    except OSError as error:
        raise _unusable(error) from error
    os.set_inheritable(directory, False)
    return directory


def _find() -> child.Answer:
    dev = linux.openat2("/dev", _DIRECTORY_FLAGS, linux.RESOLVE_NO_MAGICLINKS)
    ptmx = linux.openat2("ptmx", os.O_PATH, linux.RESOLVE_NO_MAGICLINKS, dev)
    if not _is_ptmx(ptmx):
        raise OSError(errno.ENODEV, "it is not the character device 5:2")
    is_in_devpts = linux.file_system_type(ptmx) == _DEVPTS
    try:
        devpts = linux.openat2("pts", _DIRECTORY_FLAGS, linux.RESOLVE_NO_MAGICLINKS, dev)
        if linux.file_system_type(devpts) != _DEVPTS or (is_in_devpts and not _are_in_one_file_system(devpts, ptmx)):
            raise OSError(errno.ENODEV, "its devpts is not mounted on /dev/pts")
        _try(devpts)
    except OSError:
        if is_in_devpts:
            raise
    else:
        return b"", [devpts]
    # A devpts may keep its own ptmx to root, as Debian's does, while a node in /dev is for all. For such a node the
    # kernel takes the devpts beside it.
    if linux.file_system_type(dev) not in _ANSWERING:
        raise OSError(errno.EPERM, "its file system may depend on another process")
    _try(dev)
    return b"", [dev]


def _try(directory: int) -> None:
    """Raises OSError if no terminal can be opened by the `ptmx` in this directory."""
    os.close(linux.openat2("ptmx", _MASTER_FLAGS, _BELOW, directory))


def _are_in_one_file_system(one: int, other: int) -> bool:
    return os.fstat(one).st_dev == os.fstat(other).st_dev


def _is_ptmx(fd: int) -> bool:
    found = os.fstat(fd)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _PTMX


def _unusable(error: OSError) -> FastptyError:
    return FastptyError(f"no terminal can be opened in the jail: /dev/ptmx: {error.strerror}: {_HINT}")
