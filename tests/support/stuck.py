"""A router whose sessions run a program that gets stuck in the kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.accounts import connected_as
from tests.support.harness import RAW_CAT, Client, Router, children, eventually, state
from tests.support.peers import need

UID, GID = 1, 1  # daemon: run-as peer needs an account
OTHER_UID = 2  # bin

# Maps a page of a file whose reads never end, and uses it in a call on the terminal.
STUCK = r"""
#include <fcntl.h>
#include <signal.h>
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
    if (strcmp(words[1], "apart") == 0) {   /* in a process group of its own, so that the session ends without it */
        if (fork() != 0)
            return pause();
        signal(SIGTTOU, SIG_IGN);
        setpgid(0, 0);
    }
    tcgetattr(0, &settings);
    cfmakeraw(&settings);
    tcsetattr(0, TCSANOW, &settings);
    dprintf(1, "pid %d READY", getpid());
    if (strcmp(words[1], "write") == 0 || strcmp(words[1], "apart") == 0)
        return write(1, page, 100);
    if (strcmp(words[1], "size") == 0)
        return ioctl(0, TIOCGWINSZ, page);
    while (access(words[3], F_OK) != 0)
        usleep(10000);
    if (fork() == 0) {
        usleep(300000);   /* until its parent reads */
        return tcsetattr(0, TCSANOW, &settings);
    }
    return read(0, page, 4096);
}
"""


class Stuck:
    """A `run-as peer` router. A session's first line says whether it runs cat or the program that blocks."""

    def __init__(
        self, start_router: Callable[..., Router], directory: Path, files: Path, what: str, *options: str
    ) -> None:
        (directory / "stuck.c").write_text(STUCK)
        subprocess.run([need("cc"), "-o", "stuck", "stuck.c"], cwd=directory, check=True)
        program = f'exec {directory}/stuck {what} "{files}/$what" {directory}/typed'
        command = f'read what; if [ "$what" = cat ]; then {RAW_CAT}; fi; {program}'
        self.path = f"{directory}/u"
        self.typed = directory / "typed"
        self._reads = Path(f"{files}.reads")
        self.router = start_router(
            "--run-as", "peer", "--chmod-socket=666", "--stop-timeout", "1", "--forkptyrouter-command", command,
            "--forkpty-urouter", self.path, *options,
        )  # fmt: skip

    def cat(self, uid: int = UID) -> Client:
        client = Client(connected_as(self.path, uid, GID))
        client.frame(0, payload=b"cat\n")
        client.read_until(b"READY")
        return client

    def gives_a_session(self) -> bool:
        """True if a client gets a session."""
        with Client(connected_as(self.path, UID, GID)) as client:
            client.frame(0, payload=b"cat\n")
            return not client.socket.recv(7).startswith(b"fastpty")

    def stuck(self, file: str) -> Client:
        """A client whose program blocks in the kernel on this file, where not even SIGKILL ends it."""
        reads = self._reads.stat().st_size
        client = Client(connected_as(self.path, UID, GID))
        client.frame(0, payload=file.encode() + b"\n")
        blocked = int(client.read_until(b"pid ", b" READY").split()[-2])
        client.frame(0, payload=b"x" * 300)
        self.typed.touch()
        wchan = Path(f"/proc/{blocked}/wchan")
        eventually(lambda: "request_wait_answer" in wchan.read_text(), "the program is stuck")
        eventually(lambda: self._reads.stat().st_size > reads, "its read has been taken")
        eventually(lambda: all(state(child) == "D" for child in children(blocked)), "what it has started is, too")
        return client
