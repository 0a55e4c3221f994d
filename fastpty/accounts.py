"""Accounts: whom a session runs as where it runs as its client."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from fastpty.errors import FastptyError, RefusedError

_NO_SHELL = "/bin/sh"  # passwd(5): an empty field means this


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
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}

    @property
    def login_argv(self) -> list[str]:
        """A login shell's arguments: the dash says what it is."""
        return [f"-{os.path.basename(self.shell)}"]


def check(run_as: str | None) -> None:
    """Raises FastptyError if this process cannot become its clients."""
    if run_as == "peer" and os.geteuid() != 0:
        raise FastptyError("run-as peer needs root: start as root, or leave it out")


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
