"""Enters the jail: what a router does after its sockets are bound and before it accepts the first client.

The order is uWSGI 2.0.21's: namespaces, commands as root, group and user, working directory. None of it can
be undone, and it is meant for a process with one thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

from fastpty.config import Config
from fastpty.errors import FastptyError
from fastpty.values import NAMESPACE_FLAGS

_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def check(config: Config) -> None:
    """Raises FastptyError if this process lacks the rights for `enter`; a router asks before it binds."""
    if os.geteuid() == 0:
        return
    # uWSGI leaves these out silently when it is not root.
    if config.exec_as_root:
        raise FastptyError("exec-as-root needs root: start as root, or leave it out")
    if config.uid is not None and os.getresuid() != (config.uid,) * 3:
        raise FastptyError(f"uid {config.uid} needs root: start as root, or as that user")
    if config.gid is not None and os.getresgid() != (config.gid,) * 3:
        raise FastptyError(f"gid {config.gid} needs root: start as root, or with that group")


def enter(config: Config) -> None:
    """Puts this process where and makes it whom `config` says, for good.

    Raises FastptyError at the first step that fails or cannot be shown to have worked; the process is then
    part of the way in and should end.
    """
    check(config)
    unshare(config.unshare)
    environment = config.environ(os.environ)
    for command in config.exec_as_root:
        run_as_root(command, environment)
    if os.geteuid() == 0 and (config.uid, config.gid) != (None, None):
        uid = os.getuid() if config.uid is None else config.uid
        gid = os.getgid() if config.gid is None else config.gid
        drop_privileges(uid, gid, _groups_of(config.uid, gid))
    if config.chdir is not None:
        try:
            os.chdir(config.chdir)
        except OSError as error:
            raise FastptyError(f"chdir: cannot enter {config.chdir}: {error.strerror}") from error


def unshare(names: Sequence[str]) -> None:
    """Moves this process into new namespaces, by their names in NAMESPACE_FLAGS.

    In a new mount namespace all mounts become private: else a mount made inside would show outside, and the
    other way round.
    """
    if not names:
        return
    flags = 0
    for name in names:
        flags |= NAMESPACE_FLAGS[name]
    what = f"unshare={','.join(names)}"
    if _libc.unshare(flags):
        number = ctypes.get_errno()
        if number == errno.EPERM:
            raise FastptyError(f"{what} needs CAP_SYS_ADMIN: start as root, or leave it out")
        raise FastptyError(f"{what} failed: {os.strerror(number)}")
    if "mount" in names and _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None):
        raise FastptyError(f"{what}: cannot make the mounts private: {os.strerror(ctypes.get_errno())}")


def run_as_root(command: str, environment: dict[str, str]) -> None:
    """Runs a command through /bin/sh -c with empty input, default signals and no descriptors but 0, 1 and 2.

    Its output goes where this process's goes. Raises FastptyError unless it exits with 0.
    """
    what = f"exec-as-root {command!r}"
    try:
        status = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            env=environment,
            preexec_fn=_default_signals,
            check=False,
        ).returncode
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise FastptyError(f"{what} cannot run: {error}") from error
    if status > 0:
        raise FastptyError(f"{what} failed with exit code {status}")
    if status < 0:
        raise FastptyError(f"{what} was killed by signal {-status} ({signal.strsignal(-status)})")


def drop_privileges(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Becomes this user and these groups (real, effective and saved ids), and checks that it is for good.

    Raises FastptyError if a step fails, if the kernel reports other ids afterwards, or if root can be
    regained, which a kept capability or securebit would allow.
    """
    try:
        # The user last: without root, the groups could not be changed any more.
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise FastptyError(f"cannot become uid {uid}, gid {gid}: {error.strerror}") from error
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) != set(groups):
        raise FastptyError(f"uid {uid} and gid {gid} were asked for, but the kernel reports others")
    if uid != 0:
        _check_no_way_back(gid)


def _check_no_way_back(gid: int) -> None:
    attempts: dict[str, Callable[[], None]] = {
        "setuid(0)": partial(os.setuid, 0),
        "setresuid(0, 0, 0)": partial(os.setresuid, 0, 0, 0),
        "setgroups([0])": partial(os.setgroups, [0]),
    }
    if gid != 0:
        attempts["setgid(0)"] = partial(os.setgid, 0)
        attempts["setresgid(0, 0, 0)"] = partial(os.setresgid, 0, 0, 0)
    for name, attempt in attempts.items():
        try:
            attempt()
        except PermissionError:
            continue
        raise FastptyError(f"privileges are not gone: {name} still works after the change of user")


def _groups_of(uid: int | None, gid: int) -> list[int]:
    """The supplementary groups that initgroups(3) would set, or `gid` alone for a user without an account."""
    if uid is None:
        return [gid]
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _default_signals() -> None:
    # A mask and ignored signals pass through exec; a command that starts a daemon should not hand ours on.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
