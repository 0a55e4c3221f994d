"""Mounts and unmounts, with the syntax of uWSGI's `mount` and `umount` hooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from fastpty.system import linux
from fastpty.system.files import read_text
from fastpty.system.records import dataclass

_MOUNT_FLAGS = {
    "defaults": 0,
    "bind": linux.MS_BIND,
    "dirsync": linux.MS_DIRSYNC,
    "mandlock": linux.MS_MANDLOCK,
    "move": linux.MS_MOVE,
    "noatime": linux.MS_NOATIME,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
    "nosuid": linux.MS_NOSUID,
    "rdonly": linux.MS_RDONLY,
    "readonly": linux.MS_RDONLY,
    "ro": linux.MS_RDONLY,
    "remount": linux.MS_REMOUNT,
    "sync": linux.MS_SYNCHRONOUS,
    "rec": linux.MS_REC,
    "recursive": linux.MS_REC,
    "private": linux.MS_PRIVATE,
    "slave": linux.MS_SLAVE,
    "shared": linux.MS_SHARED,
}
_UMOUNT_FLAGS = {"force": linux.MNT_FORCE, "detach": linux.MNT_DETACH, "rec": linux.MS_REC, "recursive": linux.MS_REC}

# mount(2) ignores these flags for a bind mount, until it is remounted.
_OF_THE_MOUNT = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOATIME


@dataclass(frozen=True)
class Mount:
    """`TYPE WHAT WHERE [FLAG,FLAG... [DATA]]`: the arguments of mount(2)."""

    kind: str
    what: str
    where: str
    flags: int = 0
    data: str | None = None

    def run(self) -> None:
        """Mounts; raises OSError. Flags such as `ro` apply to bind mounts too, as with mount(8)."""
        linux.mount(self.what, self.where, self.kind or None, self.flags, self.data)
        if self.flags & linux.MS_BIND and self.flags & _OF_THE_MOUNT and not self.flags & linux.MS_REMOUNT:
            linux.mount(None, self.where, None, self.flags & ~linux.MS_REC | linux.MS_REMOUNT)


@dataclass(frozen=True)
class Umount:
    """`WHERE [FLAG,FLAG...]`: the arguments of umount2(2). With `rec`, all mounts below WHERE are unmounted first."""

    where: str
    flags: int = 0

    def run(self) -> None:
        """Unmounts; raises OSError."""
        flags = self.flags & ~linux.MS_REC
        if self.flags & linux.MS_REC:
            for place in reversed(_below(self.where)):
                linux.umount(place, flags)
        linux.umount(self.where, flags)


def parse_mount(text: str) -> Mount:
    """Parses the value of a mount hook; raises ValueError."""
    words = text.split(" ", 4)
    if len(words) < 3 or not words[2]:
        raise ValueError(f"{text!r} is not TYPE WHAT WHERE [FLAGS [DATA]]")
    kind, what, where = words[:3]
    flags = _flags(words[3], _MOUNT_FLAGS) if len(words) > 3 else 0
    return Mount(kind, what, where, flags, words[4] if len(words) > 4 else None)


def parse_umount(text: str) -> Umount:
    """Parses the value of an umount hook; raises ValueError."""
    where, _, flags = text.partition(" ")
    if not where:
        raise ValueError("needs a value: WHERE [FLAGS]")
    return Umount(where, _flags(flags, _UMOUNT_FLAGS))


def _flags(text: str, known: dict[str, int]) -> int:
    flags = 0
    for word in filter(None, text.split(",")):
        if word not in known:
            raise ValueError(f"{word!r} is not a mount flag (known: {', '.join(known)})")
        flags |= known[word]
    return flags


def _below(where: str) -> list[str]:
    """The mount points below `where`, in the order of mounting."""
    top = os.path.realpath(where).rstrip("/") + "/"
    return [place for place in mount_points() if place.startswith(top)]


def mount_points() -> Iterable[str]:
    """All mount points, from /proc; raises OSError."""
    for line in read_text("/proc/self/mountinfo", "surrogateescape").splitlines():
        # proc(5): space, tab, newline and backslash are written in octal.
        yield re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
