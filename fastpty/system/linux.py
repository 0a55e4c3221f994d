"""Linux system calls that Python 3.11 lacks, through ctypes. Each raises OSError when it fails.

Names and numbers are those of the C headers (sched.h, mount.h, prctl.h, capability.h).
"""

from __future__ import annotations

import ctypes
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWTIME = 0x0000_0080
CLONE_FILES = 0x0000_0400
CLONE_NEWNS = 0x0002_0000
CLONE_SYSVSEM = 0x0004_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOATIME = 1024
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

OPEN_TREE_CLONE = 1
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1

RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8

MNT_FORCE = 1
MNT_DETACH = 2

SECBIT_NOROOT = 1

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_GET_SECUREBITS = 27
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

# The same on all of Python's architectures; glibc has these calls since 2.36.
_SYS_OPEN_TREE = 428
_SYS_CLONE3 = 435
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_STATFS_WORDS_MOST = 32  # more than struct statfs has, which begins with f_type
_CAPABILITY_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _path(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unshare(flags: int) -> None:
    """unshare(2) of the CLONE_ flags."""
    _call("unshare", ctypes.c_int(flags))


def setns(fd: int, flags: int) -> None:
    """setns(2). `fd` is a namespace's file, or a pidfd with the namespaces in `flags`."""
    _call("setns", ctypes.c_int(fd), ctypes.c_int(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    _call("mount", _path(source), _path(target), _path(kind), ctypes.c_ulong(flags), _path(data))


def umount(target: str, flags: int) -> None:
    """umount2(2)."""
    _call("umount2", _path(target), ctypes.c_int(flags))


def fork_sharing_files() -> int:
    """As fork(2), but the child shares the table of descriptors (clone3(2), Linux 5.3). Only with one thread."""
    arguments = (ctypes.c_uint64 * 8)(CLONE_FILES, 0, 0, 0, signal.SIGCHLD)
    return _call("syscall", ctypes.c_long(_SYS_CLONE3), arguments, ctypes.c_size_t(ctypes.sizeof(arguments)))


def open_tree(path: str, flags: int) -> int:
    """open_tree(2), Linux 5.2: an O_PATH descriptor, with OPEN_TREE_CLONE of a new mount that is attached nowhere."""
    arguments = (ctypes.c_int(_AT_FDCWD), _path(path), ctypes.c_uint(flags))
    return _call("syscall", ctypes.c_long(_SYS_OPEN_TREE), *arguments)


def openat2(path: str, flags: int, resolve: int, dir_fd: int = _AT_FDCWD) -> int:
    """openat2(2) with the RESOLVE_ flags, Linux 5.6; close-on-exec. A relative path begins at `dir_fd`."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    arguments = (ctypes.c_int(dir_fd), _path(path), how, ctypes.c_size_t(ctypes.sizeof(how)))
    return _call("syscall", ctypes.c_long(_SYS_OPENAT2), *arguments)


def file_system_type(fd: int) -> int:
    """The number of the file system's kind, as in linux/magic.h (fstatfs(2))."""
    status = (ctypes.c_long * _STATFS_WORDS_MOST)()
    _call("fstatfs", ctypes.c_int(fd), status)
    return status[0]


def make_read_only(tree: int) -> None:
    """mount_setattr(2), Linux 5.12: makes the mount `tree` and all mounts below it read-only."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _call("syscall", ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_int(tree), b"", flags, attributes, size)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _call("pivot_root", _path(new), _path(old))


def prctl(option: int, value: int | bytes = 0, third: int = 0) -> int:
    """prctl(2). Returns its result."""
    second = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    return _call("prctl", ctypes.c_int(option), second, ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_CapabilityData = ctypes.c_uint32 * 6  # twice effective, permitted, inheritable: the low and the high 32 bits


def capget() -> tuple[int, int, int]:
    """Returns this process's effective, permitted and inheritable capabilities, as masks."""
    data = _CapabilityData()
    _call("capget", ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), ctypes.byref(data))
    low, high = data[:3], data[3:]
    effective, permitted, inheritable = (a | b << 32 for a, b in zip(low, high, strict=True))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Sets the three sets of this process, from masks."""
    masks = (effective, permitted, inheritable)
    data = _CapabilityData(*(mask & 0xFFFF_FFFF for mask in masks), *(mask >> 32 for mask in masks))
    _call("capset", ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), ctypes.byref(data))
