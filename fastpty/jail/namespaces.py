"""Creates namespaces (namespaces(7)) and maps their ids."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

from fastpty.errors import FastptyError
from fastpty.jail import privileges
from fastpty.jail.subordinate import OwnIds
from fastpty.system import child, linux, own_proc
from fastpty.system.names import NAMESPACE_FLAGS


def unshare(option: str, names: Sequence[str], own_ids: OwnIds | None = None) -> bool:
    """Moves this process into new namespaces. Returns True if a pid namespace is among them: only children enter that.

    names: keys of NAMESPACE_FLAGS. option: for messages. In a new mount namespace, all mounts become private, so that
    mounts do not propagate between inside and outside.

    A user namespace that root creates maps `own_ids`, and this process becomes its root. If `own_ids` is None, it maps
    all ids to themselves. A user namespace of an ordinary user has one id: root inside is that user outside.
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
    """The reason why unshare(2) failed, and what to do."""
    if error.errno == errno.EPERM and with_user:
        return (
            ": the kernel permits no user namespace here: it never does in a chroot (enter the root with pivot_root "
            "instead), and the sysctl kernel.unprivileged_userns_clone or an AppArmor profile may forbid it"
        )
    if error.errno == errno.EPERM:
        return " needs CAP_SYS_ADMIN: start as root, add user to the list, or remove it"
    if error.errno == errno.ENOSPC:
        return ": there are too many namespaces: raise the limit in /proc/sys/user, max_NAME_namespaces"
    return f" failed: {error.strerror}"


def mount_proc() -> None:
    """Mounts a proc file system for this process's pid namespace on /proc, if this root has that directory."""
    if not os.path.isdir("/proc"):
        return
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError as error:
        raise FastptyError(f"cannot mount /proc for the new pid namespace: {error.strerror}") from error


def _enter_own_time(what: str) -> None:
    # unshare(2) makes a time namespace for children only. Unlike a pid namespace, this process can enter it.
    try:
        with own_proc.directory() as own:
            fd = os.open("ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=own)
        try:
            linux.setns(fd, linux.CLONE_NEWTIME)
        finally:
            os.close(fd)
    except OSError as error:
        raise FastptyError(f"{what}: cannot enter the time namespace: {error.strerror}") from error


@contextmanager
def _mapped(what: str, own_ids: OwnIds | None) -> Iterator[None]:
    """Its body must create a user namespace. Maps the ids of that namespace afterwards."""
    map_ids = partial(_map_all, own_ids) if os.geteuid() == 0 else _map_one
    try:
        yield from map_ids()
    except OSError as error:
        raise FastptyError(f"{what}: cannot write the id maps: {error.strerror}") from error


def _map_one() -> Iterator[None]:
    """Maps the only ids that an ordinary user may map: its own."""
    maps = {"gid_map": f"0 {os.getegid()} 1", "uid_map": f"0 {os.geteuid()} 1"}
    yield
    with own_proc.directory() as own:
        # The kernel demands this: otherwise the user could drop groups that deny access to their members.
        own_proc.write(own, "setgroups", "deny")
        for name, text in maps.items():
            own_proc.write(own, name, text)


def _map_all(own_ids: OwnIds | None) -> Iterator[None]:
    """Maps many ids. Only a process outside of the namespace may do that, so a child writes the maps."""
    with own_proc.directory() as own:
        yield from _map_all_of(own, own_ids)


def _map_all_of(own: int, own_ids: OwnIds | None) -> Iterator[None]:
    maps = own_ids.maps if own_ids else {name: _same_ids(own_proc.read(own, name)) for name in ("gid_map", "uid_map")}
    ours, its = socket.socketpair()
    writer = child.fork("writing the id maps", partial(_write_maps, own, maps, its, ours))
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
        raise OSError(status, os.strerror(status))
    if own_ids:
        privileges.become_inner_root(None)


def _same_ids(own_map: str) -> str:
    """Converts this namespace's id map into one that maps all of its ids to themselves."""
    ranges = [line.split() for line in own_map.splitlines()]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _write_maps(own: int, maps: dict[str, str], channel: socket.socket, parents_end: socket.socket) -> int:
    """In a child: writes the maps of the process whose directory in /proc is `own`. Returns 0 or an errno."""
    parents_end.close()
    try:
        if channel.recv(2):  # nothing comes if no namespace was made
            for name, text in maps.items():
                own_proc.write(own, name, text)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
