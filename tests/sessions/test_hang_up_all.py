"""A hang-up also finds processes that /proc hides; with `session-cgroup` it comes before everything is killed."""
# ruff: noqa: F811

from __future__ import annotations

import pwd
from collections.abc import Callable
from pathlib import Path

from tests.sessions.test_hang_up import Sleep, begin, connect, dash, sleep  # noqa: F401 - two are fixtures
from tests.sessions.test_session_cgroup import above  # noqa: F401 - a fixture
from tests.support.accounts import connected_as, peer_router
from tests.support.first_steps import hide_processes
from tests.support.harness import Client, Router, eventually
from tests.support.peers import need, need_root


def test_a_background_that_proc_hides_is_hung_up(
    start_router: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep]
) -> None:
    """/proc is mounted with hidepid=2. A process that may ignore the hang-up, which /proc hides too, is not killed."""
    need_root()
    path = f"{directory}/s"
    options = ("--stop-timeout", "0.2", "--forkptyrouter-command", need("dash"))
    router = peer_router(start_router, path, *options, first=hide_processes)
    nobody = pwd.getpwnam("nobody")
    job, deaf = sleep(), sleep()
    with Client(connected_as(path, nobody.pw_uid, nobody.pw_gid)) as client:
        begin(client, f"{job.command} &", f"nohup {deaf.command} >/dev/null 2>&1 &")
        eventually(lambda: job.pids and deaf.pids, "the jobs run")
    router.wait_for_log("session 1: end: client left")
    eventually(lambda: not job.pids, "the job has ended")  # a hang-up by number does not wait for it
    assert deaf.pids


def test_with_session_cgroup_jobs_are_hung_up_before_all_is_killed(
    dash: Callable[..., Router], directory: Path, sleep: Callable[[], Sleep], above: Path
) -> None:
    router = dash(f"--session-cgroup={above}")
    deaf, daemon, job = sleep(), sleep(), sleep()
    with connect(directory) as client:
        begin(client, f"nohup {deaf.command} >/dev/null 2>&1 &", f"setsid {daemon.command} &")
        begin(client, f"sh -c 'trap \"touch {directory}/hup; exit\" HUP; while :; do {job.command}; done' &")
        eventually(lambda: deaf.pids and daemon.pids and job.pids, "the jobs run")
    router.wait_for_log("session 1: end: client left")
    eventually(lambda: not deaf.pids + daemon.pids + job.pids, "all have ended")
    assert (directory / "hup").exists()
