"""Enters existing namespaces (setns(2)): of a process, of files, or from a uWSGI server.

The namespaces may belong to a hostile container. So the caller must call privileges.hide() first, which keeps
processes inside from tracing this one (ptrace(2)). After entering a user namespace, this process takes ids of that
namespace before it enters the mount namespace. Otherwise it would act there as root of the host.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from fastpty.configuration.config import Config
from fastpty.configuration.entered import Credentials, Entered
from fastpty.errors import FastptyError
from fastpty.jail import control_groups, privileges, security_label
from fastpty.jail.target import Target
from fastpty.net.address import AbstractAddress, UnixAddress, connect, parse
from fastpty.system import linux
from fastpty.system.credentials import peer_credentials

_KINDS = {
    "user": linux.CLONE_NEWUSER,
    "mnt": linux.CLONE_NEWNS,
    "cgroup": linux.CLONE_NEWCGROUP,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "time": linux.CLONE_NEWTIME,
}
_NAMES = {flag: name for name, flag in _KINDS.items()}
# ioctl_ns(2)
_NS_GET_USERNS = 0xB701
_NS_GET_NSTYPE = 0xB703

_OF_A_PROCESS = re.compile(r"/proc/([1-9][0-9]*)/ns/?")

# uWSGI's setns-socket sends one message: this word and the number of attached descriptors as a native int.
_SERVER_WORD = b"uwsgi-setns"
_SERVER_DESCRIPTORS_MOST = 64
_SERVER_WAIT_SECONDS = 30.0
_SERVER_POLL_SECONDS = 0.1


def by_path(config: Config) -> Entered:
    """Enters the namespaces that `setns` names. Raises FastptyError.

    `setns` is the file of a namespace (/proc/PID/ns/net, or a bind mount such as `ip netns` makes), a directory of such
    files (/proc/PID/ns), or the socket of a uWSGI server with `setns-socket` (a path or @name), awaited for up to 30 s.
    Namespaces that this process is already in are skipped. In a user namespace, this process becomes its root.
    """
    where = config.setns or ""
    what = f"setns={where}"
    with ExitStack() as stack, _named(what):
        environment: Mapping[str, str] = {}
        if match := _OF_A_PROCESS.fullmatch(where):
            target = stack.enter_context(Target(int(match[1])))
            found = target.foreign_namespaces()
            environment = {} if config.clear_environment else target.environment()
            target.check_alive()
        else:
            found = _foreign(_opened(where))
        for fd in found.values():
            stack.callback(os.close, fd)
        _enter(found, None)
    # Processes inside must not see the environment that the router was started with.
    is_seen = not {"user", "mnt", "pid"}.isdisjoint(found)
    return Entered("pid" in found, environment=environment if is_seen else None)


def by_pid(config: Config) -> Entered:
    """Enters the namespaces, the root and the working directory of the process that `setns-pid` names.

    This process also takes that process's bounding set, no_new_privs and security label, so no program that it executes
    can gain more rights. privileges.become takes the other credentials later. Raises FastptyError, also if the process
    shares all namespaces with this one.
    """
    what = f"setns-pid={config.setns_pid}"
    with ExitStack() as stack, _named(what):
        target = stack.enter_context(Target(config.setns_pid or 0))
        found = _foreign_to(target, stack)
        root, directory = (target.open(name, os.O_PATH | os.O_DIRECTORY) for name in ("root", "cwd"))
        stack.callback(os.close, root)
        stack.callback(os.close, directory)
        credentials = target.credentials()
        cgroups = control_groups.opened(target, also_version_2=config.session_cgroup is None)
        label = security_label.of(target)
        environment = {} if config.clear_environment else target.environment()
        target.check_alive()  # otherwise some of this may be from another process with the same pid
        security_label.apply(label)
        _enter(found, credentials)
        privileges.confine(credentials, config.cap)
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(directory)
    notes = (f"{what}: its seccomp filter cannot be taken over: sessions run without it",)
    return Entered(
        "pid" in found,
        credentials,
        environment,
        cgroups,
        notes if credentials.has_filter else (),
        relabels=label is not None,
    )


def check(config: Config) -> None:
    """Raises FastptyError if `by_path` or `by_pid` would fail, as far as that shows without waiting for a server."""
    where = config.setns
    with ExitStack() as stack:
        if where is not None and not where.startswith("@") and not stat.S_ISSOCK(_kind(where)):
            with _named(f"setns={where}"):
                for fd in _foreign(_opened(where)).values():
                    stack.callback(os.close, fd)
        if config.setns_pid is not None:
            with _named(f"setns-pid={config.setns_pid}"):
                target = stack.enter_context(Target(config.setns_pid))
                _foreign_to(target, stack)


def _kind(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _foreign_to(target: Target, stack: ExitStack) -> dict[str, int]:
    """The target's namespaces that this process is not in. The stack closes them. Raises FastptyError for none."""
    found = target.foreign_namespaces()
    for fd in found.values():
        stack.callback(os.close, fd)
    if not found:
        raise FastptyError("this process is in no container: its namespaces are the router's own")
    return found


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Prefixes errors of its body with `what`."""
    try:
        yield
    except ProcessLookupError:
        raise FastptyError(f"{what}: there is no such process: is the container running?") from None
    except OSError as error:
        raise FastptyError(f"{what}: {error.strerror or error}{_hint(error)}") from error
    except FastptyError as error:
        raise FastptyError(f"{what}: {error}") from error


def _hint(error: OSError) -> str:
    return " (it needs root)" if error.errno in (errno.EPERM, errno.EACCES) else ""


def _enter(found: Mapping[str, int], credentials: Credentials | None) -> None:
    """Enters these namespaces. The user namespace that owns the mount namespace comes right before that.

    A user namespace that owns none of the others comes last: from inside it, this process could not enter them.
    """
    here = os.stat("/proc/self/ns/user")
    order = [(name, found[name]) for name in ("cgroup", "ipc", "uts", "net", "pid", "time") if name in found]
    with ExitStack() as stack:
        if "mnt" in found:
            owner = fcntl.ioctl(found["mnt"], _NS_GET_USERNS)
            stack.callback(os.close, owner)
            order += [("user", owner), ("mnt", found["mnt"])]
        if "user" in found:
            order.append(("user", found["user"]))
        privileges.leave_groups(credentials, has_user_namespace="user" in found)
        for name, fd in order:
            if name != "user":
                _set(name, fd)
            elif not os.path.samestat(here, os.fstat(fd)):
                _set(name, fd)
                privileges.become_inner_root(credentials)
                here = os.fstat(fd)


def _set(name: str, fd: int) -> None:
    try:
        linux.setns(fd, _KINDS[name])
    except OSError as error:
        raise FastptyError(f"cannot enter its {name} namespace: {error.strerror}{_hint(error)}") from error


def _opened(where: str) -> list[int]:
    """Opens the namespaces of a file, a directory or a server. Raises FastptyError if there are none."""
    if os.path.isdir(where):
        names = [name for name in _KINDS if os.path.exists(f"{where}/{name}")]
        fds = [os.open(f"{where}/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    elif os.path.exists(where) and not stat.S_ISSOCK(os.stat(where).st_mode):
        fds = [os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)]
    else:
        fds = _ask_server(where)
    if not fds:
        raise FastptyError("there are no namespaces there: give /proc/PID/ns, or use setns-pid")
    return fds


def _foreign(fds: Sequence[int]) -> dict[str, int]:
    """Maps names to the namespaces that this process is not in, the first of each kind. The others are closed."""
    found: dict[str, int] = {}
    for fd in fds:
        try:
            name = _NAMES[fcntl.ioctl(fd, _NS_GET_NSTYPE)]
        except (OSError, KeyError):
            raise FastptyError("this file is not a namespace") from None
        if name in found or os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{name}")):
            os.close(fd)
        else:
            found[name] = fd
    return found


def _ask_server(where: str) -> list[int]:
    server = parse(where)
    if not isinstance(server, UnixAddress | AbstractAddress):
        raise FastptyError("the address must be a path or an @name")
    deadline = time.monotonic() + _SERVER_WAIT_SECONDS
    while True:
        try:
            with connect(server, _SERVER_WAIT_SECONDS) as sock:
                _check_server(sock)
                word, fds, _, _ = socket.recv_fds(sock, len(_SERVER_WORD) + 4, _SERVER_DESCRIPTORS_MOST)
        except FastptyError as error:
            absent = isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)
            if not absent or time.monotonic() >= deadline:
                raise
            time.sleep(_SERVER_POLL_SECONDS)
            continue
        if word.startswith(_SERVER_WORD):
            return fds
        raise FastptyError("the server there is not a setns-socket of uWSGI: use setns-pid PID")


def _check_server(sock: socket.socket) -> None:
    """Raises FastptyError unless root or this user listens there: any user can take an abstract name first."""
    _, uid, _ = peer_credentials(sock)
    if uid not in (0, os.geteuid()):
        raise FastptyError(f"the server there runs as uid {uid}: only a server of root or of this user is trusted")
