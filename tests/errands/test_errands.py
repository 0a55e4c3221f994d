"""System calls that a program or a client can make wait without end: they run in other processes and delay nobody."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import connected_as
from tests.support.harness import RAW_CAT, Client, Router, children, eventually, state
from tests.support.peers import need_root, preload
from tests.support.stuck import Stuck

UID, GID = 1, 1  # daemon: run-as peer needs an account
SO_PASSRIGHTS = 83


def echoes(client: Client, text: bytes) -> None:
    client.frame(0, payload=text)
    assert client.read_exactly(len(text)) == text


@pytest.mark.parametrize("what", ["write", "size", "settings"])
def test_a_program_stuck_in_the_kernel_on_its_terminal_stops_only_its_session(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path, what: str
) -> None:
    stuck = Stuck(start_router, directory, stuck_files, what)
    with stuck.cat() as other, stuck.stuck("page") as client:
        if what == "size":
            client.frame(100, 40)
        elif what == "settings":
            client.half_close()
        echoes(other, b"while its client is there")
        client.socket.close()
        for _ in range(100):
            echoes(other, b"after its client has left")
    assert stuck.router.end() == 0


def test_stuck_terminals_do_not_keep_other_terminals_open(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    """Each stuck close keeps one process busy. The log says how many there are."""
    stuck = Stuck(start_router, directory, stuck_files, "write")
    with stuck.stuck("one"), stuck.stuck("two"):
        pass
    with stuck.cat():
        pass
    stuck.router.wait_for_log("cannot be closed at once: 2 of at most 256 processes wait")
    stuck.router.wait_for_log("session 3: end: client left")
    assert stuck.router.end() == 0


def asleep(parent: int) -> list[int]:
    return [pid for pid in children(parent) if state(pid) == "S"]


def test_many_stuck_terminals_do_not_keep_other_terminals_open(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    stuck = Stuck(start_router, directory, stuck_files, "write")
    for number in range(20):
        stuck.stuck(f"page{number}").socket.close()
    with stuck.cat() as client:
        client.frame(0, payload=b"x")
        client.read_until(b"x")
        eventually(lambda: len(asleep(stuck.router.pid)) == 1, "one program waits for input, the others are stuck")
        terminal = os.readlink(f"/proc/{asleep(stuck.router.pid)[0]}/fd/0")
    eventually(lambda: not os.path.exists(terminal), "the other terminal is gone")
    assert stuck.router.end() == 0


# A kernel before 6.16 does not have SO_PASSRIGHTS.
OLDER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return level == SOL_SOCKET && option == 83 ? (errno = ENOPROTOOPT, -1) : real(fd, level, option, value, size);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
    int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
    return level == SOL_SOCKET && option == 83 ? (errno = ENOPROTOOPT, -1) : real(fd, level, option, value, size);
}
"""


def unsent() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection. The last close of the first blocks: its data waits for the other to read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    ours.setblocking(False)
    try:
        while True:
            ours.send(bytes(65536))
    except BlockingIOError:
        ours.setblocking(True)
    return ours, theirs


@pytest.fixture(params=["this kernel", "an older kernel"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The router's environment: none, or one in which SO_PASSRIGHTS does not exist."""
    return preload(tmp_path, OLDER) if request.param == "an older kernel" else {}


def pass_and_leave(client: Client) -> socket.socket:
    """Passes a descriptor whose last close blocks, if the socket accepts it; returns the connection's other end.

    The router has to be stopped meanwhile, or the close here could be the last one.
    """
    ours, theirs = unsent()
    try:
        socket.send_fds(client.socket, [b"typed"], [ours.fileno()])
    except PermissionError:
        client.send(b"typed")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()
    return theirs


@pytest.mark.parametrize("how", ["read", "unread", "refused", "at the statistics"])
def test_closing_a_descriptor_that_a_client_passed_delays_nobody(
    start_router: Callable[..., Router], directory: Path, kernel: dict[str, str], how: str
) -> None:
    rules: tuple[str, ...] = ()
    if how == "refused":
        need_root()
        rules = ("--deny-user", "daemon", "--chmod-socket=666")
    router = start_router(
        f"{directory}/s", "--forkptyrouter-stats", f"{directory}/stats", "--stop-timeout", "1", *rules,
        "--forkptyrouter-command", RAW_CAT, env=kernel, sockets=2,
    )  # fmt: skip
    where = f"{directory}/stats" if how == "at the statistics" else f"{directory}/s"
    processes = (router.process.pid, router.pid)
    with Client(f"{directory}/s") as other:
        other.read_until(b"READY")
        early = Client(where) if how == "read" else None
        if early:
            early.read_until(b"READY")
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        with early or Client(connected_as(where, UID, GID) if how == "refused" else where) as client:
            left = pass_and_leave(client)
            if how != "unread":
                for pid in processes:
                    os.kill(pid, signal.SIGCONT)
                client.read_until({"read": b"typed", "refused": b"refused"}.get(how, b"active_sessions"))
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        for text in (b"before", b"after"):
            other.send(text)
            assert other.read_exactly(len(text)) == text
        with Client(f"{directory}/stats") as statistics:
            assert b"active_sessions" in statistics.read_to_end()
    assert router.end() == 0
    left.close()


def test_a_client_that_passed_its_own_socket_to_the_router_can_leave(
    start_router: Callable[..., Router], directory: Path, kernel: dict[str, str]
) -> None:
    """On an older kernel the socket's own queue would keep it open if the router did not receive the descriptor."""
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=kernel)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        try:
            socket.send_fds(client.socket, [b"x"], [client.socket.fileno()])
        except PermissionError:
            client.send(b"x")
        client.read_exactly(1)
    router.wait_for_log("session 1: end: client left")


def test_no_socket_of_the_router_accepts_descriptors(start_router: Callable[..., Router], directory: Path) -> None:
    """Linux 6.16 and newer can refuse them."""
    start_router(f"{directory}/s", "--forkptyrouter-stats", f"{directory}/stats", sockets=2)
    for name in ("s", "stats"):
        with Client(f"{directory}/{name}") as client, socket.socket(socket.AF_UNIX) as can_refuse:
            try:
                can_refuse.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS)
            except OSError:
                return
            with pytest.raises(PermissionError):
                socket.send_fds(client.socket, [b"x"], [0])
