"""Kernels that refuse to splice to or from a tty, simulated by a splice(2) that fails as theirs does."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.harness import RAW_CAT, Client, Router
from tests.support.peers import preload

SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t splice(int source, off_t *source_offset, int target, off_t *target_offset, size_t size, unsigned flags)
{
    if (isatty(REFUSED)) {
        write(2, "splice refused\\n", 15);
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_splice, source, source_offset, target, target_offset, size, flags);
}
"""


@pytest.mark.parametrize("refused", ["source", "target"])
def test_if_splice_is_refused_read_and_write_take_over_and_no_byte_is_lost(
    start_router: Callable[..., Router], directory: Path, refused: str
) -> None:
    router = start_router(
        f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=preload(directory, SHIM, f"REFUSED={refused}")
    )
    data = random.Random(refused).randbytes(3 << 20)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.socket.setblocking(False)
        echoed, sent = bytearray(), 0
        while len(echoed) < len(data):
            if sent < len(data):
                with suppress(BlockingIOError):
                    sent += client.socket.send(data[sent : sent + 400_000])
            with suppress(BlockingIOError):
                echoed += client.socket.recv(65_536)
    assert hashlib.sha256(echoed).digest() == hashlib.sha256(data).digest()
    assert router.wait_for_log("splice refused")
    assert router.log.count("splice refused") == 1
