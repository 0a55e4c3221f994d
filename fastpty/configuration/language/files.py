"""Finds configuration files, decides whether to trust them, and reads them in their format."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Collection, Iterator

from fastpty.configuration.language import formats, ini
from fastpty.configuration.language.budget import Budget, opened
from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.source import Expand, Source
from fastpty.errors import UsageError
from fastpty.system.records import dataclass

_Parser = Callable[[Source], Iterator[Setting]]


def _parse_xml(source: Source) -> Iterator[Setting]:
    from fastpty.configuration.language import xml  # only XML files need its library

    return xml.parse(source)


FORMATS: dict[str, _Parser] = {
    "ini": ini.parse,
    "json": formats.parse_json,
    "js": formats.parse_json,
    "toml": formats.parse_toml,
    "xml": _parse_xml,
    "yaml": formats.parse_yaml,
    "yml": formats.parse_yaml,
}
"""The parsers, by the option that names a file of the format, which is also the ending of such a file's name."""

OPTIONS = {**{format_: format_ for format_ in FORMATS}, "xmlconfig": "xml"}
"""The format of the file that each option names."""


@dataclass(frozen=True)
class Place:
    """A file to read: its name as given, its path, the wanted section (None: the usual one) and its format."""

    given: str
    path: str
    section: str | None
    format: str


@dataclass(frozen=True)
class Content:
    """The settings of a file, yielded one by one, and the fstat result of the descriptor they were read from.

    doubt: why the file must not run commands with `@(exec://…)`; None if it may.
    """

    settings: Iterator[Setting]
    status: os.stat_result
    doubt: str | None


def locate(name: str, option: str, last: Place | None) -> Place:
    """Returns the place that `ini = NAME`, `include = NAME` and the like mean.

    NAME is FILE, FILE:SECTION, or :SECTION of the `last` file. Relative names are relative to the working directory,
    as in uWSGI. Raises ValueError if the name cannot be understood.
    """
    if "\0" in name:
        raise ValueError(f"{name!r}: cannot read this file: its name holds a NUL byte")
    if scheme := re.match(r"([a-z]+)://", name):
        raise ValueError(f"{name}: {scheme[1]} is not supported, only files are")
    given, section = _split(name)
    if not given:
        if last is None:
            raise ValueError(f"{name}: no file has been read yet that could have this section: write FILE{name}")
        return Place("", last.path, section, last.format)
    format_ = OPTIONS.get(option) or ending(name)
    if format_ is None:
        known = ", ".join(f".{known}" for known in FORMATS)
        raise ValueError(f"{name}: the format of this file is unknown: its name must end with one of {known}")
    # In the origin of a setting, a leading $ means an environment variable, which is trusted.
    path = f"./{given}" if given.startswith("$") else given
    return Place(given, path, section, format_)


def ending(name: str) -> str | None:
    """The format that the ending of FILE or FILE:SECTION names; None if it names none."""
    found = _split(name)[0].rpartition(".")
    return found[2] if found[1] and found[2] in FORMATS else None


def read(
    place: Place,
    expand: Expand,
    warn: Callable[[str], None],
    includer: os.stat_result | None,
    budget: Budget,
) -> Content:
    """Reads a file. includer: the status of the file that names it; None if the starter of the router names it.

    Everyone who can write to a configuration file controls the router with all its rights. So this raises UsageError if
    users who cannot write to the includer can write to the included file. It also raises UsageError for a file that
    cannot be read. The iterator over the settings raises UsageError for a file that cannot be understood.
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
    # Bytes that are not UTF-8 are kept: a path may hold any.
    text = content.decode("utf-8-sig", "surrogateescape")
    source = Source(text, place.path, place.section, expand, warn)
    return Content(FORMATS[place.format](source), status, _doubt(status, {0, os.geteuid()}))


def _split(name: str) -> tuple[str, str | None]:
    """FILE and SECTION. A section never holds a slash; uWSGI would cut a path with a colon in it in two."""
    path, colon, section = name.rpartition(":")
    if not colon or "/" in section:
        return name, None
    return path, section or None


def _refuse(path: str, doubt: str | None) -> None:
    if doubt:
        raise UsageError(f"{path}: this file is not trusted: {doubt}: chown root and chmod go-w it")


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
        return f"it belongs to uid {status.st_uid}, neither root nor the user who starts the router"
    by_group = status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid, status.st_uid)
    if by_group or status.st_mode & stat.S_IWOTH:
        return "users other than its owner can write to it"
    return None


def _is_private_group(gid: int, uid: int) -> bool:
    """Whether this is a group that useradd(8) has made for this user alone. Debian gives such users the umask 002."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    if uid == 0 or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        return False
    return [account.pw_uid for account in pwd.getpwall() if account.pw_gid == gid] == [uid]
