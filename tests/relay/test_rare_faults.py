"""Rare failures of system calls, simulated by a preloaded library: the router reports each and goes on."""

from __future__ import annotations

import random
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, RAW_CAT, Client, Router, eventually
from tests.support.peers import preload
from tests.support.programs import broken_program
from tests.support.statistics import read_statistics

# A fault happens while a file of its name exists. Each time it appends a byte to the file NAME.times_met.
SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int happens(const char *name)
{
    char path[256];
    int times_met;
    snprintf(path, sizeof path, "%s/%s", FAULTS, name);
    if (access(path, F_OK) != 0)
        return 0;
    strcat(path, ".times_met");
    times_met = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    syscall(SYS_write, times_met, "x", 1);
    close(times_met);
    return 1;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int is(int fd, mode_t type)
{
    struct stat what;
    return fstat(fd, &what) == 0 && (what.st_mode & S_IFMT) == type;
}

/* True if the call on this descriptor, a client's socket or a program's terminal, is to fail. */
static int happens_to(const char *call, int fd)
{
    char name[64];
    unsigned number;
    int peer = is(fd, S_IFSOCK);
    snprintf(name, sizeof name, "%s-%s", call, peer ? "peer" : "terminal");
    return (peer || ioctl(fd, TIOCGPTN, &number) == 0) && happens(name);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    char link[64], what[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    readlink(link, what, sizeof what - 1);
    if (operation == EPOLL_CTL_ADD && event->events & EPOLLEXCLUSIVE && happens("no-listener"))
        return fail(ENOSPC);
    if (operation == EPOLL_CTL_ADD && strstr(what, "pidfd") && happens("no-leader"))
        return fail(ENOSPC);
    if (operation == EPOLL_CTL_MOD && event->events & EPOLLOUT && happens_to("watch", fd))
        return fail(ENOMEM);
    return syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

/* Every other call: the router then refuses the client. */
int accept4(int listener, struct sockaddr *address, socklen_t *size, int flags)
{
    static int calls;
    if (happens("accept") && calls++ % 2 == 0)
        return fail(ENOMEM);
    return syscall(SYS_accept4, listener, address, size, flags);
}

/* A killed process that is stuck in the kernel, or is traced, cannot be reaped. */
int waitid(idtype_t kind, id_t number, siginfo_t *info, int options)
{
    while (kind == P_PIDFD && happens("undead")) {
        memset(info, 0, sizeof *info);
        if (options & WNOHANG)
            return 0;
        usleep(10000);
    }
    return syscall(SYS_waitid, kind, number, info, options, NULL);
}

ssize_t read(int fd, void *data, size_t size)
{
    return happens_to("read", fd) ? fail(ENOMEM) : syscall(SYS_read, fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (!is(fd, S_IFSOCK) && happens_to("closed", fd))
        return fail(EIO);
    return happens_to("write", fd) ? fail(ENOBUFS) : syscall(SYS_write, fd, data, size);
}

ssize_t splice(int source, off_t *from, int target, off_t *to, size_t size, unsigned flags)
{
    if (happens(is(target, S_IFIFO) ? "splice-in" : "splice-out"))
        return fail(ENOMEM);
    return syscall(SYS_splice, source, from, target, to, size, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static struct timespec last;
    if (clock == CLOCK_MONOTONIC && last.tv_sec != 0 && access(FAULTS "/frozen", F_OK) == 0)
        *now = last;
    else if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
    if (clock == CLOCK_MONOTONIC)
        last = *now;
    return 0;
}
"""


class Faults:
    """The faults of one router: switched on and off, and counted."""

    def __init__(self, directory: Path):
        self._directory = directory / "faults"
        self._directory.mkdir(mode=0o777)
        self.environment = preload(directory, SHIM, f'FAULTS="{self._directory}"')

    def begin(self, name: str) -> None:
        (self._directory / name).touch()

    def end(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)

    def times_met(self, name: str) -> int:
        """How often the fault has happened."""
        path = self._directory / f"{name}.times_met"
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def faults(directory: Path) -> Faults:
    return Faults(directory)


def echoes(client: Client, text: bytes = b"still here") -> None:
    client.send(text)
    assert client.read_exactly(len(text)) == text


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        *(("--forkpty-router", f"{call}-{side}") for call in ("read", "write") for side in ("peer", "terminal")),
        *(("--pty-socket", f"{call}-{side}") for call in ("read", "write") for side in ("peer", "terminal")),
        ("--forkpty-router", "splice-in"),
        ("--forkpty-router", "splice-out"),
    ],
)
def test_a_moment_without_memory_in_the_kernel_costs_no_byte(
    start_router: Callable[..., Router], directory: Path, faults: Faults, option: str, fault: str
) -> None:
    start_router(option, f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    data = random.Random(fault).randbytes(300_000)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.socket.setblocking(False)
        faults.begin(fault)
        echoed, sent = bytearray(), 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(echoed) < len(data):
            assert time.monotonic() < deadline, f"{len(echoed)} bytes came back of {sent}"
            select.select([client.socket], [], [], 0.01)
            with suppress(BlockingIOError):
                sent += client.socket.send(data[sent:])
            with suppress(BlockingIOError):
                more = client.socket.recv(65_536)
                assert more, f"ended after {len(echoed)} bytes"
                echoed += more
            if faults.times_met(fault):
                faults.end(fault)
    assert echoed == data
    assert faults.times_met(fault)


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        *(("--forkpty-router", f"{call}-{side}") for call in ("read", "write") for side in ("peer", "terminal")),
        ("--pty-socket", "read-peer"),
        ("--pty-socket", "write-peer"),
        ("--pty-socket", "write-terminal"),
    ],
)
def test_a_session_without_memory_in_the_kernel_ends_after_a_while_and_says_why(
    start_router: Callable[..., Router], directory: Path, faults: Faults, option: str, fault: str
) -> None:
    router = start_router(option, f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        faults.begin(fault)
        client.send(b"a")
        assert client.read_to_end() == b"READY\r\nfastpty: the router had no memory left for the session\r\n"
        assert 2 <= faults.times_met(fault) < 200, "it is tried again, and not without a pause"
    router.wait_for_log("end: out of memory")
    faults.end(fault)


@pytest.mark.parametrize("option", ["--forkpty-router", "--pty-socket"])
def test_input_that_a_closed_terminal_refuses_is_written_when_the_terminal_is_open_again(
    start_router: Callable[..., Router], directory: Path, faults: Faults, option: str
) -> None:
    """The router may write at the very moment at which the program has closed the terminal to open it again."""
    start_router(option, f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        faults.begin("closed-terminal")
        client.send(b"kept")
        eventually(lambda: faults.times_met("closed-terminal"), "the terminal has refused the input")
        faults.end("closed-terminal")
        client.read_until(b"kept")
        echoes(client)


@pytest.mark.parametrize("option", ["--forkpty-router", "--pty-socket"])
@pytest.mark.parametrize("fault", ["watch-peer", "watch-terminal"])
def test_a_channel_whose_target_epoll_does_not_watch_goes_on_when_there_is_room(
    start_router: Callable[..., Router], directory: Path, faults: Faults, option: str, fault: str
) -> None:
    start_router(option, f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    data = random.Random(fault).randbytes(600_000)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.socket.setblocking(False)
        faults.begin(fault)
        sent = 0

        def refused() -> bool:
            """Sends as much as the router takes. The echo fills both directions up."""
            nonlocal sent
            with suppress(BlockingIOError):
                sent += client.socket.send(data[sent : sent + 65_536])
            return faults.times_met(fault) >= 2

        eventually(refused, "epoll has refused to watch, and was asked again")
        faults.end(fault)
        echoed = bytearray()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(echoed) < len(data):
            assert time.monotonic() < deadline, f"{len(echoed)} bytes came back of {sent}"
            select.select([client.socket], [], [], 0.01)
            with suppress(BlockingIOError):
                sent += client.socket.send(data[sent:])
            with suppress(BlockingIOError):
                echoed += client.socket.recv(65_536)
    assert echoed == data


def test_a_client_for_which_there_is_no_memory_gets_a_message(
    start_router: Callable[..., Router], directory: Path, faults: Faults
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    faults.begin("accept")
    with Client(f"{directory}/s") as client:
        refusal = b"fastpty: the router has no memory left for another session; try again later\r\n"
        assert client.read_to_end() == refusal
    faults.end("accept")
    router.wait_for_log("a client was not accepted: Cannot allocate memory")
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")


def test_adding_a_listener_to_epoll_is_retried(
    start_router: Callable[..., Router], directory: Path, faults: Faults
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    faults.begin("no-listener")
    with Client(f"{directory}/s") as first:
        first.read_until(b"READY")
        eventually(lambda: faults.times_met("no-listener") >= 4, "it was tried again")
        faults.end("no-listener")
        with Client(f"{directory}/s") as second:
            second.read_until(b"READY")
            echoes(second)
        echoes(first)
    assert router.log.count("a client was not accepted: No space left") == 1


def test_a_killed_leader_that_does_not_end_delays_nobody(
    start_router: Callable[..., Router], directory: Path, faults: Faults
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=faults.environment)
    with Client(f"{directory}/s") as steady:
        steady.read_until(b"READY")
        faults.begin("no-leader")
        faults.begin("undead")
        with Client(f"{directory}/s") as client:
            assert b"the kernel's limit of epoll watches is reached" in client.read_to_end()
        eventually(lambda: faults.times_met("undead"), "the router has tried to reap the leader")
        echoes(steady)
        faults.end("undead")
        router.wait_for_log("session 2: end: client left, killed by SIGKILL")
        echoes(steady)


def test_a_second_stop_signal_cuts_the_wait_for_clients_short(
    start_router: Callable[..., Router], directory: Path, faults: Faults
) -> None:
    """The router's clock stands still, so a deadline would never come."""
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "printf BYE", env=faults.environment)
    with Client(f"{directory}/s") as client:
        assert client.read_to_end() == b"BYE"
        faults.begin("frozen")
        router.process.send_signal(signal.SIGTERM)
        router.wait_for_log("SIGTERM")
        assert router.end() == 0
    assert "end: exit, exit status 0" in router.log


@pytest.mark.parametrize(
    ("command", "line"), [("/bin/true", "end: exit"), ("broken", "cannot start the shared terminal")]
)
def test_a_shared_program_that_has_ended_does_not_keep_its_worker(
    start_router: Callable[..., Router], directory: Path, command: str, line: str
) -> None:
    numbers = f"{directory}/stats"
    program = broken_program(directory) if command == "broken" else command
    router = start_router(
        "--pty-socket", f"{directory}/s", "--pty-once", "--pty-exec", program, "--idle", "1",
        "--forkptyrouter-stats", numbers, sockets=2,
    )  # fmt: skip
    router.wait_for_log(line)
    accepted = read_statistics(numbers)["workers"][0]["accepted"]
    assert accepted == (1 if command == "/bin/true" else 0)
    router.wait_for_log("no worker runs until a client connects")


def test_input_after_a_shared_program_closed_its_terminal_goes_to_the_next_program(
    start_router: Callable[..., Router], directory: Path
) -> None:
    first = f"touch {directory}/second; printf FIRST; head -c 1; exec <&- >&- 2>&-; : > {directory}/closed; sleep 9"
    router = start_router(
        "--pty-socket", f"{directory}/s", "--stop-timeout", "1",
        "--pty-exec", f"stty raw -echo; [ -e {directory}/second ] || {{ {first}; }}; printf SECOND; exec cat",
    )  # fmt: skip
    with Client(f"{directory}/s") as client:
        client.read_until(b"FIRST")
        client.send(b"x")
        eventually((directory / "closed").exists, "the first program has closed its terminal")
        client.send(b"for the second")
        client.read_until(b"SECOND", b"for the second")
    router.wait_for_log("start: the shared terminal", 2)
