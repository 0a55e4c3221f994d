"""New namespaces, and those of somebody else (namespaces(7))."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fastpty import linux
from fastpty.address import AbstractAddress, UnixAddress, connect, parse
from fastpty.errors import FastptyError
from fastpty.values import NAMESPACE_FLAGS

# As /proc/PID/ns has them. A user namespace comes first: who enters it gets the rights for its others.
_FILES = {
    "user": linux.CLONE_NEWUSER,
    "cgroup": linux.CLONE_NEWCGROUP,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "mnt": linux.CLONE_NEWNS,
    "time": linux.CLONE_NEWTIME,
}
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)

# uWSGI's setns-socket: one message, this word and a native int, the count of the descriptors that come with it.
_SERVER_WORD = b"uwsgi-setns"
_SERVER_DESCRIPTORS_MOST = 64
_SERVER_WAIT_SECONDS = 30.0
_SERVER_POLL_SECONDS = 0.1


def unshare(option: str, names: Sequence[str]) -> bool:
    """Moves this process into new namespaces, by their names in NAMESPACE_FLAGS; `option` is for messages.

    Returns whether there is a new pid namespace, which only its children will be in. In a new mount namespace all
    mounts become private: else a mount made inside would show outside, and the other way round. A new user namespace
    of root has the same ids as the outer one; that of another user has one, root, which is that user outside.
    """
    flags = 0
    for name in names:
        flags |= NAMESPACE_FLAGS[name]
    what = f"{option}={','.join(names)}"
    with _mapped(what) if "user" in names else nullcontext():
        try:
            linux.unshare(flags)
        except OSError as error:
            raise FastptyError(f"{what}{_why_not(error, 'user' in names)}") from error
    if "mount" in names:
        try:
            linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        except OSError as error:
            raise FastptyError(f"{what}: cannot make the mounts private: {error.strerror}") from error
    if "time" in names:
        _enter_own_time(what)
    return "pid" in names


def _why_not(error: OSError, with_user: bool) -> str:
    """What unshare(2) refused, and what to do."""
    if error.errno == errno.EPERM and with_user:
        return (
            ": the kernel permits no user namespace here: it never does in a chroot (enter the root with pivot_root "
            "instead), and the sysctl kernel.unprivileged_userns_clone or an AppArmor profile may forbid it"
        )
    if error.errno == errno.EPERM:
        return " needs CAP_SYS_ADMIN: start as root, or add user to the list, or leave it out"
    if error.errno == errno.ENOSPC:
        return ": there are too many namespaces: raise the limit in /proc/sys/user, max_NAME_namespaces"
    return f" failed: {error.strerror}"


def mount_proc() -> None:
    """Mounts the /proc of this process's pid namespace over the one of another, if there is one in this root."""
    if not os.path.isdir("/proc"):
        return
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError as error:
        raise FastptyError(f"cannot mount /proc for the new pid namespace: {error.strerror}") from error


def _enter_own_time(what: str) -> None:
    # unshare(2) makes a time namespace for the children only, as with pid; but this one can be entered.
    try:
        fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(fd, linux.CLONE_NEWTIME)
        finally:
            os.close(fd)
    except OSError as error:
        raise FastptyError(f"{what}: cannot enter the time namespace: {error.strerror}") from error


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """Unshares a user namespace in its body, and gives it its ids afterwards."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        yield
        try:
            # Without this an ordinary user could get rid of groups that deny something to their members.
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        except OSError as error:
            raise FastptyError(f"{what}: cannot write the id maps: {error.strerror}") from error
        return
    # The ids of root's namespace may only be given by a process that stayed outside.
    maps = {name: _same_ids(name) for name in ("gid_map", "uid_map")}
    ours, its = socket.socketpair()
    writer = os.fork()
    if writer == 0:
        ours.close()
        os._exit(_write_maps(os.getppid(), maps, its))
    its.close()
    try:
        yield
        ours.send(b"go")
    finally:
        ours.close()
        status = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    if status != 0:
        raise FastptyError(f"{what}: cannot write the id maps: {os.strerror(status)}")


def _same_ids(name: str) -> str:
    """An id map for a child namespace with all the ids that this one has."""
    ranges = [line.split() for line in Path(f"/proc/self/{name}").read_text().splitlines()]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _write_maps(pid: int, maps: dict[str, str], channel: socket.socket) -> int:
    try:
        if channel.recv(2):  # nothing comes if there is no new namespace
            for name, text in maps.items():
                Path(f"/proc/{pid}/{name}").write_text(text)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def join(place: str) -> bool:
    """Enters the namespaces behind `place`; returns whether a pid namespace is among them, for the children.

    `place` is a namespace's file (/proc/PID/ns/net, or a bind mount of one as of `ip netns`), a directory of such
    (/proc/PID/ns), or the socket of a uWSGI server with `setns-socket` (a path or @name), which is awaited for half a
    minute. Namespaces that this process is in already are passed over. Raises FastptyError.
    """
    what = f"setns={place}"
    try:
        if os.path.isdir(place):
            names = [name for name in _FILES if os.path.exists(f"{place}/{name}")]
            fds = [os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
        elif os.path.exists(place) and not stat.S_ISSOCK(os.stat(place).st_mode):
            fds = [os.open(place, os.O_RDONLY | os.O_CLOEXEC)]
        else:
            fds = _ask_server(what, place)
    except OSError as error:
        raise FastptyError(f"{what}: {error.strerror or error}") from error
    if not fds:
        raise FastptyError(f"{what}: there are no namespaces there: give /proc/PID/ns, or use setns-pid")
    try:
        return _join_all(what, fds)
    finally:
        for fd in fds:
            os.close(fd)


def _join_all(what: str, fds: Sequence[int]) -> bool:
    names = {flag: name for name, flag in _FILES.items()}
    found: dict[int, int] = {}
    try:
        for fd in fds:
            kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
            # All are compared before one is entered: in another mount namespace /proc may be another one.
            if not _same(os.fstat(fd), os.stat(f"/proc/self/ns/{names[kind]}")):
                found.setdefault(kind, fd)
    except (OSError, KeyError):
        raise FastptyError(f"{what}: that is no namespace") from None
    for kind in names:
        if kind in found:
            try:
                linux.setns(found[kind], kind)
            except OSError as error:
                raise FastptyError(f"{what}: cannot enter its {names[kind]} namespace: {_why(error)}") from error
    return linux.CLONE_NEWPID in found


def _ask_server(what: str, place: str) -> list[int]:
    where = parse(place)
    if not isinstance(where, UnixAddress | AbstractAddress):
        raise FastptyError(f"{what}: namespaces come through a path or an @name only")
    deadline = time.monotonic() + _SERVER_WAIT_SECONDS
    while True:
        try:
            with connect(where, _SERVER_WAIT_SECONDS) as sock:
                _check_server(sock)
                word, fds, _, _ = socket.recv_fds(sock, len(_SERVER_WORD) + 4, _SERVER_DESCRIPTORS_MOST)
        except FastptyError as error:
            absent = isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)
            if not absent or time.monotonic() >= deadline:
                raise FastptyError(f"{what}: {error}") from error
            time.sleep(_SERVER_POLL_SECONDS)
            continue
        if word.startswith(_SERVER_WORD):
            return fds
        raise FastptyError(f"{what}: what answers there is no setns-socket of uWSGI: use setns-pid PID")


def _check_server(sock: socket.socket) -> None:
    """Raises FastptyError unless root or this user listens there: an abstract name is whose who takes it first."""
    _, uid, _ = struct.unpack("=3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid not in (0, os.geteuid()):
        raise FastptyError(f"uid {uid} listens there: only namespaces of root's or of this user's are entered")


def join_process(pid: int) -> bool:
    """Enters all namespaces of process `pid` that are not ours, its root and its working directory.

    Returns whether a pid namespace is among them, for the children. It is what `nsenter --all --root --wd` does; the
    kernel finds the right order itself, as all are entered at once through a pidfd (setns(2), Linux 5.8).
    """
    what = f"setns-pid={pid}"
    fds = []
    try:
        fds.append(pidfd := os.pidfd_open(pid))
        flags = 0
        for name, flag in _FILES.items():
            theirs = Path(f"/proc/{pid}/ns/{name}")
            if theirs.exists() and not _same(theirs.stat(), os.stat(f"/proc/self/ns/{name}")):
                flags |= flag
        for link in ("root", "cwd"):
            fds.append(os.open(f"/proc/{pid}/{link}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        if flags:
            linux.setns(pidfd, flags)
        _, root, directory = fds
        os.fchdir(root)
        os.chroot(".")
        os.fchdir(directory)
    except ProcessLookupError:
        raise FastptyError(f"{what}: there is no such process: is the container running?") from None
    except OSError as error:
        raise FastptyError(f"{what}: cannot enter its namespaces: {_why(error)}") from error
    finally:
        for fd in fds:
            os.close(fd)
    return bool(flags & linux.CLONE_NEWPID)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _why(error: OSError) -> str:
    return f"{error.strerror} (it needs root)" if error.errno in (errno.EPERM, errno.EACCES) else str(error.strerror)
