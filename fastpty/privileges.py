"""Whom the router becomes: ids, groups and capabilities, given up for good and checked."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Sequence
from functools import partial

from fastpty import linux
from fastpty._spawn import leave_keys
from fastpty.config import Config
from fastpty.errors import FastptyError
from fastpty.values import CAPABILITIES

_SETGID, _SETUID = CAPABILITIES["setgid"], CAPABILITIES["setuid"]


def become_immediately(config: Config) -> None:
    """`immediate-gid` and `immediate-uid`: before anything else is done, in this order; for good.

    uWSGI does them in the order of writing, and then a group after the user fails.
    """
    uid, gid = config.immediate_uid, config.immediate_gid
    if (uid, gid) == (None, None) or os.geteuid() != 0:
        return
    wanted_gid = os.getgid() if gid is None else gid
    drop(os.getuid() if uid is None else uid, wanted_gid, _groups_of(uid, wanted_gid))


def become(config: Config, groups: Sequence[int] | None) -> None:
    """`gid`, `add-gid`, `uid` and `cap`, together; `groups` as `groups_wanted` gave them.

    Raises FastptyError at the first step that fails or cannot be shown to have worked.
    """
    uid = os.getuid() if config.uid is None else config.uid
    gid = os.getgid() if config.gid is None else config.gid
    if config.cap:
        _bound(config.cap)
    if groups is not None:
        drop(uid, gid, groups, keep=config.cap)
    if config.cap:
        _keep(config.cap)


def groups_wanted(config: Config) -> list[int] | None:
    """The supplementary groups to have, or None where ids and groups stay as they are.

    To be asked outside the jail: the accounts are the host's. An ordinary user has no others to become, also where he
    is root in a user namespace.
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


def drop(uid: int, gid: int, groups: Sequence[int], keep: Collection[int] = ()) -> None:
    """Becomes this user and these groups (real, effective and saved ids), and checks that it is for good.

    The permitted capabilities outlive the change if any are to `keep`. Raises FastptyError if a step fails, if the
    kernel reports other ids afterwards, or if root can be regained by means that were not to be kept.
    """
    try:
        if keep:
            linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        # The user last: without root, the groups could not be changed any more.
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        leave_keys()
    except OSError as error:
        raise FastptyError(f"cannot become uid {uid}, gid {gid}: {error.strerror}") from error
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) != set(groups):
        raise FastptyError(f"uid {uid} and gid {gid} were asked for, but the kernel reports others")
    if uid != 0:
        _check_no_way_back(gid, keep)
        if not keep and any(linux.capget()):
            linux.capset(0, 0, 0)  # a change of user leaves the inheritable ones that root had


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
        raise FastptyError(f"privileges are not gone: {name} still works after the change of user")


def _groups_of(uid: int | None, gid: int) -> list[int]:
    """The supplementary groups that initgroups(3) would set, or `gid` alone for a user without an account."""
    if uid is None:
        return [gid]
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


def _mask(capabilities: Collection[int]) -> int:
    return sum(1 << number for number in capabilities)


def _bounding() -> set[int]:
    found = set()
    for number in range(64):
        try:
            if linux.prctl(linux.PR_CAPBSET_READ, number):
                found.add(number)
        except OSError:  # beyond the kernel's last one
            break
    return found


def _name(number: int) -> str:
    return next((name for name, known in CAPABILITIES.items() if known == number), str(number))


def _bound(wanted: Collection[int]) -> None:
    """Cuts the bounding set to `wanted`, so that no program can ever gain another one."""
    _, permitted, _ = linux.capget()
    for number in wanted:
        if not permitted >> number & 1:
            raise FastptyError(f"cap: {_name(number)} cannot be kept, since this process does not have it")
    try:
        for number in _bounding() - set(wanted):
            linux.prctl(linux.PR_CAPBSET_DROP, number)
    except OSError as error:
        raise FastptyError(f"cap: the bounding set cannot be cut: {error.strerror}") from error


def _keep(wanted: Collection[int]) -> None:
    """Makes `wanted` the effective, permitted, inheritable and ambient capabilities, and checks that.

    Ambient ones pass to the programs of the sessions through execve(2), see capabilities(7).
    """
    mask = _mask(wanted)
    try:
        linux.capset(mask, mask, mask)
        for number in wanted:
            linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, number)
    except OSError as error:
        raise FastptyError(f"cap: the capabilities cannot be set: {error.strerror}") from error
    ambient = {n for n in _bounding() if linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_IS_SET, n)}
    if linux.capget() != (mask, mask, mask) or ambient != set(wanted) or _bounding() != set(wanted):
        raise FastptyError("cap: these capabilities were asked for, but the kernel reports others")
