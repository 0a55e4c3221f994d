"""Many idle sessions. Several processes hold the clients, because a process has a limit of descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers import Peer

CLIENTS_A_PROCESS = 5000


@contextmanager
def crowd(peer: Peer, count: int) -> Iterator[None]:
    """Keeps this many idle sessions open until the end of the block; RuntimeError if one does not start."""
    done_read, done_write = os.pipe()
    leave_read, leave_write = os.pipe()
    shares = [min(CLIENTS_A_PROCESS, count - begun) for begun in range(0, count, CLIENTS_A_PROCESS)]
    pids = [_clients(peer, share, done_write, leave_read, leave_write) for share in shares]
    os.close(done_write)
    os.close(leave_read)
    try:
        if sum(len(os.read(done_read, 1)) for _ in shares) < len(shares):
            raise RuntimeError(f"{peer.name}: not all of {count} sessions began")
        yield
    finally:
        os.close(leave_write)
        os.close(done_read)
        for pid in pids:
            os.waitpid(pid, 0)


def _clients(peer: Peer, count: int, done_write: int, leave_read: int, leave_write: int) -> int:
    pid = os.fork()
    if pid > 0:
        return pid
    try:
        os.close(leave_write)
        sessions = [peer.session("idle") for _ in range(count)]
        os.write(done_write, b".")
        os.read(leave_read, 1)
        del sessions
    finally:
        os._exit(0)
