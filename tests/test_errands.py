"""What a session's program or a client prepares so that whoever meets it waits for ever: the others do not notice."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.accounts import connected_as
from tests.harness import RAW_CAT, Client, Router, eventually, frame, process_gone, state
from tests.peers import need, need_root

UID, GID = 1, 1  # daemon: run-as peer needs an account

# A page of a file that never gives its bytes, and what to do with it in the terminal.
STUCK = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct termios settings;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open(words[2], O_RDWR), 0);
    tcgetattr(0, &settings);
    cfmakeraw(&settings);
    tcsetattr(0, TCSANOW, &settings);
    dprintf(1, "pid %d READY", getpid());
    if (strcmp(words[1], "write") == 0)
        return write(1, page, 100);
    if (strcmp(words[1], "size") == 0)
        return ioctl(0, TIOCGWINSZ, page);
    while (access(words[3], F_OK) != 0)
        usleep(10000);
    if (fork() == 0) {
        usleep(300000);
        return tcsetattr(0, TCSANOW, &settings);
    }
    return read(0, page, 4096);
}
"""


@pytest.fixture
def stuck_files(directory: Path) -> Iterator[Path]:
    """A directory whose files never give their bytes; at the end whoever waits for them goes on."""
    need_root()
    mounted = directory / "mounted"
    mounted.mkdir()
    with subprocess.Popen([sys.executable, "-m", "tests.fuse", str(mounted)], stdout=subprocess.PIPE) as fuse:
        assert fuse.stdout is not None
        assert fuse.stdout.readline() == b"mounted\n"
        yield mounted
        fuse.kill()
    subprocess.run(["umount", "-l", mounted], check=True)


def echoes(client: Client, text: bytes) -> None:
    client.socket.settimeout(6)
    client.frame(0, payload=text)
    assert client.read_exactly(len(text)) == text


@pytest.mark.parametrize("what", ["write", "size", "settings"])
def test_a_program_that_holds_its_terminal_in_the_kernel_stops_nobody_else(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path, what: str
) -> None:
    path = f"{directory}/u"
    (directory / "stuck.c").write_text(STUCK)
    subprocess.run([need("cc"), "-o", "stuck", "stuck.c"], cwd=directory, check=True)
    program = f"exec {directory}/stuck {what} {stuck_files}/page {directory}/typed"
    command = f'read what; if [ "$what" = cat ]; then {RAW_CAT}; fi; {program}'
    router = start_router(
        "--run-as", "peer", "--chmod-socket=666", "--stop-timeout", "1", "--forkptyrouter-command", command,
        "--forkpty-urouter", path,
    )  # fmt: skip
    with Client(connected_as(path, UID, GID)) as other, Client(connected_as(path, UID, GID)) as client:
        other.frame(0, payload=b"cat\n")
        other.read_until(b"READY")
        client.frame(0, payload=b"stuck\n")
        leader = int(client.read_until(b"pid ", b" READY").split()[-2])
        client.frame(0, payload=b"x" * 300)
        (directory / "typed").touch()
        eventually(lambda: "request_wait_answer" in Path(f"/proc/{leader}/wchan").read_text(), "the program is stuck")
        for size in range(40, 50):
            client.frame(100, size)
        client.half_close()
        echoes(other, b"while its client is there")
        client.socket.close()
        echoes(other, b"after its client has left")
        router.wait_for_log("session 2: start")
    assert router.end() == 0
