"""What a process does before it becomes the router: functions for Router(first=...).

start_with.py loads this file without site-packages, so it cannot import pytest.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from functools import partial
from pathlib import Path

from fastpty.system import linux
from fastpty.system.names import CAPABILITIES

IOPRIO_BEST_EFFORT_LAST = 2 << 13 | 7
_IOPRIO_REAL_TIME = 1 << 13 | 4
SYS_IOPRIO_SET, SYS_IOPRIO_GET = {"x86_64": (251, 252), "aarch64": (30, 31)}[os.uname().machine]
_PERSONALITY = 0x0040000  # ADDR_NO_RANDOMIZE

libc = ctypes.CDLL(None, use_errno=True)

# Not every root has these capabilities.
HAS_SYS_RESOURCE, HAS_SYS_NICE, HAS_AUDIT_CONTROL = (
    bool(linux.capget()[0] >> CAPABILITIES[name] & 1) for name in ("sys_resource", "sys_nice", "audit_control")
)

# As nohup(1) does.
ignore_hangup = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)


def limit_files(soft: int, hard: int | None = None) -> partial[None]:
    """Sets the limit of open descriptors; `hard` is `soft` by default."""
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard or soft))


def drop_capability(name: str) -> None:
    """Removes a capability from the bounding, effective, permitted and inheritable sets."""
    linux.prctl(linux.PR_CAPBSET_DROP, CAPABILITIES[name])
    linux.capset(*(held & ~(1 << CAPABILITIES[name]) for held in linux.capget()))


def become_root_of_a_user_namespace() -> None:
    """In it, the only user and the only group are root."""
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def use_nsswitch(file: Path) -> None:
    """Makes `file` the process's /etc/nsswitch.conf, in a mount namespace of its own."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount(str(file), "/etc/nsswitch.conf", None, linux.MS_BIND)


def hide_processes() -> None:
    """Has /proc show only processes that this one may trace, and takes the capability away to trace those of others."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    assert libc.mount(b"proc", b"/proc", b"proc", 0, b"hidepid=2") == 0
    drop_capability("sys_ptrace")


def become_a_service() -> None:
    """Sets what an administrator may configure for a service; as root, more than a user may set."""
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 22, 1 << 23))
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    Path("/proc/self/coredump_filter").write_text("0x3")
    Path("/proc/self/timerslack_ns").write_text("70000")
    assert libc.personality(_PERSONALITY) >= 0
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH, signal.SIGRTMIN])
    os.setpriority(os.PRIO_PROCESS, 0, -5 if HAS_SYS_NICE else 5)
    Path("/proc/self/oom_score_adj").write_text("-300" if HAS_SYS_RESOURCE else "300")
    assert libc.syscall(SYS_IOPRIO_SET, 1, 0, _IOPRIO_REAL_TIME if HAS_SYS_NICE else IOPRIO_BEST_EFFORT_LAST) == 0
    if HAS_SYS_NICE:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if os.geteuid() == 0:
        effective, permitted, _ = linux.capget()
        linux.capset(effective, permitted, permitted)  # as old container engines do


def lower_priorities() -> None:
    """Sets low priorities for the CPU and the disk, and makes the process a preferred victim of the OOM killer."""
    os.setpriority(os.PRIO_PROCESS, 0, 7)
    Path("/proc/self/oom_score_adj").write_text("300")
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    assert libc.syscall(SYS_IOPRIO_SET, 1, 0, IOPRIO_BEST_EFFORT_LAST) == 0
