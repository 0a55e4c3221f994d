"""Accounts: whom a session runs as where it runs as its client."""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fastpty.errors import FastptyError, RefusedError
from fastpty.system import foreign_root

_NO_SHELL = "/bin/sh"  # passwd(5): an empty field means this
_MAIL = "/var/mail"  # login.defs(5), MAIL_DIR
_FILE_BYTES_MOST = 1 << 20

# Name, uid, gid, home, shell; gid, members. What begins with + or - is no entry: nsswitch.conf(5), "compat".
_NAME, _ANY, _ID = r"([^:\n\0+-][^:\n\0]*)", r"[^:\n\0]*", r"([0-9]{1,10})"
_PASSWD_LINE = re.compile(rf"^{_NAME}:{_ANY}:{_ID}:{_ID}:{_ANY}:({_ANY}):({_ANY})$", re.M)
_GROUP_LINE = re.compile(rf"^{_NAME}:{_ANY}:{_ID}:({_ANY})$", re.M)
_ID_MOST = (1 << 32) - 2  # the one after it stands for no change


@dataclass(frozen=True)
class Account:
    """An entry of passwd(5), and the supplementary groups that initgroups(3) would set."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        """What login(1) sets."""
        return {
            **{"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell},
            "MAIL": f"{_MAIL}/{self.name}",
        }

    @property
    def login_argv(self) -> list[str]:
        """A login shell's arguments: the dash says what it is."""
        return [f"-{os.path.basename(self.shell)}"]


def check(run_as: str | None) -> None:
    """Raises FastptyError if this process cannot become its clients."""
    if run_as == "peer" and os.geteuid() != 0:
        raise FastptyError("run-as peer needs root: start as root, or leave it out")


def lookup(in_changed_root: bool) -> Callable[[int], Account]:
    """How the sessions' accounts are found: from a uid; it raises RefusedError where that has none, or none to believe.

    In a changed root its files alone are read. The C library would load what else the account database may need
    (nsswitch.conf(5)) from there, code of who knows whom, into a process that is root.
    """
    return _account_in_files if in_changed_root else account_of


def environment_of(uid: int, in_changed_root: bool) -> Mapping[str, str | None]:
    """What login(1) sets for this uid. None: to be removed. A uid without an account has / for its home."""
    try:
        account = _entry_in_files(uid) if in_changed_root else account_of(uid)
        return account.environment
    except RefusedError:
        return {"HOME": "/", "USER": None, "LOGNAME": None, "SHELL": _NO_SHELL, "MAIL": None}


def account_of(uid: int) -> Account:
    """The account with this uid; raises RefusedError if there is none.

    Asks the account database (nsswitch.conf(5)) each time, so that a change counts at once; one that is slow to answer
    holds up the router.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise RefusedError(f"uid {uid} has no account here") from None
    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid))))
    return Account(uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir or "/", entry.pw_shell or _NO_SHELL)


def _account_in_files(uid: int) -> Account:
    entry = _entry_in_files(uid)
    of_groups = [(int(number), members.split(",")) for _, number, members in _GROUP_LINE.findall(_read("/etc/group"))]
    more = {number for number, members in of_groups if entry.name in members and number <= _ID_MOST}
    return replace(entry, groups=tuple(sorted({entry.gid, *more})))


def _entry_in_files(uid: int) -> Account:
    """The account with no group but its first."""
    entries = [found for found in _PASSWD_LINE.findall(_read("/etc/passwd")) if int(found[1]) == uid]
    if not entries or int(entries[0][2]) > _ID_MOST:
        raise RefusedError(f"uid {uid} has no account here")
    name, _, gid, home, shell = entries[0]
    return Account(uid, int(gid), (int(gid),), name, home or "/", shell or _NO_SHELL)


def _read(path: str) -> str:
    """What root, and nobody else, has written there: it decides about groups, which are the same in every root."""
    try:
        # Something else than a file must not keep the router waiting.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with open(foreign_root.open_no_link(path, flags), "rb") as file:
            if not _is_root_s_alone(os.fstat(file.fileno())):
                raise RefusedError(f"{path} of this root is not root's alone to write to")
            data = file.read(_FILE_BYTES_MOST + 1)
    except OSError as error:
        raise RefusedError(f"{path} of this root cannot be read: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MOST:
        raise RefusedError(f"{path} of this root is longer than 1 MiB")
    return os.fsdecode(data)


def _is_root_s_alone(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
