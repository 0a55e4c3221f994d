"""What each side sees when a process dies or the connection breaks: a table in docs/reliability.md has the cases.

Each is tried with `fastpty exec` and with `fastpty connect ADDR -- PROGRAM`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import PATIENCE_SECONDS, Router, children, eventually, process_gone
from tests.support.lease import leased
from tests.support.proxy import Proxy

# Exits with 3 at SIGTERM. Shows its process id as soon as it is in the state that is its argument.
PROGRAM = r"""
import fcntl, os, signal, sys, termios, tty
signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
if sys.argv[1] == "input":
    if os.isatty(0):
        tty.setraw(0)
    while not any(fcntl.ioctl(0, termios.FIONREAD, bytes(4))):
        pass
os.write(1, b"pid %d\n" % os.getpid())
while sys.argv[1] == "output":
    os.write(1, 1000 * b"y")
while True:
    signal.pause()
"""
# Here the program that can die is the job.
LEAVES_A_JOB = "sleep 1000 & echo pid $!; exit 3"
INPUT_BYTES = 4 << 20  # more than the client may send

# Before START; the program is being executed; it writes much; it does not read its input; it has exited, and a job that
# it has left has its output open.
STATES = ("greeting", "start", "output", "input", "drain")


class Seen(NamedTuple):
    """The other columns of the table."""

    status: str
    complaint: str
    log: str
    program: str


class Case:
    """A client and its session. Close `stack` at the end."""

    def __init__(self, state: str, router: Router) -> None:
        self.router = router
        self.worker = router.pid
        self.stack = ExitStack()
        self.client: subprocess.Popen[bytes]
        self.proxy: Proxy | None = None
        self.program = 0
        self._state = state
        self._lease = self.stack.enter_context(ExitStack())

    def begin(self, command: str, who: str, directory: Path) -> None:
        """Starts the client, and waits until the session is in its state. who: who will die."""
        address = f"{directory}/s"
        if self._state == "greeting" or who == "connection":
            self.proxy = self.stack.enter_context(Proxy(address, holds=self._state == "greeting"))
            address = self.proxy.address
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM, self._state]
        if self._state == "start":
            argv = [str(self._lease.enter_context(leased(directory / "leased", "#!/bin/sh\nexit 3\n")))]
        elif self._state == "drain":
            argv = ["sh", "-c", LEAVES_A_JOB]
        options = ["--drain", "-1"] if self._state == "drain" else []
        self.client = self._start([command, *options, "--protocol", "fpty", address, "--", *argv], directory)
        self._wait_for_state()

    def _start(self, arguments: list[str], directory: Path) -> subprocess.Popen[bytes]:
        stdin: int = subprocess.PIPE
        if self._state == "input":
            (directory / "input").write_bytes(bytes(INPUT_BYTES))
            stdin = self.stack.enter_context((directory / "input").open("rb")).fileno()
        pipe = subprocess.PIPE
        client = subprocess.Popen([*CLIENT, *arguments], cwd=ROOT, stdin=stdin, stdout=pipe, stderr=pipe)
        self.stack.enter_context(client)
        self.stack.callback(client.kill)
        return client

    def _wait_for_state(self) -> None:
        if self._state == "greeting":
            assert self.proxy is not None
            self.proxy.wait_for_both()
        elif self._state == "start":
            eventually(lambda: children(self.worker), "the program is about to be executed")
            self.program = children(self.worker)[0]
        else:
            self._read_pid()
        if self._state == "drain":
            eventually(lambda: all(map(process_gone, children(self.worker))), "the program has exited")

    def _read_pid(self) -> None:
        assert self.client.stdout is not None
        shown = b""
        while not (found := re.search(rb"pid (\d+)\r?\n", shown)):
            data = os.read(self.client.stdout.fileno(), 4096)
            assert data, shown
            shown += data
        self.program = int(found[1])

    def strike(self, who: str) -> None:
        if who == "client":
            self.client.kill()
        elif who == "worker":
            os.kill(self.worker, signal.SIGKILL)
        elif who == "connection":
            assert self.proxy is not None
            self.proxy.cut()
        elif who == "supervisor":
            self.router.kill_supervisor()
            self._finish()
        else:
            assert who in ("program exits", "program killed", "job killed")
            os.kill(self.program, signal.SIGTERM if who == "program exits" else signal.SIGKILL)

    def _finish(self) -> None:
        """Brings the session to its end, which shows that it goes on."""
        self._lease.close()
        if self._state == "greeting":
            assert self.proxy is not None
            self.proxy.release()
            self._read_pid()
        if self._state != "start":
            os.kill(self.program, signal.SIGTERM)


def cases() -> Iterator[tuple[str, str, str, Seen]]:
    """The command, the state, who dies, and what is seen, from the table's rows."""
    text = (ROOT / "docs/reliability.md").read_text()
    table = text.partition("\n## Who dies\n")[2].partition("\n## ")[0]
    for line in re.findall(r"^\| .* \|$", table, re.MULTILINE)[1:]:
        states, who, *seen = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for state in STATES if states == "all" else states.split(", "):
            yield "exec", state, who, Seen(*seen)
            if state != "drain":  # on a terminal other processes do not delay the end of a session
                yield "connect", state, who, Seen(*seen)


CASES = list(cases())


def test_the_table_has_each_case_once() -> None:
    """No program runs before `start`, so it cannot die there; one that has exited (drain) cannot exit again."""
    found = [(state, who) for command, state, who, _ in CASES if command == "exec"]
    program = [("start", "program killed"), ("drain", "job killed")]
    program += [(state, who) for state in ("output", "input") for who in ("program exits", "program killed")]
    others = [(state, who) for state in STATES for who in ("client", "connection", "worker", "supervisor")]
    assert sorted(found) == sorted(program + others)


@pytest.mark.parametrize(("command", "state", "who", "seen"), CASES, ids=["-".join(case[:3]) for case in CASES])
def test_both_sides_see_who_has_died(
    command: str, state: str, who: str, seen: Seen, start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router("--fpty-router", f"{directory}/s")
    case = Case(state, router)
    with case.stack:
        case.begin(command, who, directory)
        case.strike(who)
        complaint = case.client.communicate(timeout=PATIENCE_SECONDS)[1].decode()
        assert case.client.returncode == (-signal.SIGKILL if seen.status == "killed" else int(seen.status))
        assert seen.complaint in complaint
        assert complaint.count("\n") == bool(seen.complaint)
        router.wait_for_log(re.escape(seen.log))
        if seen.program == "runs on":
            assert not process_gone(case.program)
            os.kill(case.program, signal.SIGKILL)
        elif case.program:
            eventually(lambda: process_gone(case.program), "the program is gone")
