"""Subordinate ids: subuid(5) and subgid(5) let a user take them in user namespaces of its own."""

from __future__ import annotations

import bisect
import os
import pwd
from collections import Counter

from fastpty.errors import FastptyError

_BYTES_MOST = 1 << 20


class Subordinates:
    """The owners of subordinate ids, as the file lists them now.

    path: None for no owners at all. A missing file counts as empty. Raises FastptyError if the file cannot be read, or
    has more than 1 MiB, since each reload reads it.
    """

    def __init__(self, path: str | None) -> None:
        self._starts: list[int] = []
        self._owners: list[frozenset[int]] = []
        changes: dict[int, list[tuple[int, int]]] = {}
        for owner, start, count in _ranges("" if path is None else _read(path)):
            changes.setdefault(start, []).append((owner, 1))
            changes.setdefault(start + count, []).append((owner, -1))
        present: Counter[int] = Counter()
        for start in sorted(changes):
            for owner, change in changes[start]:
                present[owner] += change
            self._starts.append(start)
            self._owners.append(frozenset(+present))

    def owners(self, number: int) -> frozenset[int]:
        """The uids that may take this id. Ranges may overlap."""
        place = bisect.bisect_right(self._starts, number)
        return self._owners[place - 1] if place else frozenset()


def _ranges(text: str) -> list[tuple[int, int, int]]:
    """Owner, first id and count of each line. Lines of unknown users are skipped, as newuidmap(1) does."""
    found = []
    uids: dict[str, int | None] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            name = fields[0]
            uid = uids[name] if name in uids else uids.setdefault(name, _uid(name))
            if uid is not None:
                found.append((uid, int(fields[1]), int(fields[2])))
    return found


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() else None


def _read(path: str) -> str:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            data = file.read(_BYTES_MOST + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise FastptyError(f"cannot read {path}, which the rules about users need: {error.strerror}") from error
    if len(data) > _BYTES_MOST:
        raise FastptyError(f"{path}: has more than {_BYTES_MOST} bytes, too many for rules about users")
    return data.decode("utf-8", "surrogateescape")
