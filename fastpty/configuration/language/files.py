"""Configuration files: which are meant by a name, in which format, and what they hold."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from fastpty.configuration.language import formats, ini
from fastpty.configuration.language.budget import Budget, opened
from fastpty.configuration.language.formats import Expand
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError

_Parser = Callable[[str, str, str | None, Expand], Iterator[Setting]]

FORMATS: dict[str, _Parser] = {
    "ini": ini.parse,
    "json": formats.parse_json,
    "js": formats.parse_json,
    "toml": formats.parse_toml,
    "yaml": formats.parse_yaml,
    "yml": formats.parse_yaml,
}
"""By the option that names a file of the format, which is also what such a file's name ends with."""


@dataclass(frozen=True)
class Place:
    """A file as it was named, the path of the file and the section that is meant, and its format."""

    given: str
    path: str
    section: str | None
    format: str


@dataclass(frozen=True)
class Content:
    """The settings of a file, to be read one after the other, and what the descriptor told from which they were read.

    `doubt` says why it must not have commands run (`@(exec://…)`), or is None where it may.
    """

    settings: Iterator[Setting]
    status: os.stat_result
    doubt: str | None


def locate(name: str, option: str, last: Place | None) -> Place:
    """What `ini = NAME`, `include = NAME` and the like mean: FILE, FILE:SECTION, or :SECTION of the `last` file.

    Relative names are relative to the working directory, as in uWSGI. Raises ValueError where there is no saying.
    """
    if "\0" in name:
        raise ValueError(f"{name!r}: cannot read this file: its name holds a NUL byte")
    if scheme := re.match(r"([a-z]+)://", name):
        raise ValueError(f"{name}: {scheme[1]} is not supported, only files are read")
    given, section = _split(name)
    if not given:
        if last is None:
            raise ValueError(f"{name}: there is no file yet that this could be a section of")
        return Place("", last.path, section, last.format)
    format_ = option if option in FORMATS else ending(name)
    if format_ is None:
        known = ", ".join(f".{known}" for known in FORMATS)
        raise ValueError(f"{name}: a name that ends with one of {known} would tell the format")
    # As the origin of settings a $ would pass for a variable of the environment, which is trusted.
    path = f"./{given}" if given.startswith("$") else given
    return Place(given, path, section, format_)


def ending(name: str) -> str | None:
    """The format that the name of a file, or FILE:SECTION, ends with, or None."""
    found = _split(name)[0].rpartition(".")
    return found[2] if found[1] and found[2] in FORMATS else None


def read(place: Place, expand: Expand, includer: os.stat_result | None, budget: Budget) -> Content:
    """What a file holds. `includer` is of the file that names it, or None where who starts the router does.

    Who may write to a file decides what the router does with all its rights. So raises UsageError for an included file
    that others may write to than those who may write to the includer, and for one that cannot be read or, once its
    settings are asked for, understood.
    """
    try:
        with opened(place.path) as descriptor:
            status = os.fstat(descriptor)
            if includer is not None and not os.path.samestat(status, includer):
                owners = {0, os.geteuid(), includer.st_uid}
                _refuse(place.path, _doubt(status, owners))
                _check_directory(place.path, owners)
            content = budget.read(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{place.path}: cannot read this file: {reason}") from error
    # Bytes that are not UTF-8 come through unharmed: paths may hold any.
    text = content.decode("utf-8-sig", "surrogateescape")
    settings = FORMATS[place.format](text, place.path, place.section, expand)
    return Content(settings, status, _doubt(status, {0, os.geteuid()}))


def _split(name: str) -> tuple[str, str | None]:
    """FILE and SECTION. What holds a slash is no section: uWSGI would cut a path with a colon in it in two."""
    path, colon, section = name.rpartition(":")
    if not colon or "/" in section:
        return name, None
    return path, section or None


def _refuse(path: str, doubt: str | None) -> None:
    if doubt:
        raise UsageError(f"{path}: this file is not read: {doubt}: chown it to root, chmod go-w")


def _check_directory(path: str, owners: Collection[int]) -> None:
    """Raises UsageError if others may put another file in the place of this one."""
    directory = os.path.dirname(os.path.realpath(path))
    status = os.stat(directory)
    if status.st_mode & stat.S_ISVTX and status.st_uid in owners:
        return  # as in /tmp: only the owners of a file and of the directory may replace the file
    if doubt := _doubt(status, owners):
        raise UsageError(f"{path}: this file is not read: its directory {directory} is not safe: {doubt}")


def _doubt(status: os.stat_result, owners: Collection[int]) -> str | None:
    if status.st_uid not in owners:
        return f"it belongs to uid {status.st_uid}, neither root nor who starts the router"
    by_group = status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid, status.st_uid)
    if by_group or status.st_mode & stat.S_IWOTH:
        return "others than its owner may write to it"
    return None


def _is_private_group(gid: int, uid: int) -> bool:
    """Whether this is the group that useradd(8) makes for this user alone. Debian gives its users the umask 002."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    if uid == 0 or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        return False
    return [account.pw_uid for account in pwd.getpwall() if account.pw_gid == gid] == [uid]
