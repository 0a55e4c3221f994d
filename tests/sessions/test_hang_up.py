"""A hang-up reaches the background of a session, and no process of any other session."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from fastpty.errands import hang_up
from fastpty.system import own_proc
from tests.support.harness import Client, Router, eventually, process_gone
from tests.support.peers import need, need_root
from tests.support.tracing import traced

Start = Callable[..., Router]

NUMBERS = count(os.getpid() * 1000)


class Sleep:
    """A `sleep` that no other test runs, found by its argument, also in another pid namespace."""

    def __init__(self) -> None:
        self.command = f"sleep {next(NUMBERS)}"

    @property
    def pids(self) -> list[int]:
        wanted = self.command.replace(" ", "\0").encode() + b"\0"
        found = []
        for directory in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if directory.name.isdecimal() and (directory / "cmdline").read_bytes() == wanted:
                    found.append(int(directory.name))
        return found


@pytest.fixture
def sleep() -> Iterator[Callable[[], Sleep]]:
    """Makes commands that sleep, and kills those that still do so at the end of the test."""
    made: list[Sleep] = []

    def make() -> Sleep:
        made.append(Sleep())
        return made[-1]

    yield make
    for each in made:
        for pid in each.pids:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def dash(start_router: Start, directory: Path) -> Callable[..., Router]:
    """Starts a router whose sessions run dash, which hangs up none of its jobs."""

    def start(*arguments: str) -> Router:
        return start_router(f"{directory}/s", "--forkptyrouter-command", need("dash"), *arguments)

    return start


def begin(client: Client, *jobs: str) -> None:
    """Has the shell run these command lines."""
    for job in jobs:
        client.send(job.encode() + b"\n")
    client.send(b"echo star''ted\n")
    client.read_until(b"started\r\n")


def connect(directory: Path) -> Client:
    return Client(f"{directory}/s")


@pytest.mark.parametrize("ending", ["the client leaves", "the session is idle", "its time is over", "a stop"])
def test_background_jobs_are_hung_up_with_their_session(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep], ending: str
) -> None:
    limits = {"the session is idle": ["--idle-timeout", "1"], "its time is over": ["--session-lifetime", "1"]}
    router = dash(*limits.get(ending, []))
    job, orphan, stopped = sleep(), sleep(), sleep()
    client = connect(directory)
    begin(client, f"{job.command} &", f"({orphan.command} &)", f"sh -c 'kill -STOP $$; exec {stopped.command}' &")
    eventually(lambda: job.pids and orphan.pids, "the jobs run")
    if ending == "a stop":
        router.process.terminate()
    elif ending == "the client leaves":
        client.socket.close()
    router.wait_for_log("session 1: end: ")
    assert not job.pids + orphan.pids + stopped.pids
    client.socket.close()


def test_what_ignores_the_hang_up_or_has_left_the_session_lives_on(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    """As with ssh."""
    router = dash("--stop-timeout", "0.2")
    deaf, daemon, job = sleep(), sleep(), sleep()
    with connect(directory) as client:
        begin(client, f"nohup {deaf.command} >/dev/null &", f"setsid {daemon.command} &", f"{job.command} &")
        eventually(lambda: deaf.pids and daemon.pids and job.pids, "the jobs run")
    router.wait_for_log("session 1: end: client left")
    assert deaf.pids
    assert daemon.pids
    assert not job.pids


def test_a_background_job_that_outlives_the_hang_up_is_killed_after_the_grace_time(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    router = dash("--stop-timeout", "0.5")
    job = sleep()
    with connect(directory) as client:
        begin(client, f"sh -c 'trap \"touch {directory}/hup\" HUP; while :; do {job.command}; done' &")
        eventually(lambda: job.pids, "the job runs")
        parent = Path(f"/proc/{job.pids[0]}/stat").read_text().rpartition(")")[2].split()[1]
    eventually(lambda: (directory / "hup").exists(), "it has seen SIGHUP")
    assert not process_gone(int(parent))
    router.wait_for_log("session 1: end: client left, killed by SIGHUP")
    assert process_gone(int(parent))
    assert not job.pids


def test_an_orphan_in_the_background_is_found(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    """The leader has no child any more, but it had one."""
    router = dash()
    orphan = sleep()
    with connect(directory) as client:
        begin(client, f"({orphan.command} &)")
        eventually(lambda: orphan.pids, "the job runs")
    router.wait_for_log("session 1: end: client left")
    assert not orphan.pids


def test_a_second_stop_kills_background_jobs_at_once(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    router = dash("--stop-timeout", "1000")
    job = sleep()
    with connect(directory) as client:
        begin(client, f"sh -c 'trap \"touch {directory}/hup\" HUP; while :; do {job.command}; done' &")
        eventually(lambda: job.pids, "the job runs")
        router.process.terminate()
        eventually(lambda: (directory / "hup").exists(), "it has seen SIGHUP")
        router.process.terminate()
        router.process.wait(30)
    assert not job.pids


def test_a_job_goes_on_after_exit_if_its_shell_lets_it(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    """The shell has ended the session, not the router: no hang-up."""
    router = dash()
    job = sleep()
    with connect(directory) as client:
        begin(client, f"{job.command} &")
        eventually(lambda: job.pids, "the job runs")
        client.send(b"exit\n")
        client.read_to_end()
    router.wait_for_log("session 1: end: exit")
    assert job.pids


def test_a_leader_that_never_had_a_child_costs_no_scan(
    dash: Callable[..., Router], directory: Path, tmp_path: Path
) -> None:
    """Only an errand that hangs up a background scans processes. Another one may close the terminal."""
    router = dash()
    with connect(directory) as client:
        begin(client, "/bin/true")
    router.wait_for_log("session 1: end: client left")  # the first errand starts the process that receives errands
    trace = tmp_path / "trace"
    with traced(router, trace):
        with connect(directory) as client:
            begin(client)
        router.wait_for_log("session 2: end: client left")
    plain = hang_up_errands(trace)
    with traced(router, trace):
        with connect(directory) as client:
            begin(client, "/bin/true")
        router.wait_for_log("session 3: end: client left")
    assert (plain, hang_up_errands(trace)) == (0, 1)


def hang_up_errands(trace: Path) -> int:
    """The number of messages in the trace that begin with ERRAND_HANG_UP (fastpty/relay/errands.pxd)."""
    return trace.read_text().count('iov_base="\\3\\0\\0\\0')


@pytest.mark.parametrize("arguments", [["--unshare", "pid"], ["--unshare", "pid,mount"]])
def test_in_a_pid_namespace_the_background_is_hung_up(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep], arguments: list[str]
) -> None:
    """Also if /proc shows the processes outside."""
    need_root()
    router = dash(*arguments)
    job = sleep()
    with connect(directory) as client:
        begin(client, f"{job.command} &")
        eventually(lambda: job.pids, "the job runs")
    router.wait_for_log("session 1: end: client left")
    eventually(lambda: not job.pids, "the job has ended")  # a hang-up by number does not wait for it


def test_a_session_whose_errand_is_lost_ends_all_the_same(
    start_router: Start, directory: Path, sleep: Callable[[], Sleep]
) -> None:
    job = sleep()
    marked = {"MARK": job.command}
    router = start_router(
        f"{directory}/s", "--forkptyrouter-command", need("dash"), "--stop-timeout", "0.5", env=marked
    )
    with connect(directory) as client:
        begin(client, f"sh -c 'trap \"touch {directory}/hup\" HUP; while :; do {job.command}; done' &")
        eventually(lambda: job.pids, "the job runs")
    eventually(lambda: (directory / "hup").exists(), "a helper has sent SIGHUP and waits")
    for pid in errand_processes(job.command):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    router.wait_for_log("session 1: end: client left")
    assert not job.pids


def errand_processes(mark: str) -> list[int]:
    """The errand processes of the router with MARK in its environment."""
    found = []
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            is_one = directory.name.isdecimal() and (directory / "comm").read_text() == "fastpty-errands\n"
            if is_one and f"MARK={mark}".encode() in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
    return found


# -- the helper alone --

# Leads a session with two processes in the background, one of which ignores SIGHUP, and prints their pids.
LEADER = """
import os, signal, sys, time
os.setsid()
for action in (signal.SIG_DFL, signal.SIG_IGN):
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGHUP, action)
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(1000)
time.sleep(1000)
"""


@dataclass
class Led:
    """A session: its leader, and the processes that heed and ignore SIGHUP."""

    leader: subprocess.Popen[str]
    pids: list[int]
    session: hang_up.Session

    def heeds(self) -> bool:
        return not process_gone(self.pids[0])


@pytest.fixture
def led() -> Iterator[Led]:
    with subprocess.Popen([sys.executable, "-c", LEADER], stdout=subprocess.PIPE, text=True) as leader:
        assert leader.stdout is not None
        pids = sorted(int(leader.stdout.readline()) for _ in range(2))
        ignores = [pid for pid in pids if hang_up_is_ignored(pid)]
        pids.sort(key=lambda pid: pid in ignores)
        pidfd = os.pidfd_open(leader.pid)
        yield Led(leader, pids, hang_up.Session(leader.pid, pidfd, foreground=0))
        os.close(pidfd)
        leader.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def hang_up_is_ignored(pid: int) -> bool:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn")]
    return bool(int(line.split()[1], 16) & 1)


def test_only_the_background_that_heeds_sighup_ends(led: Led) -> None:
    hang_up.hang_up(led.session, 0)
    assert not led.heeds()
    assert not process_gone(led.pids[1])
    assert led.leader.poll() is None


def test_no_process_is_signalled_once_the_leader_is_reaped(led: Led) -> None:
    """The number could be another session's then."""
    led.leader.kill()
    led.leader.wait()
    hang_up.hang_up(led.session, 0)
    assert led.heeds()


def test_a_pid_that_another_process_gets_meanwhile_is_left_alone(led: Led, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends after it was found in the session, and the pid is a stranger's when it is opened."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
        opened = os.pidfd_open

        def of_stranger(pid: int, flags: int = 0) -> int:
            monkeypatch.setattr(os, "getsid", lambda _: stranger.pid)
            return opened(stranger.pid)

        monkeypatch.setattr(os, "pidfd_open", of_stranger)
        hang_up.hang_up(led.session, 0)
        assert stranger.poll() is None
        stranger.kill()


def test_without_proc_the_background_is_hung_up(led: Led, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def none() -> Iterator[int]:
        raise FileNotFoundError
        yield

    monkeypatch.setattr(own_proc, "directory", none)
    hang_up.hang_up(led.session, 0)
    eventually(lambda: not led.heeds(), "it was hung up")
    assert not process_gone(led.pids[1])


def test_a_process_that_may_ignore_the_hang_up_is_not_killed(led: Led, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status in /proc cannot be read."""
    read = own_proc.read

    def of_others(own: int, name: str) -> str:
        if name == f"{led.pids[1]}/status":
            raise PermissionError
        return read(own, name)

    sent: list[tuple[int, signal.Signals]] = []

    def send(pidfd: int, signals: Iterable[signal.Signals], _: int | None) -> bool:
        sent.extend((pid_of(pidfd), number) for number in signals)
        return True

    monkeypatch.setattr(own_proc, "read", of_others)
    monkeypatch.setattr(hang_up, "_send", send)
    hang_up.hang_up(led.session, 0)
    assert (led.pids[1], signal.SIGHUP) in sent
    assert (led.pids[1], signal.SIGKILL) not in sent


def pid_of(pidfd: int) -> int:
    found = re.search(r"^Pid:\s+(\d+)", Path(f"/proc/self/fdinfo/{pidfd}").read_text(), re.M)
    assert found
    return int(found[1])


def test_a_stopped_process_is_continued_so_that_it_can_end(led: Led) -> None:
    os.kill(led.pids[0], signal.SIGSTOP)
    threading.Thread(target=hang_up.hang_up, args=(led.session, 1000), daemon=True).start()
    eventually(lambda: not led.heeds(), "it has acted on SIGHUP")


def test_a_user_s_hang_up_does_not_reach_a_process_of_root(led: Led) -> None:
    """Such as a job of sudo's."""
    need_root()
    theirs = hang_up.Session(led.session.leader, led.session.leader_pidfd, 0, uid=65534)
    hang_up.hang_up(theirs, 0)
    assert led.heeds()
    assert os.getresuid() == (0, 0, 0)


def test_the_foreground_group_is_left_to_the_relay(led: Led) -> None:
    hang_up.hang_up(hang_up.Session(led.session.leader, led.session.leader_pidfd, foreground=led.pids[0]), 0)
    assert led.heeds()
