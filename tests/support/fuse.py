"""A FUSE file system whose files never return or take data: a process that touches a mapped page of one blocks.

Every name is a file, and each look-up gives a new one. Needs no library: it uses /dev/fuse directly (linux/fuse.h). As
root, `python -m tests.support.fuse DIRECTORY` mounts it, prints `mounted`, and serves it until it is killed. It adds a
byte to `DIRECTORY.reads` for each read of a file that it has taken: even SIGKILL does not end a process that waits for
one of these. With `--silent` it answers no look-up either.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import tempfile
from typing import BinaryIO

INIT, LOOKUP, GETATTR, OPEN, OPENDIR = 26, 1, 3, 14, 27
READ, WRITE, FORGET, BATCH_FORGET, INTERRUPT = 15, 16, 2, 42, 36
_SIZE = 4096
_ROOT = 1
_CONFIG = "rootmode=40000,user_id={uid},group_id={gid},allow_other"
_MAJOR, _MINOR = 10, 229  # fuse, in the kernel's list of devices


def device() -> int:
    """Opens /dev/fuse, or a new device node if that fails. Raises OSError if the kernel has no FUSE."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/fuse"
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(_MAJOR, _MINOR))
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def mount(fuse: int, directory: str, uid: int, gid: int) -> None:
    """Mounts the file system, so that all users may access it."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fuse},{_CONFIG.format(uid=uid, gid=gid)}"
    if libc.mount(b"stuck", directory.encode(), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _attributes(node: int) -> bytes:
    mode = 0o40755 if node == _ROOT else 0o100644
    return struct.pack(
        "<QQQQQQIIIIIIIIII", node, _SIZE, 8, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0
    )


def serve(fuse: int, reads: BinaryIO, *, silent: bool) -> None:
    """Answers all requests except reads and writes of files, adding a byte to `reads` for each read.

    silent: answers nothing after the mount.
    """
    node_of_last_file = _ROOT
    while True:
        request = os.read(fuse, 1 << 17)
        _, kind, unique, node, *_ = struct.unpack_from("<IIQQIIII", request)
        if kind == READ:
            reads.write(b".")
        if kind in (READ, WRITE, FORGET, BATCH_FORGET, INTERRUPT) or (silent and kind != INIT):
            continue
        error, answer = 0, b""
        if kind == INIT:
            answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 4096, 1, 1, 0, 0)
        elif kind == LOOKUP:
            node_of_last_file += 1
            answer = struct.pack("<QQQQII", node_of_last_file, 0, 0, 0, 0, 0) + _attributes(node_of_last_file)
        elif kind == GETATTR:
            answer = struct.pack("<QII", 3600, 0, 0) + _attributes(node)
        elif kind in (OPEN, OPENDIR):
            answer = struct.pack("<QII", 1, 0, 0)
        else:
            error = -errno.ENOSYS
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def main() -> None:
    fuse = device()
    silent = "--silent" in sys.argv
    with open(os.devnull if silent else f"{sys.argv[1]}.reads", "ab", buffering=0) as reads:
        mount(fuse, sys.argv[1], os.getuid(), os.getgid())
        print("mounted", flush=True)
        serve(fuse, reads, silent=silent)


if __name__ == "__main__":
    main()
