"""`session-cgroup`: all processes of a session end with it, daemons included."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.control_groups import control_group
from tests.support.harness import Client, Router, children, descriptors, eventually, process_gone, run
from tests.support.jails import AS_NOBODY, NOBODY, binds, said, small_root
from tests.support.peers import need, need_unified_control_groups
from tests.support.programs import broken_program

DAEMON = "setsid -f sleep 1000 </dev/null >/dev/null 2>&1; printf READY; exec cat"


@pytest.fixture
def above() -> Iterator[Path]:
    """A cgroup v2 directory for the test."""
    with control_group(need_unified_control_groups()) as group:
        yield group


def members(cgroup: Path) -> list[int]:
    return [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]


def cgroups(above: Path) -> list[Path]:
    """The cgroups of sessions."""
    return [path for path in above.glob("fastpty-*/*-*/") if path.is_dir()]


def daemon_of(cgroup: Path, router: Router) -> int:
    """The process in the cgroup that is not a worker's child."""
    return next(pid for pid in members(cgroup) if pid not in children(router.pid))


def begin(start_router: Callable[..., Router], directory: Path, *arguments: str) -> tuple[Router, Client]:
    path = f"{directory}/s"
    router = start_router(path, "--forkptyrouter-command", DAEMON, *arguments)
    client = Client(path)
    client.read_until(b"READY")
    return router, client


def test_a_daemon_ends_with_its_session(above: Path, start_router: Callable[..., Router], directory: Path) -> None:
    router, client = begin(start_router, directory, f"--session-cgroup={above}")
    with client:
        (cgroup,) = cgroups(above)
        daemon = daemon_of(cgroup, router)
        eventually(lambda: os.getsid(daemon) == daemon, "it has left the session")
    eventually(lambda: process_gone(daemon), "the daemon is killed")
    with Client(f"{directory}/s") as another:  # the next start removes empty cgroups at the latest
        another.read_until(b"READY")
        eventually(lambda: cgroup not in cgroups(above), "the cgroup is removed")


def test_each_session_has_its_own_cgroup(above: Path, start_router: Callable[..., Router], directory: Path) -> None:
    router, client = begin(start_router, directory, f"--session-cgroup={above}")
    with client, Client(f"{directory}/s") as other:
        other.read_until(b"READY")
        first, second = (daemon_of(cgroup, router) for cgroup in sorted(cgroups(above)))
        client.socket.close()
        eventually(lambda: process_gone(first), "the daemon of the first is killed")
        router.wait_for_log("session 1: end")
        assert not process_gone(second)


BEGUN_IN_A_CGROUP = """
import os, sys
from fastpty._spawn import Command, Spawner
cgroup = os.open(sys.argv[1], os.O_RDONLY)
for program in (b"/no/such/program", b"/bin/cat"):
    try:
        command = Command([program, b"/proc/self/cgroup"], [])
        master, pid, _ = Spawner((1024, 1024)).spawn(command, (24, 80, 0, 0), cgroup=cgroup)
    except OSError as error:
        print(error.strerror)
os.waitpid(pid, 0)
print(os.read(master, 4096).decode())
"""


@pytest.mark.parametrize("refused", ["", "ENOSYS", "EPERM"])
def test_a_program_begins_in_its_cgroup_and_moves_there_only_where_the_kernel_refuses_that(
    above: Path, refused: str
) -> None:
    """Moving a process stops the worker for 10 ms."""
    injected = ["-e", f"inject=clone3:error={refused}"] if refused else []
    argv = [need("strace"), "-f", "-e", "trace=clone,clone3,write", *injected]
    done = subprocess.run(
        [*argv, sys.executable, "-c", BEGUN_IN_A_CGROUP, str(above)], capture_output=True, text=True, check=True
    )
    assert "cannot execute /no/such/program: No such file or directory" in done.stdout
    assert re.search(rf"^0::/.*{above.name}$", done.stdout, re.M)
    assert len(re.findall(r'write\(\d+, "0", 1\) += 1', done.stderr)) == (2 if refused else 0)


def test_processes_of_a_killed_worker_s_sessions_are_killed(
    above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    router, client = begin(start_router, directory, f"--session-cgroup={above}")
    with client:
        daemon = daemon_of(cgroups(above)[0], router)
        os.kill(router.pid, signal.SIGKILL)
        eventually(lambda: process_gone(daemon), "the daemon is killed")


@pytest.mark.parametrize("account", [(), ("--uid", "65534", "--gid", "65534")])
def test_a_router_that_ends_leaves_no_process_and_the_next_no_cgroup(
    above: Path, start_router: Callable[..., Router], directory: Path, account: tuple[str, ...]
) -> None:
    """A router that has given up root cannot remove the cgroup that it made as root; the next one does."""
    os.chown(directory, 65534, 65534)
    router, client = begin(start_router, directory, f"--session-cgroup={above}", *account)
    with client:
        daemon = daemon_of(cgroups(above)[0], router)
        assert router.end() == 0
        eventually(lambda: process_gone(daemon), "the daemon is killed")
    assert not cgroups(above)
    second = start_router(f"{directory}/t", f"--session-cgroup={above}")
    assert list(above.glob("fastpty-*/")) == [above / f"fastpty-{second.process.pid}"]
    assert second.end() == 0
    assert not list(above.glob("fastpty-*/"))


def test_a_program_that_cannot_run_leaves_no_cgroup(
    above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    program = broken_program(directory)
    router = start_router(f"{directory}/s", f"--session-cgroup={above}", "--forkptyrouter-command", program)
    with Client(f"{directory}/s") as client:
        assert f"cannot execute {program}".encode() in client.read_to_end()
    router.wait_for_log("refused")
    assert not cgroups(above)


def test_a_shared_terminal_s_program_that_cannot_run_leaves_no_cgroups(
    above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    """The start is retried, and each try removes the cgroup of the one before."""
    program = broken_program(directory)
    shared = ("--pty-socket", f"{directory}/s", "--pty-exec", program)
    router = start_router(*shared, f"--session-cgroup={above}")
    router.wait_for_log("cannot start the shared terminal: cannot execute " + program, 3)
    eventually(lambda: len(cgroups(above)) <= 1, "the cgroups are removed")


def test_a_jail_is_not_entered_with_a_cgroup_that_leads_outside(above: Path, directory: Path) -> None:
    argv = [need("strace"), "-f", "-o", "/dev/null", "-e", "inject=open_tree:error=ENOSYS", sys.executable]
    argv += ["-m", "fastpty.router", "--unshare", "mount", f"--session-cgroup={above}", f"{directory}/s"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"fastpty-router: session-cgroup: {above} would be a way out of the jail, and cannot be made a mount of its "
        "own: Function not implemented: remove session-cgroup\n"
    )
    assert not list(above.glob("fastpty-*/"))
    assert not (directory / "s").exists()


LEAVING = """
base=$(echo %s/fastpty-*)
mkdir $base/mine
for there in $base $base/mine; do
    (echo 0 > $there/cgroup.procs && exec setsid -f sleep 1000 </dev/null >/dev/null 2>&1)
done
printf READY
exec cat
"""


@pytest.mark.parametrize("jail", [(), ("--unshare", "pid")])
def test_a_process_that_has_left_its_session_s_cgroup_ends_with_the_router(
    jail: tuple[str, ...], above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    """With `uid`, sessions run as the router's user and may move between its cgroups, but not out of their parent."""
    os.chown(directory, 65534, 65534)
    (directory / "leave").write_text(LEAVING % above)
    command = ("--forkptyrouter-command", f". {directory}/leave")
    account = ("--uid", "65534", "--gid", "65534")
    router = start_router(f"{directory}/s", f"--session-cgroup={above}", *account, *command, *jail)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        (base,) = above.glob("fastpty-*/")
        daemons = [*members(base), *members(base / "mine")]
        assert len(daemons) == 2
        eventually(lambda: all(os.getsid(daemon) == daemon for daemon in daemons), "they have left the session")
    router.wait_for_log("session 1: end")
    assert router.end() == 0
    eventually(lambda: all(process_gone(daemon) for daemon in daemons), "they are killed")
    assert [path.name for path in base.glob("*/")] == []


@pytest.mark.parametrize("jail", [(), ("--unshare", "pid")])
def test_no_worker_keeps_a_file_of_the_cgroups_that_was_opened_as_root(
    jail: tuple[str, ...], above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    """The kernel would treat a write there as root's, even after the router has changed its user."""
    os.chown(directory, 65534, 65534)
    router = start_router(f"{directory}/s", f"--session-cgroup={above}", "--uid", "65534", "--gid", "65534", *jail)
    with Client(f"{directory}/s"):
        router.wait_for_log("session 1: start")
        (base,) = above.glob("fastpty-*/")
        for pid in (router.pid, *(children(router.pid) if jail else ())):
            assert [what for what in descriptors(pid).values() if "cgroup" in what] == [str(base)]


# Looks for a way out through each directory that a process of the router has open; `.%s` lies outside.
LEAVE = """
for held in /proc/1/fd/* /proc/2/fd/*; do
    [ -e $held/cgroup.kill ] && echo CGROUP
    if cd -P $held 2>/dev/null; then
        for _ in 1 2 3 4 5 6 7 8 9; do cd -P ..; done
        [ -e .%s ] && echo OUT
    fi
done
"""


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_directory_that_a_jailed_router_holds_leads_outside(
    user: str, above: Path, start_router: Callable[..., Router], directory: Path
) -> None:
    root = directory / "root"
    small_root(root)
    (root / "leave").write_text(LEAVE % directory)
    if user == "nobody":
        for given in (directory, root, above, above / "cgroup.procs"):
            os.chown(given, NOBODY, NOBODY)
    names, program = ("pid,mount", {}) if user == "root" else ("user,pid,mount", {"program": AS_NOBODY})
    router = start_router(
        *(f"--session-cgroup={above}", "--unshare", names, *binds(root), "--pivot-root", f"{root} {root}/old"),
        *("--mount-as-root", "proc proc /proc", "--umount-as-root", "/old detach", f"{directory}/s"),
        first=partial(Path.write_text, above / "cgroup.procs", "0"),
        **program,
    )
    # Root of a user namespace cannot see the router's descriptors at all.
    seen = {"CGROUP"} if user == "root" else set()
    assert set(said(f"{directory}/s", "ls /old; . /leave 2>/dev/null")) == seen
    assert router.end() == 0
    assert not list(above.glob("fastpty-*/"))


def test_a_cgroup_that_cannot_be_made_is_reported_in_one_line(directory: Path) -> None:
    ended = run(f"{directory}/s", f"--session-cgroup={directory}")
    assert ended.returncode == 1
    assert ended.stderr == f"fastpty-router: session-cgroup: {directory} is not a version 2 cgroup with cgroup.kill\n"
    assert [entry.name for entry in directory.iterdir()] == []
