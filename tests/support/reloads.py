"""Configuration files that a test replaces, and sessions that show which one they started under."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.harness import Client, Router

ECHO = "stty -echo; echo {}; exec cat"


STUCK_ACCEPT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>
int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    while (access(STUCK, F_OK) == 0)
        pause();
    return real(fd, address, size, flags);
}
"""


def configured(path: Path, socket_path: str, *lines: str, word: str = "old") -> str:
    """Replaces the file `path`: its sessions print `word`, then echo. Returns the path."""
    command = f"forkptyrouter-command = {ECHO.format(word)}"
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(["[uwsgi]", f"forkpty-router = {socket_path}", command, *lines, ""]))
    fresh.rename(path)
    return str(path)


def greeted(path: str, word: str) -> Client:
    """A client whose session has printed `word`."""
    client = Client(path)
    client.read_until(word.encode() + b"\r\n")
    return client


def echoes(client: Client, text: bytes = b"are you there?\n") -> None:
    """Sends a line and waits until the session has printed it."""
    client.send(text)
    client.read_until(text.strip() + b"\r\n")


def reload(router: Router, count: int = 1) -> None:
    """Reloads the router and waits until it has done so `count` times since it started."""
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log(r"\] reloaded", count)
