"""Dead processes that cannot be reaped, because another process would have to wait for them first, delay nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.harness import Client, Router, children, eventually, process_gone, wait_until_quiet
from tests.support.peers import need, need_root

Start = Callable[..., Router]

TRACE = """
import ctypes, sys, time
SEIZE = 0x4206
if ctypes.CDLL(None).ptrace(SEIZE, int(sys.argv[1]), None, None) == 0:
    print("traced", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def traced(start_router: Callable[..., Router], directory: Path) -> Iterator[tuple[Router, subprocess.Popen[bytes]]]:
    """A router whose session's leader was killed while traced, and the tracer, which has to wait for it first."""
    need_root()
    router = start_router(f"{directory}/s", "--stop-timeout", "1", "--forkptyrouter-command", "echo pid $$; read x")
    with Client(f"{directory}/s") as client:
        leader = int(client.read_until(b"pid ", b"\r\n").split()[1])
        argv = [sys.executable, "-c", TRACE, str(leader)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as tracer:
            assert tracer.stdout is not None
            assert tracer.stdout.readline() == b"traced\n"
            os.kill(leader, signal.SIGKILL)
            client.read_to_end()
            yield router, tracer
            tracer.kill()


def test_a_dead_leader_that_is_traced_costs_no_cpu_time_until_it_can_be_reaped(
    traced: tuple[Router, subprocess.Popen[bytes]],
) -> None:
    router, tracer = traced
    wait_until_quiet(router.pid)
    assert "session 1: end" not in router.log
    tracer.kill()
    router.wait_for_log("session 1: end: exit, killed by SIGKILL")


def test_a_stop_waits_for_no_tracer(traced: tuple[Router, subprocess.Popen[bytes]]) -> None:
    router, tracer = traced
    assert router.end() == 0
    assert tracer.poll() is None
    assert "session 1: end: exit" in router.log


ZOMBIE = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
reader, writer = os.pipe()
if (parent := os.fork()) == 0:
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.write(writer, b"x")
        signal.pause()
    os.setsid()
    signal.pause()
os.read(reader, 1)
print("parent", parent, flush=True)
signal.pause()
"""


def test_a_stop_takes_the_grace_time_once_though_a_zombie_of_the_foreground_job_stays(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The zombie's parent is in another session and never reaps it."""
    (directory / "zombie").write_text(ZOMBIE)
    router = start_router(
        f"{directory}/s", "--stop-timeout", "8", "--forkptyrouter-command",
        f"exec {sys.executable} {directory}/zombie",
    )  # fmt: skip
    with Client(f"{directory}/s") as client:
        parent = int(client.read_until(b"parent ", b"\r\n").split()[-1])
        try:
            assert router.end() == 0
        finally:
            os.kill(parent, signal.SIGKILL)
    ended = router.wait_for_log(r"session 1: end: stopped, killed by SIGKILL after (\d+\.\d+) s")[0]
    assert 8 <= float(ended[1]) < 16, "the grace time was taken twice"


GIVER = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    for (int count = 0; count < 20; count++)
        if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0)
            _exit(0);
    return 0;
}
"""


def test_children_that_a_program_makes_the_worker_s_are_reaped(start_router: Start, directory: Path) -> None:
    """Nobody else can reap them. Otherwise they would be left when all sessions have ended."""
    (directory / "give.c").write_text(GIVER)
    subprocess.run([need("cc"), "-o", "give", "give.c"], cwd=directory, check=True)
    path = f"{directory}/s"
    router = start_router("--command", f"read what; [ $what = quiet ] || exec {directory}/give", path)
    with Client(path) as client:
        client.send(b"give\n")
        client.read_to_end()
    router.wait_for_log("session 1: end")
    eventually(lambda: all(map(process_gone, children(router.pid))), "the children have ended")
    with Client(path) as client:
        client.send(b"quiet\n")
        client.read_to_end()
    eventually(lambda: not children(router.pid), "they are reaped")


def test_a_leader_that_waits_to_be_reaped_keeps_its_exit_status(start_router: Start, directory: Path) -> None:
    """It is not mistaken for a process that nobody waits for. It waits until its session's background is hung up."""
    path = f"{directory}/s"
    job = "(trap : HUP; while :; do sleep 0.1; done) &"
    command = f"read what; [ $what = quiet ] || {{ set -m; {job} echo READY; exec sleep 1000; }}"
    router = start_router("--command", command, "--stop-timeout", "4", path)
    with Client(path) as client:
        client.send(b"job\n")
        client.read_until(b"READY")
        (leader,) = children(router.pid)
    eventually(lambda: process_gone(leader), "the leader has ended")
    with Client(path) as client:
        client.send(b"quiet\n")
        client.read_to_end()
    router.wait_for_log("session 2: end")
    assert "session 1: end" not in router.log
    router.wait_for_log("session 1: end: client left, killed by SIGHUP")
