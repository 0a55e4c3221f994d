"""Reads uWSGI's ini files, line by line as uWSGI 2.0.21 does (measured with its --show-config).

Left for later: placeholders and variables (`%n`, `%(x)`, `$(X)`, `@(file)`), `include` and the logic
(`if-env`, `for`). They have their place here, between reading a line and giving its setting out.
"""

from __future__ import annotations

import re
from pathlib import Path

from fastpty.errors import UsageError
from fastpty.options import Setting

SECTIONS = frozenset({"uwsgi", "fastpty"})
_BLANKS = " \t\r"

# uWSGI replaces % before any letter, digit or [, by nothing where it has no meaning, and %% by one %.
_MAGIC = re.compile(r"%[A-Za-z0-9%(\[]|[$@]\(")


def read(path: str) -> list[Setting]:
    """The settings of the [uwsgi] and [fastpty] sections of a file, in its order.

    The rules are uWSGI's: blanks around keys and values do not count; `;` and `#` start a comment only at the
    start of a line; quotes and backslashes are part of the value; a key that stands twice counts twice; a key
    without `=` has no value (None here); other sections are passed over.

    Where uWSGI would drop a line silently, a line before the first section or of no form at all, and where it
    takes a file without its section as empty, this raises UsageError.
    """
    section: str | None = None
    seen = False
    settings = []
    for number, line in enumerate(_lines(path), start=1):
        origin = f"{path}:{number}"
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            section = _section(line, origin)
            seen = seen or section in SECTIONS
        elif section is None:
            raise UsageError(f"{origin}: this line is in no section: put [uwsgi] above it")
        elif section in SECTIONS:
            settings.append(_setting(line, origin))
    if not seen:
        raise UsageError(f"{path}: there is no [uwsgi] section")
    return settings


def magic_in(value: str) -> str | None:
    """The first part of a value that uWSGI would expand and this reader takes as it stands, or None."""
    found = _MAGIC.search(value)
    return found[0] if found else None


def _lines(path: str) -> list[str]:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file: {error.strerror}") from error
    except ValueError as error:  # a NUL byte in the name
        raise UsageError(f"{path!r}: cannot read this file: {error}") from error
    # Bytes that are not UTF-8 come through unharmed: paths may hold any.
    text = content.decode("utf-8-sig", "surrogateescape")
    return [line.strip(_BLANKS) for line in text.split("\n")]


def _section(line: str, origin: str) -> str:
    if not line.endswith("]"):
        raise UsageError(f"{origin}: {line!r} is not a section: it should end with ]")
    return line[1:-1].strip(_BLANKS)


def _setting(line: str, origin: str) -> Setting:
    key, equals, value = line.partition("=")
    key = key.rstrip(_BLANKS)
    if not key:
        raise UsageError(f"{origin}: there is no option before the =")
    if "\0" in line:
        raise UsageError(f"{origin}: {key!r} holds a NUL byte")
    return Setting(key, value.lstrip(_BLANKS) if equals else None, origin)
