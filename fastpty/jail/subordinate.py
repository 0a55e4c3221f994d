"""Chooses the ids outside that a new user namespace of root maps: subordinate ids, which no account has (subuid(5))."""

from __future__ import annotations

import os

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.system.files import read_text
from fastpty.system.records import dataclass

COUNT = 65536
# The default if root has no range: accounts and other programs do not use these ids (systemd's UIDS-GIDS document).
FIRST = 0x7000_0000


@dataclass(frozen=True)
class OwnIds:
    """The first uid and gid outside. Each range has COUNT ids."""

    uid: int
    gid: int

    @property
    def maps(self) -> dict[str, str]:
        """The text for each map file in /proc/PID."""
        return {"gid_map": f"0 {self.gid} {COUNT}\n", "uid_map": f"0 {self.uid} {COUNT}\n"}


def wanted(config: Config) -> OwnIds | None:
    """Returns the ids for a new user namespace of root, or None if it maps all ids to themselves.

    It maps them to themselves if sessions run as another user or as their clients, or if this process is already in a
    user namespace of its own. In all other cases a session's root would be root outside. Raises FastptyError.
    """
    runs_as_root = config.uid in (None, 0) and config.run_as != "peer"
    if os.geteuid() != 0 or not runs_as_root or "user" not in {*config.unshare, *config.unshare2}:
        return None
    try:
        own_map = read_text("/proc/self/uid_map")
    except OSError as error:
        raise FastptyError(
            f"a user namespace of root needs /proc/self/uid_map: {error.strerror}: mount /proc, or remove user"
        ) from error
    if own_map.split() != ["0", "0", str(2**32 - 1)]:
        return None
    return OwnIds(first_of_root("/etc/subuid"), first_of_root("/etc/subgid"))


def first_of_root(path: str) -> int:
    """Returns the first id of root's range in this file, or of the default range. Raises FastptyError."""
    try:
        lines = [line.split(":") for line in read_text(path).splitlines() if line.count(":") == 2]
        ranges = [(owner, int(first), int(count)) for owner, first, count in lines]
    except FileNotFoundError:
        ranges = []
    except ValueError as error:
        raise FastptyError(f"{path}: {error}") from error
    for owner, first, count in ranges:
        if owner in ("root", "0") and count >= COUNT:
            return first
    for owner, first, count in ranges:
        if first < FIRST + COUNT and first + count > FIRST:
            raise FastptyError(
                f"{path} already gives ids from {FIRST} to {owner}: add a line root:FIRST:{COUNT} with free ids there, "
                "or set uid"
            )
    return FIRST
