"""Mounting and unmounting, as uWSGI's `mount` and `umount` hooks write it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastpty.system import linux

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

# What a bind mount takes over from its source and mount(2) ignores, until it is mounted anew.
_OF_THE_MOUNT = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOATIME


@dataclass(frozen=True)
class Mount:
    """`TYPE WHAT WHERE [FLAG,FLAG... [DATA]]`: a call of mount(2)."""

    kind: str
    what: str
    where: str
    flags: int = 0
    data: str | None = None

    def run(self) -> None:
        """Mounts; raises OSError. A bind mount with `ro` and its like gets these, as with mount(8)."""
        linux.mount(self.what, self.where, self.kind or None, self.flags, self.data)
        if self.flags & linux.MS_BIND and self.flags & _OF_THE_MOUNT and not self.flags & linux.MS_REMOUNT:
            linux.mount(None, self.where, None, self.flags & ~linux.MS_REC | linux.MS_REMOUNT)


@dataclass(frozen=True)
class Umount:
    """`WHERE [FLAG,FLAG...]`: a call of umount2(2), or with `rec` of one for each mount below as well."""

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
    """What `text` asks for; raises ValueError."""
    words = text.split(" ", 4)
    if len(words) < 3 or not words[2]:
        raise ValueError(f"{text!r} is not TYPE WHAT WHERE [FLAGS [DATA]]")
    kind, what, where = words[:3]
    flags = _flags(words[3], _MOUNT_FLAGS) if len(words) > 3 else 0
    return Mount(kind, what, where, flags, words[4] if len(words) > 4 else None)


def parse_umount(text: str) -> Umount:
    """What `text` asks for; raises ValueError."""
    where, _, flags = text.partition(" ")
    if not where:
        raise ValueError("needs the place of a mount")
    return Umount(where, _flags(flags, _UMOUNT_FLAGS))


def _flags(text: str, known: dict[str, int]) -> int:
    flags = 0
    for word in filter(None, text.split(",")):
        if word not in known:
            raise ValueError(f"{word!r} is not a flag (known: {', '.join(known)})")
        flags |= known[word]
    return flags


def _below(where: str) -> list[str]:
    """The places of all mounts below `where`, in the order of mounting."""
    top = os.path.realpath(where).rstrip("/") + "/"
    return [place for place in mount_points() if place.startswith(top)]


def mount_points() -> Iterable[str]:
    """The places of all mounts, from /proc; raises OSError."""
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        # proc(5): blank, tab, newline and backslash stand there in octal.
        yield re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
