"""`run-as peer`: a user with a session has no power over the router and over sessions of other users."""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.support.accounts import connected_as
from tests.support.harness import Client, Router, children, eventually, state
from tests.support.jails import in_child
from tests.support.peers import need_root, preload

PTRACE_ATTACH = 16
SYS_PIDFD_GETFD = 438
IOPRIO_SYS_SET = {"x86_64": 251, "aarch64": 30}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_memory(pid: int) -> None:
    """process_vm_readv(2), which checks permissions before the address."""
    buffer = ctypes.create_string_buffer(1)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1)
    checked(_libc.process_vm_readv(pid, vector, ctypes.c_ulong(1), vector, ctypes.c_ulong(1), ctypes.c_ulong(0)))


def take_descriptor(pid: int) -> None:
    checked(_libc.syscall(SYS_PIDFD_GETFD, os.pidfd_open(pid), 0, 0))


ATTACKS: dict[str, Callable[[int], object]] = {
    "signal": lambda pid: os.kill(pid, 0),
    "trace": lambda pid: checked(_libc.ptrace(PTRACE_ATTACH, pid, None, None)),
    "read memory": read_memory,
    "take a descriptor": take_descriptor,
    "change limits": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8)),
    "read limits": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE),
    "lower its priority": lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
    "lower its I/O priority": lambda pid: checked(_libc.syscall(IOPRIO_SYS_SET, 1, pid, 3 << 13)),
    "choose its CPUs": lambda pid: os.sched_setaffinity(pid, {0}),
    "choose its policy": lambda pid: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
    "have it killed first": lambda pid: Path(f"/proc/{pid}/oom_score_adj").write_text("1000"),
    "look at its files": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "follow its directory": lambda pid: os.listdir(f"/proc/{pid}/cwd/"),
    "read its environment": lambda pid: Path(f"/proc/{pid}/environ").read_bytes(),
    "open its memory": lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDONLY),
    "enter its namespaces": lambda pid: os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY),
}


# The kernel allows this over every process of the same user.
OF_ONE_S_OWN = {
    *("signal", "change limits", "read limits", "lower its priority", "lower its I/O priority", "choose its CPUs"),
    "choose its policy",
}


def attack(uid: int, pids: dict[str, int], terminals: Sequence[str] = ()) -> list[str]:
    """The operations on these processes and terminals that succeed for this user."""

    def act() -> list[str]:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        done = []
        for whose, pid in pids.items():
            for what, attempt in ATTACKS.items():
                try:
                    attempt(pid)
                except PermissionError:
                    continue
                except OSError:  # another error: the permission was there
                    pass
                done.append(f"{what} of {whose}")
        for terminal, flags in itertools.product(terminals, (os.O_RDONLY, os.O_WRONLY)):
            try:
                os.open(terminal, flags | os.O_NOCTTY)
            except PermissionError:
                continue
            done.append(f"open {terminal}")
        return done

    found: list[str] = in_child(act)
    return found


def test_a_user_with_a_session_can_do_nothing_to_the_router_and_to_another_s_session(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    router = start_router("--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", "/bin/cat", path)
    attacker, victim = pwd.getpwnam("daemon"), pwd.getpwnam("games")
    programs = []
    with ExitStack() as clients:
        for user in (attacker, victim):
            client = clients.enter_context(Client(connected_as(path, user.pw_uid, user.pw_gid)))
            client.send(b"x\n")
            client.read_until(b"x\r\nx\r\n")
            programs += [pid for pid in children(router.pid) if pid not in programs]
        own, other = programs
        terminal = os.readlink(f"/proc/{other}/fd/0")
        targets = {"the supervisor": router.process.pid, "the worker": router.pid, "another's session": other}
        assert attack(attacker.pw_uid, targets, [terminal]) == []
        assert "signal of its own session" in attack(attacker.pw_uid, {"its own session": own})


STOPS_ITSELF = """
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
int chdir(const char *path) {
    if (geteuid() != 0) kill(getpid(), SIGSTOP);
    return syscall(SYS_chdir, path);
}
"""


def test_a_user_can_stop_its_starting_process_but_not_look_into_it(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Until its program runs, the process has a copy of the router's memory."""
    need_root()
    path = f"{directory}/s"
    router = start_router("--run-as", "peer", "--chmod-socket=666", path, env=preload(directory, STOPS_ITSELF))
    user = pwd.getpwnam("daemon")
    with Client(connected_as(path, user.pw_uid, user.pw_gid)):
        starting = int(router.wait_for_log(r"start: .*process (\d+): ")[0][1])
        eventually(lambda: state(starting) == "T", "the starting process stands still")
        done = attack(user.pw_uid, {"it": starting})
        os.kill(starting, signal.SIGCONT)
    assert {what.removesuffix(" of it") for what in done} == OF_ONE_S_OWN
