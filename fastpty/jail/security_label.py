"""Gives the AppArmor or SELinux label of another process to the programs that this process executes."""

from __future__ import annotations

import os
from pathlib import Path

from fastpty.errors import FastptyError
from fastpty.jail.target import Target
from fastpty.system.records import dataclass

_APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
_SELINUX = Path("/sys/fs/selinux/enforce")


@dataclass(frozen=True)
class Label:
    """A label, and the file below /proc/self in which to write it."""

    file: str
    text: str


def of(target: Target) -> Label | None:
    """Returns the target's label, or None if this process has the same one or the kernel uses none."""
    if _says_yes(_APPARMOR):
        folder = "attr/apparmor" if os.path.isdir("/proc/self/attr/apparmor") else "attr"
        profile, own = _read(target, f"{folder}/current"), _own(f"{folder}/current")
        # "docker-default (enforce)"; the mode is not part of the name.
        return None if profile == own else Label(f"{folder}/exec", f"exec {profile.rpartition(' (')[0] or profile}")
    if _SELINUX.exists():
        context, own = _read(target, "attr/current"), _own("attr/current")
        return None if context == own else Label("attr/exec", context)
    return None


def apply(label: Label | None) -> None:
    """Sets the label of the programs that this process and its children execute.

    Children inherit the request until their first execve(2), which uses it up. Raises FastptyError if the label cannot
    be set: sessions would be less confined than the target.
    """
    if label is None:
        return
    try:
        Path("/proc/self", label.file).write_text(label.text)
    except OSError as error:
        raise FastptyError(f"cannot take the security label {label.text!r}: {error.strerror}") from error


def _read(target: Target, name: str) -> str:
    return target.read(name).rstrip("\0\n")


def _own(name: str) -> str:
    return Path("/proc/self", name).read_text().rstrip("\0\n")


def _says_yes(file: Path) -> bool:
    try:
        return file.read_text().strip() == "Y"
    except OSError:
        return False
