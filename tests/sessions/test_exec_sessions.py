"""What remains of a program without a terminal when its client, its worker or its router ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.wire import extension
from tests.support.control_groups import control_group
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, eventually, process_gone, state
from tests.support.peers import need_root, need_unified_control_groups
from tests.support.statistics import read_statistics

Starts = Callable[..., Router]

COMMITS = 'cat > "$0/dump"; echo committed > "$0/committed"'


def begin(path: str, *argv: str, data: bytes = b"", **keywords: object) -> ExtensionClient:
    client = ExtensionClient(path)
    client.execute(*argv, **keywords)  # type: ignore[arg-type]
    client.read_until(extension.STARTED)
    client.type(data)
    return client


# The client leaves


@pytest.mark.parametrize("how", ["closed", "half closed", "killed"])
def test_a_cut_input_is_not_taken_for_a_whole_one(
    how: str, start_router: Starts, directory: Path, tmp_path: Path
) -> None:
    """SIGHUP comes before the end of the input. Only END_INPUT ends the input well."""
    router = start_router("--listen-raw", f"{directory}/s")
    client = begin(f"{directory}/s", "sh", "-c", COMMITS, str(tmp_path), data=b"a half")
    dump = tmp_path / "dump"
    eventually(lambda: dump.exists() and dump.read_bytes() == b"a half", "the program has read what came")
    if how == "half closed":
        client.sock.shutdown(1)
        client.read_to_end()
    elif how == "killed":
        copy = client.sock.fileno()
        keeper = subprocess.Popen(["sleep", "600"], pass_fds=[copy])
        client.sock.close()
        keeper.kill()
        keeper.wait()
    client.sock.close()
    router.wait_for_log(r"end: client left, killed by SIGHUP")
    assert not (tmp_path / "committed").exists()


def test_a_program_that_ignores_the_hang_up_is_killed_before_its_input_ends(
    start_router: Starts, directory: Path, tmp_path: Path
) -> None:
    router = start_router("--listen-raw", f"{directory}/s", "--stop-timeout", "1")
    client = begin(f"{directory}/s", "sh", "-c", f"trap '' HUP; {COMMITS}", str(tmp_path), data=b"a half")
    eventually((tmp_path / "dump").exists, "it ignores the signal")
    client.sock.close()
    router.wait_for_log(r"end: client left, killed by SIGKILL")
    assert not (tmp_path / "committed").exists()


def test_the_whole_group_is_hung_up(start_router: Starts, directory: Path) -> None:
    """Also while only a background job holds the session."""
    router = start_router("--listen-raw", f"{directory}/s", "--stop-timeout", "1")
    client = begin(f"{directory}/s", "sh", "-c", "sleep 600 & echo $!", drain_ms=None)
    client.read_output_until(b"\n")
    job = int(client.output)
    eventually(lambda: state(client.leader) == "Z", "the leader has exited")
    client.sock.close()
    router.wait_for_log(r"end: client left, exit status 0")
    eventually(lambda: process_gone(job), "the job has ended")


def test_what_a_program_leaves_behind_goes_on(start_router: Starts, directory: Path) -> None:
    start_router("--listen-raw", f"{directory}/s")
    client = begin(f"{directory}/s", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
    assert client.status().flags == 0
    job = int(client.output)
    client.sock.close()
    assert not process_gone(job)
    os.kill(job, signal.SIGKILL)


def test_a_session_cgroup_ends_what_a_program_leaves_behind(start_router: Starts, directory: Path) -> None:
    with control_group(need_unified_control_groups()) as above:
        start_router("--listen-raw", f"{directory}/s", f"--session-cgroup={above}")
        client = begin(f"{directory}/s", "sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!")
        assert client.status().code == 0
        client.sock.close()
        eventually(lambda: process_gone(int(client.output)), "the job has ended")


# The router


def test_a_killed_worker_hangs_the_program_up(start_router: Starts, directory: Path) -> None:
    router = start_router("--listen-raw", f"{directory}/s")
    client = begin(f"{directory}/s", "sleep", "600")
    program, worker = client.leader, router.pid
    os.kill(worker, signal.SIGKILL)
    client.read_to_end()
    assert client.final is None
    eventually(lambda: process_gone(program), "the program has ended")


def test_a_stop_hangs_the_program_up(start_router: Starts, directory: Path) -> None:
    router = start_router("--listen-raw", f"{directory}/s")
    client = begin(f"{directory}/s", "sleep", "600")
    os.kill(router.process.pid, signal.SIGTERM)
    assert client.error().code == extension.STOPPED
    assert router.process.wait(30) == 0


def test_the_log_and_the_statistics_say_exec(start_router: Starts, directory: Path) -> None:
    router = start_router("--listen-raw", f"{directory}/s", "--stats", f"{directory}/stats")
    client = begin(f"{directory}/s", "sh", "-c", "echo out; echo err >&2; read line")
    client.read_output_until(b"out\n")
    router.wait_for_log(r"session 1: start: .*: exec: process \d+: sh -c")
    (session,) = read_statistics(f"{directory}/stats")["workers"][0]["sessions"]
    assert (session["exec"], session["tty"]) == (True, None)
    client.send(extension.END_INPUT)
    client.status()
    router.wait_for_log(r"session 1: end: exit, exit status 1 after .*, 0 bytes in, 8 bytes out")


def test_a_program_has_its_own_session_and_no_terminal(start_router: Starts, directory: Path) -> None:
    start_router("--listen-raw", f"{directory}/s")
    client = begin(
        f"{directory}/s", "sh", "-c", "cut -d' ' -f5-7 /proc/$$/stat; ls /proc/self/fd | wc -l; : < /dev/tty"
    )
    assert client.status().code != 0
    assert client.output == b"%d %d 0\n4\n" % (client.leader, client.leader)


def test_a_stranger_that_gets_the_number_of_an_ended_leader_is_not_killed(
    start_router: Starts, directory: Path
) -> None:
    """It leads a session, too. The client of the ended session stays connected until after the grace time."""
    need_root()
    start_router("--listen-raw", f"{directory}/s", "--stop-timeout", "1")
    with ExtensionClient(f"{directory}/s") as client:
        client.execute("sleep", "60")
        leader = client.leader
        client.send(extension.STOP, b"\7")  # ends the session
        eventually(lambda: process_gone(leader), "the leader is reaped")
        stranger = _start_with_number(leader)
        client.read_to_end()
        with ExtensionClient(f"{directory}/s") as other:  # until after the grace time
            other.execute("sleep", "1.5")
            assert other.status().code == 0
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


def _start_with_number(number: int) -> subprocess.Popen[bytes]:
    """Starts a process that leads a session and has this number, which is free."""
    while True:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        process = subprocess.Popen(["sleep", "60"], start_new_session=True)
        if process.pid == number:
            return process
        process.kill()
        process.wait()
