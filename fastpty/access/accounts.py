"""Accounts: what passwd(5) and group(5) say about the user that a session runs as."""

from __future__ import annotations

import os
import pwd
import re
import stat
import time
from collections.abc import Mapping
from functools import partial

from fastpty.access.limits import Seats
from fastpty.errors import FastptyError, RefusedError
from fastpty.system import child, foreign_root
from fastpty.system.records import dataclass, replace

_NO_SHELL = "/bin/sh"  # passwd(5): an empty field means this
_MAIL = "/var/mail"  # login.defs(5), MAIL_DIR
_FILE_BYTES_MOST = 1 << 20
_READERS_MOST = 16
_READER_SECONDS = 0.01

# Groups: name, uid, gid, home, shell; gid, members. Lines that begin with + or - are no entries: nsswitch.conf(5),
# "compat".
_NAME, _ANY, _ID = r"([^:\n\0+-][^:\n\0]*)", r"[^:\n\0]*", r"([0-9]{1,10})"
_PASSWD_LINE = re.compile(rf"^{_NAME}:{_ANY}:{_ID}:{_ID}:{_ANY}:({_ANY}):({_ANY})$", re.M)
_GROUP_LINE = re.compile(rf"^{_NAME}:{_ANY}:{_ID}:({_ANY})$", re.M)
_ID_MOST = (1 << 32) - 2  # the next one means "no change": setresuid(2)


class NoAccountError(RefusedError):
    """There is no account with this uid."""


@dataclass(frozen=True)
class Account:
    """An entry of passwd(5), with the supplementary groups that initgroups(3) would set."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that login(1) sets."""
        return {
            **{"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell},
            "MAIL": f"{_MAIL}/{self.name}",
        }

    @property
    def login_argv(self) -> list[str]:
        """The arguments of a login shell: the dash marks it as one."""
        return [f"-{os.path.basename(self.shell)}"]


def check(run_as: str | None) -> None:
    """Raises FastptyError if `run-as peer` is set and this process cannot change its user."""
    if run_as == "peer" and os.geteuid() != 0:
        raise FastptyError("run-as peer needs root: start the router as root, or remove run-as")


class ForeignAccounts:
    """The accounts of a foreign root, from /etc/passwd and /etc/group alone.

    The C library would load modules from there (nsswitch.conf(5)), and so run code from a root that others may control
    in a process with the rights of root. seats: each process that reads has one of the first 16, so that no more can
    get stuck.
    """

    def __init__(self, seats: Seats) -> None:
        self._seats = seats

    def find(self, uid: int) -> Account:
        """Waits for an account, for up to five seconds: only for a process that serves nobody else.

        Raises RefusedError if there is no account, or none that can be trusted, or if the files do not answer.
        """
        try:
            account, _ = foreign_root.in_time("reading accounts", partial(self._read, uid), [self._seats.fileno()])
        except OSError as error:
            raise RefusedError(f"the accounts of this root cannot be read: {error.strerror}") from error
        assert isinstance(account, Account)
        return account

    def _read(self, uid: int) -> child.Answer:
        while self._seats.take(0, _READERS_MOST) is None:
            time.sleep(_READER_SECONDS)
        return _account_in_files(uid), ()


def environment_of(uid: int, in_changed_root: bool) -> Mapping[str, str | None]:
    """The variables that login(1) sets for this uid. None: to be removed. Without an account, HOME is /.

    Raises FastptyError if the files of a changed root do not answer in time.
    """
    try:
        if not in_changed_root:
            return account_of(uid).environment
        account, _ = foreign_root.in_time("reading /etc/passwd", lambda: (_entry_in_files(uid), ()))
    except RefusedError:
        return {"HOME": "/", "USER": None, "LOGNAME": None, "SHELL": _NO_SHELL, "MAIL": None}
    except OSError as error:
        raise FastptyError(f"/etc/passwd of this root cannot be read: {error.strerror}") from error
    assert isinstance(account, Account)
    return account.environment


def account_of(uid: int) -> Account:
    """The account with this uid; raises NoAccountError if there is none.

    Asks the account database (nsswitch.conf(5)) each time, so that a change takes effect at once, and waits for the
    answer. A process that serves clients uses `lookups.account_of`.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise NoAccountError(f"uid {uid} has no account here") from None
    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid))))
    return Account(uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir or "/", entry.pw_shell or _NO_SHELL)


def _account_in_files(uid: int) -> Account:
    entry = _entry_in_files(uid)
    of_groups = [(int(number), members.split(",")) for _, number, members in _GROUP_LINE.findall(_read("/etc/group"))]
    more = {number for number, members in of_groups if entry.name in members and number <= _ID_MOST}
    return replace(entry, groups=tuple(sorted({entry.gid, *more})))


def _entry_in_files(uid: int) -> Account:
    """The account, with its primary group only."""
    entries = [found for found in _PASSWD_LINE.findall(_read("/etc/passwd")) if int(found[1]) == uid]
    if not entries or int(entries[0][2]) > _ID_MOST:
        raise RefusedError(f"uid {uid} has no account here")
    name, _, gid, home, shell = entries[0]
    return Account(uid, int(gid), (int(gid),), name, home or "/", shell or _NO_SHELL)


def _read(path: str) -> str:
    """Reads a file that only root may write to; raises RefusedError for another one.

    A user who may write to it could join any group, and a gid means the same outside this root.
    """
    try:
        # O_NONBLOCK: opening a FIFO would block.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with open(foreign_root.open_no_link(path, flags), "rb") as file:
            if not _is_root_s_alone(os.fstat(file.fileno())):
                raise RefusedError(f"{path} in the router's root can be written by users other than root")
            data = file.read(_FILE_BYTES_MOST + 1)
    except OSError as error:
        raise RefusedError(f"{path} in the router's root cannot be read: {error.strerror}") from error
    if len(data) > _FILE_BYTES_MOST:
        raise RefusedError(f"{path} in the router's root is longer than 1 MiB")
    return os.fsdecode(data)


def _is_root_s_alone(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
