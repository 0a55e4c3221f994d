"""Subordinate ids: those that subuid(5) and subgid(5) let a user take in user namespaces of its own."""

from __future__ import annotations

import bisect
import os
import pwd
from collections import Counter

from fastpty.errors import FastptyError

_BYTES_MOST = 1 << 20


class Subordinates:
    """Whose subordinate id a number is, by a file as it is now; None: no file, and nobody's.

    Raises FastptyError for one that cannot be read, or is too large to be read again at each reload. A file that is not
    there is an empty one.
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
        """The uids of those that may take it; ranges may overlap."""
        place = bisect.bisect_right(self._starts, number)
        return self._owners[place - 1] if place else frozenset()


def _ranges(text: str) -> list[tuple[int, int, int]]:
    """Owner, first and count of each line; lines of users that there are none of are left out, as the tools do."""
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
        raise FastptyError(f"{path}: cannot be read, and rules about users need it: {error.strerror}") from error
    if len(data) > _BYTES_MOST:
        raise FastptyError(f"{path}: has more than {_BYTES_MOST} bytes, too many for rules about users")
    return data.decode("utf-8", "surrogateescape")
