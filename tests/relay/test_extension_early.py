"""What happens between START and STARTED: input ends, signals come, children are killed."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty._relay import Relay
from fastpty._spawn import Command, Spawner
from fastpty.errors import RefusedError
from fastpty.relay.settings import Settings
from fastpty.relay.upcalls import Greeting, Terminal
from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, children, eventually, state
from tests.support.lease import leased

Starts = Callable[..., Router]

ADDRESSES = ["--listen-raw", "--listen-uwsgi", "--fpty-router"]
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)


def start_frame(*argv: str) -> bytes:
    return extension.frames(extension.START, extension.items([(extension.ARGUMENT, word.encode()) for word in argv]))


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("argv", "more"),
    [
        (["/bin/cat"], b""),
        (["/bin/cat"], extension.frames(extension.END_INPUT)),
        ([], b""),  # the router's command has no report pipe
        ([], extension.frames(extension.END_INPUT)),
        (["/bin/cat"], extension.frames(extension.STDIN, b"kept\n")),
        (["/bin/cat"], extension.frames(extension.SIZE, extension.window(3, 4)) * 100),
    ],
)
def test_input_that_ends_before_the_program_runs_has_ended(
    address: str, argv: list[str], more: bytes, start_router: Starts, directory: Path
) -> None:
    path = str(directory / "socket")
    start_router(address, path, "--command", "/bin/cat", "--client-command", "yes")
    for _ in range(4):
        with ExtensionClient(path) as client:
            client.sock.sendall(start_frame(*argv) + more)
            client.sock.shutdown(socket.SHUT_WR)
            status = client.status()
            assert (status.how, status.code) == (extension.EXITED, 0)
            assert client.output == (b"kept\r\nkept\r\n" if b"kept" in more else client.output)


@pytest.mark.parametrize("address", ADDRESSES)
def test_frames_before_a_half_close_are_all_obeyed(address: str, start_router: Starts, directory: Path) -> None:
    """Also those that are parsed in later turns than the one that sees the half-close."""
    path = str(directory / "socket")
    start_router(address, path)
    sizes = extension.frames(extension.SIZE, extension.window(3, 4)) * 100
    with ExtensionClient(path) as client:
        client.sock.sendall(sizes + start_frame("cat") + sizes + extension.frames(extension.STDIN, b"kept\n"))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.status().code == 0
        assert client.output == b"kept\r\n" * 2


def test_a_child_that_is_killed_before_it_executes_its_program_has_not_started(
    start_router: Starts, directory: Path
) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with leased(directory / "leased") as command, ExtensionClient(path) as client:
        client.start([str(command)])
        os.kill(waiting_child(router), signal.SIGKILL)
        refusal = client.error()
        assert (refusal.code, refusal.phase) == (extension.EXECUTE, extension.STARTING)
        assert refusal.text == b"the process ended before the command began"
        assert extension.STARTED not in [number for number, _ in client.messages]


def test_a_stop_before_a_program_is_executed_is_told_as_such(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with leased(directory / "leased") as command, ExtensionClient(path) as client:
        client.start([str(command)])
        waiting_child(router)
        assert router.end() == 0
        refusal = client.error()
        assert (refusal.code, refusal.phase) == (extension.STOPPED, extension.STARTING)
        assert extension.STARTED not in [number for number, _ in client.messages]


def waiting_child(router: Router) -> int:
    """The pid of the router's only program, which waits in execve(2)."""
    found: list[int] = []

    def waits() -> bool:
        found[:] = children(router.pid)
        return len(found) == 1 and state(found[0]) == "S"

    eventually(waits, "the child waits")
    return found[0]


def executed(pid: int, pidfd: int) -> bool:
    """As the relay decides it, and waits until the child has ended."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | WAIT_ALL)
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT | WAIT_CLONE)
    except ChildProcessError:
        return True
    finally:
        os.waitpid(pid, WAIT_ALL)
    return False


WAIT_ALL, WAIT_CLONE = 0x40000000, -0x80000000  # linux/wait.h


@pytest.mark.parametrize("path", [b"/bin/true", b"/no/such"])
@pytest.mark.parametrize("is_forked", [False, True])
def test_a_dead_child_shows_whether_it_has_executed_its_program(path: bytes, is_forked: bool) -> None:
    """is_forked: as in a foreign root."""
    command = Command([path], [])
    report, writer = os.pipe2(os.O_CLOEXEC)
    complete = (lambda _: (command, None)) if is_forked else None
    master, pid, pidfd = Spawner(FILES).spawn(command, (24, 80, 0, 0), report=writer, complete=complete)
    os.close(writer)
    assert executed(pid, pidfd) == (path == b"/bin/true")
    assert bool(os.read(report, 100)) == (path == b"/no/such")
    for descriptor in (master, pidfd, report):
        os.close(descriptor)


def test_a_forked_child_that_is_refused_has_not_executed_anything() -> None:
    def refuse(_: int) -> Command:
        raise RefusedError("no")

    report, writer = os.pipe2(os.O_CLOEXEC)
    master, pid, pidfd = Spawner(FILES).spawn(Command([b"/"], []), (24, 80, 0, 0), report=writer, complete=refuse)
    os.close(writer)
    assert not executed(pid, pidfd)
    for descriptor in (master, pidfd, report):
        os.close(descriptor)


class OneEventATurn:
    """A handler whose relay sees a signal before it sees that the program was executed."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(2)
        self.relay = Relay(self, Settings(events=1))
        self.relay.listen(self.listener.fileno(), framed=False, negotiates="by name")
        self.client, self.other = ExtensionClient(str(path)), ExtensionClient(str(path))
        self.ended = 0

    def client_greeted(self, number: int, *_: object) -> Greeting:
        if number == 2:  # 16 sizes are obeyed in a turn
            sizes = extension.frames(extension.SIZE, extension.window(3, 4)) * 40
            self.client.sock.sendall(start_frame("unused") + sizes + extension.frames(signal.SIGTERM))
        return Greeting(extension.CAN_TERMINAL, owner=0)

    def start_wanted(self, *_: object) -> Terminal:
        report, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ready, tells = os.pipe2(os.O_CLOEXEC)
        script = b"trap 'exit 5' TERM; echo > /proc/%d/fd/%d; while :; do sleep 0.1; done" % (os.getpid(), tells)
        command = Command([b"/bin/sh", b"-c", script], [b"PATH=/bin:/usr/bin"])
        master, pid, pidfd = Spawner(FILES).spawn(command, (24, 80, 0, 0), report=writer)
        os.read(ready, 1)  # the program runs
        for descriptor in (ready, tells, writer):
            os.close(descriptor)
        self.other.sock.close()  # the next event
        return Terminal(master, pid, pidfd, 24, 80, None, report)

    def session_ended(self, *_: object) -> None:
        self.ended += 1
        if self.ended == 2:
            self.relay.stop()

    def caught_up(self) -> bool:
        return False

    def errands_wanted(self) -> int:
        return -1

    def terminal_closes_later(self, number: int) -> None:
        pass


def test_a_signal_that_overtakes_the_report_of_a_start_reaches_the_program(directory: Path) -> None:
    handler = OneEventATurn(directory / "socket")
    handler.relay.run()
    status = handler.client.status()
    assert (status.how, status.code) == (extension.EXITED, 5)
    handler.listener.close()


def test_the_run_time_begins_with_the_program(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    start_router("--listen-raw", path)
    with ExtensionClient(path) as client:
        assert client.welcome
        began = time.monotonic()
        assert client.has_nothing_to_read(1.0)
        greeted = time.monotonic() - began
        client.start(["true"])
        status = client.status()
        assert status.run_microseconds / 1e6 < time.monotonic() - began - greeted
