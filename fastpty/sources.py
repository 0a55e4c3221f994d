"""Configuration files: which are meant by a name, in which format, and what they hold."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass

from fastpty import formats, ini
from fastpty.errors import UsageError
from fastpty.formats import Expand
from fastpty.setting import Setting

_Parser = Callable[[str, str, str | None, Expand], list[Setting]]

FORMATS: dict[str, _Parser] = {
    "ini": ini.parse,
    "json": formats.parse_json,
    "js": formats.parse_json,
    "toml": formats.parse_toml,
    "yaml": formats.parse_yaml,
    "yml": formats.parse_yaml,
}
"""By the option that names a file of the format, which is also what such a file's name ends with."""

_MAX_BYTES = 8 << 20


@dataclass(frozen=True)
class Place:
    """A file as it was named, the path of the file and the section that is meant, and its format."""

    given: str
    path: str
    section: str | None
    format: str


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


def read(place: Place, expand: Expand) -> tuple[list[Setting], str | None]:
    """The settings of a file, and why it must not have commands run (`@(exec://…)`), or None where it may.

    Raises UsageError for a file that cannot be read or understood.
    """
    try:
        with open(place.path, "rb") as file:
            doubt = _doubt(os.fstat(file.fileno()))
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{place.path}: cannot read this file: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"{place.path}: cannot read this file: it is longer than 8 MiB")
    # Bytes that are not UTF-8 come through unharmed: paths may hold any.
    text = content.decode("utf-8-sig", "surrogateescape")
    return FORMATS[place.format](text, place.path, place.section, expand), doubt


def _split(name: str) -> tuple[str, str | None]:
    """FILE and SECTION. What holds a slash is no section: uWSGI would cut a path with a colon in it in two."""
    path, colon, section = name.rpartition(":")
    if not colon or "/" in section:
        return name, None
    return path, section or None


def _doubt(status: os.stat_result) -> str | None:
    if status.st_uid not in (0, os.geteuid()):
        return "it belongs neither to root nor to the user that reads it"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner may write to it"
    return None
