"""What a session inherits: compares it with a plain process that was started as the router was."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastpty.access import accounts
from fastpty.sessions.program import DEFAULT_PATH, DEFAULT_TERM
from fastpty.system.names import CAPABILITIES
from tests.sessions.test_environment_of_sessions import environment
from tests.support.accounts import connected_as, peer_router
from tests.support.first_steps import (
    HAS_AUDIT_CONTROL,
    HAS_SYS_NICE,
    HAS_SYS_RESOURCE,
    IOPRIO_BEST_EFFORT_LAST,
    SYS_IOPRIO_GET,
    become_a_service,
    libc,
    limit_files,
    lower_priorities,
)
from tests.support.harness import Client, Router, children, frame
from tests.support.jails import binds, small_root
from tests.support.peers import changed_syscall, need_root, preload
from tests.support.start_with import start_with

Start = Callable[..., Router]

USER = "daemon"
ACCOUNT = pwd.getpwnam(USER)
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
NONE = "0" * 16

LOGIN_UID_UNSET = "4294967295"
UID = 54_321  # without an account outside


def ioprio(pid: int) -> int:
    found: int = libc.syscall(SYS_IOPRIO_GET, 1, pid)
    return found


def look(pid: int) -> dict[str, Any]:
    """The attributes of a process that it inherits."""
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    fields = (
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Umask",
        "Uid",
        "Gid",
        "NoNewPrivs",
        "Seccomp",
        "CapBnd",
        *CAPABILITY_SETS,
    )
    return {
        "limits": (proc / "limits").read_text(),
        **{field: status[field].split() for field in (*fields, "Groups", "Cpus_allowed_list")},
        **{name: os.readlink(proc / name) for name in ("cwd", "root")},
        **{name: (proc / name).read_text() for name in ("oom_score_adj", "coredump_filter", "personality", "cgroup")},
        **{f"ns/{name}": os.readlink(proc / "ns" / name) for name in sorted(os.listdir(proc / "ns"))},
        "loginuid": (proc / "loginuid").read_text() if (proc / "loginuid").exists() else "",
        "timerslack": (proc / "timerslack_ns").read_text() if HAS_SYS_NICE else "",
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "scheduler": (os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority),
        "ioprio": ioprio(pid),
        "environment": environment((proc / "environ").read_bytes()),
        "descriptors": sorted(int(name) for name in os.listdir(proc / "fd")),
    }


@contextmanager
def plain_process() -> Iterator[int]:
    """A process with the same starter as the router."""
    # A library of the tests may have added variables that os.environ does not show.
    environ = dict(os.environ)
    argv = start_with(become_a_service, ["/bin/cat"])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"started\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"started\n"
        yield process.pid
        process.kill()


def program_of(router: Router, client: Client, framed: bool = False) -> int:
    """The pid of the session's program, /bin/cat, once it runs."""
    client.send(frame(0, payload=b"x\n") if framed else b"x\n")
    client.read_until(b"x\r\nx\r\n")
    (program,) = children(router.pid)
    return program


def environment_of(door: str, plain: dict[str, str]) -> dict[str, str]:
    of_account = {name: value for name, value in accounts.environment_of(ACCOUNT.pw_uid, False).items() if value}
    if door in ("clear-env", "peer"):
        alone = {"PATH": DEFAULT_PATH, "TERM": DEFAULT_TERM}
        return alone | of_account if door == "peer" else alone
    kept = {name: value for name, value in plain.items() if not name.startswith(("FASTPTY_", "UWSGI_"))}
    return {"TERM": DEFAULT_TERM, **kept, **(of_account if door == "uid" else {})}


def expected_of(door: str, plain: dict[str, Any]) -> dict[str, Any]:
    """What a session must inherit, given the attributes of a plain process with the same starter."""
    session = {**plain, "SigBlk": [NONE], "SigIgn": [NONE], "descriptors": [0, 1, 2]}
    session["environment"] = environment_of(door, plain["environment"])
    if door not in ("uid", "peer"):
        return session
    session |= {"Uid": [str(ACCOUNT.pw_uid)] * 4, "Gid": [str(ACCOUNT.pw_gid)] * 4, "Groups": [str(ACCOUNT.pw_gid)]}
    session |= {name: [NONE] for name in CAPABILITY_SETS}
    if door == "peer":
        may_set_login_uid = plain["loginuid"] and (HAS_AUDIT_CONTROL or plain["loginuid"] == LOGIN_UID_UNSET)
        # No better priority for the CPU, the disk and the OOM killer than a user could set itself.
        session |= {"nice": 0, "scheduler": (os.SCHED_OTHER, 0), "ioprio": 0} if HAS_SYS_NICE else {}
        session |= {"oom_score_adj": "0\n"} if HAS_SYS_RESOURCE else {}
        session |= {
            "cwd": ACCOUNT.pw_dir,
            "loginuid": str(ACCOUNT.pw_uid) if may_set_login_uid else plain["loginuid"],
        }
    return session


DOORS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "clear-env": ("--clear-env",),
    "shared": (),
    "uwsgi": (),
    "uid": ("--uid", USER),
    "peer": ("--run-as", "peer"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_session_inherits_what_the_router_was_started_with_and_no_changes_of_its_own(
    start_router: Start, directory: Path, door: str
) -> None:
    if door in ("uid", "peer"):
        need_root()
    option = {"shared": "--pty-socket", "uwsgi": "--forkpty-urouter"}.get(door, "--forkpty-router")
    path = f"{directory}/s"
    arguments = (*DOORS[door], "--chmod-socket=666", "--forkptyrouter-command", "/bin/cat", option, path)
    router = start_router(*arguments, first=become_a_service)
    client = Client(connected_as(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid) if door == "peer" else path)
    with plain_process() as plain, client:
        program = program_of(router, client, door == "uwsgi")
        found, expected = look(program), expected_of(door, look(plain))
        assert {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]} == {}
        fields = Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()
        assert fields[2] == fields[3] == fields[5] == str(program)  # process group, session, terminal's foreground
        terminal = os.stat(f"/proc/{program}/fd/0").st_rdev
        assert int(fields[4]) == terminal
        assert {os.readlink(f"/proc/{program}/fd/{fd}") for fd in range(3)} == {os.readlink(f"/proc/{program}/fd/0")}


def test_the_hooks_at_the_end_have_the_file_limit_that_the_router_was_given(
    start_router: Start, directory: Path
) -> None:
    """As all other hooks. The router raises its own limit."""
    note = directory / "note"
    router = start_router(
        "--exec-as-user-atexit", f"ulimit -Sn > {note}; ulimit -Hn >> {note}", f"{directory}/s",
        first=limit_files(256, 4096),
    )  # fmt: skip
    assert resource.prlimit(router.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
    assert router.end() == 0
    assert note.read_text().split() == ["256", "4096"]


def peer_router_with_client(
    start_router: Start, directory: Path, *arguments: str, **keywords: object
) -> tuple[Router, Client]:
    """A router whose sessions run /bin/cat as their clients, and a client whose account is USER."""
    path = f"{directory}/s"
    router = peer_router(start_router, path, *arguments, "--forkptyrouter-command", "/bin/cat", **keywords)
    return router, Client(connected_as(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid))


def test_a_session_of_another_user_keeps_the_lower_priorities_that_its_router_has(
    start_router: Start, directory: Path
) -> None:
    router, client = peer_router_with_client(start_router, directory, first=lower_priorities)
    with client:
        found = look(program_of(router, client))
    assert (found["nice"], found["oom_score_adj"], found["scheduler"]) == (7, "300\n", (os.SCHED_BATCH, 0))
    assert found["ioprio"] == IOPRIO_BEST_EFFORT_LAST


OPENS_ANOTHER = """
    if (number == SYS_openat2 && strcmp((const char *)a[1], FILE) == 0) return open(INSTEAD, O_RDWR | O_CLOEXEC);
"""


@pytest.mark.parametrize(("given", "left"), [("-1000\n", "-1000\n0"), ("0\n", "0\n"), ("500\n", "500\n")])
def test_a_session_of_another_user_gets_no_better_oom_score_than_the_default(
    start_router: Start, directory: Path, given: str, left: str
) -> None:
    """On most machines a test cannot set this score, so a shim replaces the file in /proc."""
    file = directory / "oom_score_adj"
    file.write_text(given)
    env = preload(directory, changed_syscall(OPENS_ANOTHER), 'FILE="self/oom_score_adj"', f'INSTEAD="{file}"')
    router, client = peer_router_with_client(start_router, directory, env=env)
    with client:
        program_of(router, client)
    assert file.read_text() == left  # appended: the kernel's file has no file position


def test_the_login_uid_is_set_if_the_kernel_has_one(start_router: Start, directory: Path) -> None:
    """A kernel without audit has no such file, so a shim replaces it."""
    file = directory / "loginuid"
    file.touch()
    env = preload(directory, changed_syscall(OPENS_ANOTHER), 'FILE="self/loginuid"', f'INSTEAD="{file}"')
    router, client = peer_router_with_client(start_router, directory, env=env)
    with client:
        program_of(router, client)
    assert file.read_text() == str(ACCOUNT.pw_uid)


def test_files_that_are_not_on_a_proc_file_system_are_not_written_to(start_router: Start, directory: Path) -> None:
    """In a changed root: its owner could make the router, as root, write to any file."""
    need_root()
    root = directory / "root"
    small_root(root)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(f"inside:x:{UID}:{UID}::/:/bin/sh\n")
    (root / "etc/group").touch()
    (root / "proc/self").mkdir()
    files = [root / "proc/self/loginuid", root / "proc/self/oom_score_adj"]
    for file in files:
        file.write_text("-17")
    path = f"{directory}/s"
    jail = ("--unshare", "mount", *binds(root), "--chroot", str(root))
    peer_router(start_router, path, *jail, "--forkptyrouter-command", "id -u")
    with Client(connected_as(path, UID, UID)) as client:
        assert client.read_to_end() == f"{UID}\r\n".encode()
    assert [file.read_text() for file in files] == ["-17", "-17"]


@pytest.mark.parametrize("more", [(), ("--add-gid", "5")])
def test_a_session_of_another_user_has_no_capability_though_its_router_keeps_some(
    start_router: Start, directory: Path, more: tuple[str, ...]
) -> None:
    """As in CVE-2022-24769: inheritable capabilities pass to programs with file capabilities."""
    kept = ("chown", "kill", "setgid", "setuid", "sys_nice")
    router, client = peer_router_with_client(start_router, directory, "--cap", ",".join(kept), *more)
    with client:
        found = look(program_of(router, client))
    assert [found[name] for name in CAPABILITY_SETS] == [[NONE]] * 4
    assert int(found["CapBnd"][0], 16) == sum(1 << CAPABILITIES[name] for name in kept)
