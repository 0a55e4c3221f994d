"""Gives up user ids, groups and capabilities permanently, and verifies that."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Callable, Collection, Sequence
from functools import partial

from fastpty._spawn import leave_keys
from fastpty.configuration.config import Config
from fastpty.configuration.entered import Capabilities, Credentials, Entered
from fastpty.errors import FastptyError
from fastpty.system import linux
from fastpty.system.files import read_text
from fastpty.system.names import CAPABILITIES

_SETGID, _SETUID = CAPABILITIES["setgid"], CAPABILITIES["setuid"]

_SUID_DUMPABLE = "/proc/sys/fs/suid_dumpable"


def become_immediately(config: Config) -> None:
    """Applies `immediate-gid` and `immediate-uid` permanently, before anything else is done.

    uWSGI applies them in the order in which they are written. There, a group after the user fails.
    """
    uid, gid = config.immediate_uid, config.immediate_gid
    if (uid, gid) == (None, None) or os.geteuid() != 0:
        return
    wanted_gid = os.getgid() if gid is None else gid
    drop(os.getuid() if uid is None else uid, wanted_gid, _groups_of(uid, wanted_gid))


def hide() -> None:
    """Keeps other processes from tracing this process and its forks, and from reading it through /proc (ptrace(2)).

    Only root of the user namespace in which the router was started still can. With fs.suid_dumpable = 1 a change of ids
    would undo this, so that raises FastptyError.
    """
    try:
        if read_text(_SUID_DUMPABLE).strip() == "1":
            raise FastptyError(
                "with fs.suid_dumpable = 1 programs of the jail could take the router over: set it to 0 or 2"
            )
    except FileNotFoundError:  # this root has no /proc, and the value was checked outside
        pass
    keep_hidden()


def keep_hidden() -> None:
    """Hides this process again after a change of ids. Raises FastptyError if the kernel reports otherwise."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if linux.prctl(linux.PR_GET_DUMPABLE) != 0:
        raise FastptyError("cannot protect this process from being traced (PR_SET_DUMPABLE)")


def leave_groups(credentials: Credentials | None, *, has_user_namespace: bool) -> None:
    """Takes the groups of the process that is joined, or drops all groups before a user namespace is entered.

    The namespace may forbid it later. An ordinary user, who enters a namespace of its own, keeps its groups: it may not
    change them.
    """
    if os.geteuid() == 0 and (credentials is not None or has_user_namespace):
        groups = () if credentials is None else credentials.groups
        try:
            os.setgroups(groups)
        except OSError as error:
            raise FastptyError(f"cannot change the supplementary groups: {error.strerror}") from error
        if set(os.getgroups()) != set(groups):
            raise FastptyError("the kernel reports other groups than those requested")


def become_inner_root(credentials: Credentials | None) -> None:
    """Becomes root of the user namespace that was just entered, or the user in `credentials` if it has no root.

    Raises FastptyError if neither is possible, or if the kernel reports other ids afterwards.
    """
    choices = [(0, 0), *([(credentials.uid, credentials.gid)] if credentials else [])]
    for uid, gid in choices:
        try:
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError:
            continue
        leave_keys()
        if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
            raise FastptyError("the kernel reports other ids than those of its user namespace")
        keep_hidden()
        return
    raise FastptyError("its user namespace has no ids that this process could have")


def confine(credentials: Credentials, more: Collection[int]) -> None:
    """Limits everything executed from now on to the capabilities in `credentials` and `more`, and sets no_new_privs."""
    try:
        for number in _bounding_set():
            if not credentials.capabilities.bounding >> number & 1 and number not in more:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
        if credentials.no_new_privs:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise FastptyError(f"cannot take over its confinement: {error.strerror}") from error


def become(config: Config, groups: Sequence[int] | None, entered: Entered | None = None) -> None:
    """Applies `gid`, `add-gid`, `uid` and `cap`, and otherwise takes the credentials of the process that was joined.

    groups: the result of `groups_wanted`. Raises FastptyError at the first step that fails or cannot be verified.
    """
    joined = entered.credentials if entered else None
    uid, gid = os.getuid(), os.getgid()
    if joined is not None and config.uid is None:
        # Only root can become other users.
        uid, gid = (uid, gid) if config.run_as == "peer" else (joined.uid, joined.gid)
        if config.gid is None:
            groups = [*os.getgroups(), *config.add_gid] if config.add_gid else None
    uid = uid if config.uid is None else config.uid
    gid = gid if config.gid is None else config.gid
    if config.cap:
        _reduce_bounding_set(config.cap)
    if joined is not None or groups is not None:
        drop(uid, gid, groups, keep=_kept(config, joined))
    if config.cap:
        _set_capabilities(config.cap)
    elif joined is not None and config.run_as != "peer":
        _reduce_capabilities(_capabilities(uid, config, joined))


def _kept(config: Config, joined: Credentials | None) -> Collection[int]:
    """The capabilities to keep over the change of ids."""
    if config.cap or joined is None or config.uid is not None:
        return config.cap
    mask = joined.capabilities.permitted | joined.capabilities.inheritable
    return [number for number in range(64) if mask >> number & 1]


def _capabilities(uid: int, config: Config, joined: Credentials) -> Capabilities:
    """The joined process's capabilities, or, with `uid`, those that a program of that user would have there."""
    if config.uid is None:
        return joined.capabilities
    bounding = joined.capabilities.bounding
    mask = bounding if uid == 0 else 0
    return Capabilities(mask, mask, 0, bounding, 0)


def groups_wanted(config: Config) -> list[int] | None:
    """Returns the supplementary groups to set, or None if ids and groups stay as they are.

    Call it outside the jail, where the accounts are the host's. For an ordinary user it is None, because it has no
    other ids to take, even as root of its own user namespace.
    """
    if os.geteuid() != 0 or ((config.uid, config.gid) == (None, None) and not config.add_gid):
        return None
    if config.no_initgroups:
        groups = []
    elif config.uid is not None or config.gid is not None:
        groups = _groups_of(config.uid, os.getgid() if config.gid is None else config.gid)
    else:
        groups = os.getgroups()
    return list(dict.fromkeys([*groups, *config.add_gid]))


def drop(uid: int, gid: int, groups: Sequence[int] | None, keep: Collection[int] = ()) -> None:
    """Sets the real, effective and saved ids and the groups, and verifies that root cannot be regained.

    groups: None leaves them as they are. keep: if there are any, the permitted capabilities outlive the change. Raises
    FastptyError if a step fails, if the kernel reports other ids afterwards, or if root can be regained without `keep`.
    """
    is_hidden = linux.prctl(linux.PR_GET_DUMPABLE) == 0
    try:
        if keep:
            linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        # The user comes last: groups can be changed only as root.
        expected = os.getgroups() if groups is None else _set_groups(groups, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        leave_keys()
        if is_hidden:
            keep_hidden()
    except OSError as error:
        raise FastptyError(f"cannot become uid {uid}, gid {gid}: {error.strerror}") from error
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) != set(expected):
        raise FastptyError(f"the kernel reports other ids than uid {uid} and gid {gid}")
    if uid != 0:
        _check_no_way_back(gid, keep)
        if not keep and any(linux.capget()):
            linux.capset(0, 0, 0)  # a change of user does not clear the inheritable set


def _set_groups(groups: Sequence[int], gid: int) -> Sequence[int]:
    """Sets the groups, and returns what getgroups(2) should report.

    A user namespace may forbid setgroups(2). This is no failure if there are no groups and none but `gid` is wanted.
    """
    try:
        os.setgroups(groups)
    except PermissionError:
        if os.getgroups() or set(groups) - {gid}:
            raise
        return []
    return groups


def _check_no_way_back(gid: int, keep: Collection[int]) -> None:
    attempts: dict[str, Callable[[], None]] = {}
    if _SETUID not in keep:
        attempts["setuid(0)"] = partial(os.setuid, 0)
        attempts["setresuid(0, 0, 0)"] = partial(os.setresuid, 0, 0, 0)
    if _SETGID not in keep:
        attempts["setgroups([0])"] = partial(os.setgroups, [0])
        if gid != 0:
            attempts["setgid(0)"] = partial(os.setgid, 0)
            attempts["setresgid(0, 0, 0)"] = partial(os.setresgid, 0, 0, 0)
    for name, attempt in attempts.items():
        try:
            attempt()
        except PermissionError:
            continue
        except OSError as error:
            if error.errno == errno.EINVAL:  # a user namespace without root
                continue
        raise FastptyError(f"privileges are not gone: {name} still works after the change of user")


def _groups_of(uid: int | None, gid: int) -> list[int]:
    """The groups that initgroups(3) would set, or `gid` alone for a user without an account."""
    if uid is None:
        return [gid]
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _mask(capabilities: Collection[int]) -> int:
    return sum(1 << number for number in capabilities)


def _bounding_set() -> set[int]:
    found = set()
    for number in range(64):
        try:
            if linux.prctl(linux.PR_CAPBSET_READ, number):
                found.add(number)
        except OSError:  # beyond the last capability of this kernel
            break
    return found


def _name(number: int) -> str:
    return next((name for name, known in CAPABILITIES.items() if known == number), str(number))


def _reduce_bounding_set(wanted: Collection[int]) -> None:
    """Reduces the bounding set to `wanted`, so that no program can gain another capability."""
    _, permitted, _ = linux.capget()
    for number in wanted:
        if not permitted >> number & 1:
            raise FastptyError(f"cap: {_name(number)} cannot be kept, since this process does not have it")
    try:
        for number in _bounding_set() - set(wanted):
            linux.prctl(linux.PR_CAPBSET_DROP, number)
    except OSError as error:
        raise FastptyError(f"cap: the bounding set cannot be cut: {error.strerror}") from error


def _set_capabilities(wanted: Collection[int]) -> None:
    """Sets the effective, permitted, inheritable and ambient sets to `wanted`, and verifies that.

    Ambient capabilities pass through execve(2) to the programs of sessions (capabilities(7)).
    """
    mask = _mask(wanted)
    try:
        linux.capset(mask, mask, mask)
        for number in wanted:
            linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)
    except OSError as error:
        raise FastptyError(f"cap: the capabilities cannot be set: {error.strerror}") from error
    ambient = {n for n in _bounding_set() if linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_IS_SET, n)}
    if linux.capget() != (mask, mask, mask) or ambient != set(wanted) or _bounding_set() != set(wanted):
        raise FastptyError("cap: the kernel reports other capabilities than those requested")


def _reduce_capabilities(wanted: Capabilities) -> None:
    """Reduces this process's capabilities to `wanted`, and verifies that."""
    _, permitted, _ = linux.capget()
    bounding = _mask(_bounding_set())
    has = Capabilities(
        wanted.effective & permitted,
        wanted.permitted & permitted,
        wanted.inheritable & permitted & bounding,
        wanted.bounding,
        wanted.ambient & wanted.permitted & wanted.inheritable & permitted & bounding,
    )
    try:
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
        linux.capset(has.effective, has.permitted, has.inheritable)
        for number in _bounding_set():
            if has.ambient >> number & 1:
                linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)
        linux.prctl(linux.PR_SET_KEEPCAPS, 0)
    except OSError as error:
        raise FastptyError(f"the capabilities cannot be set: {error.strerror}") from error
    if linux.capget() != (has.effective, has.permitted, has.inheritable) or bounding & ~wanted.bounding:
        raise FastptyError("the kernel reports other capabilities than those of the process")
