"""New namespaces (namespaces(7))."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fastpty.errors import FastptyError
from fastpty.jail import privileges
from fastpty.jail.subordinate import OwnIds
from fastpty.system import linux
from fastpty.system.names import NAMESPACE_FLAGS


def unshare(option: str, names: Sequence[str], own_ids: OwnIds | None = None) -> bool:
    """Moves this process into new namespaces, by their names in NAMESPACE_FLAGS; `option` is for messages.

    Returns whether there is a new pid namespace, which only its children will be in. In a new mount namespace all
    mounts become private: else a mount made inside would show outside, and the other way round. A new user namespace
    of root has `own_ids`, and this process becomes its root; without these it has the ids of outside. That of another
    user has one id, root, which is that user outside.
    """
    flags = 0
    for name in names:
        flags |= NAMESPACE_FLAGS[name]
    what = f"{option}={','.join(names)}"
    with _mapped(what, own_ids) if "user" in names else nullcontext():
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
def _mapped(what: str, own_ids: OwnIds | None) -> Iterator[None]:
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
    maps = own_ids.maps if own_ids else {name: _same_ids(name) for name in ("gid_map", "uid_map")}
    ours, its = socket.socketpair()
    writer = os.fork()
    if writer == 0:
        ours.close()
        os._exit(_write_maps(os.getppid(), maps, its))
    its.close()
    try:
        if own_ids:
            privileges.leave_groups(None, has_user_namespace=True)
        yield
        ours.send(b"go")
    finally:
        ours.close()
        status = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    if status != 0:
        raise FastptyError(f"{what}: cannot write the id maps: {os.strerror(status)}")
    if own_ids:
        privileges.become_inner_root(None)


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
