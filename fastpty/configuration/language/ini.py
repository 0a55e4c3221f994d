"""Parses ini files line by line, as uWSGI 2.0.21 does (measured with its --show-config)."""

from __future__ import annotations

from collections.abc import Iterator

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.source import OURS, Source
from fastpty.errors import UsageError

_BLANKS = " \t\r"


def parse(source: Source) -> Iterator[Setting]:
    """Yields the settings of one section, in the order of the file.

    The rules are uWSGI's: blanks around keys and values do not count; `;` and `#` start a comment only at the
    beginning of a line; quotes and backslashes are part of the value; a key that stands twice counts twice; a key
    without `=` has no value (None here); a section that stands twice is one; other sections are ignored.

    Raises UsageError where uWSGI would silently drop a line (before the first section, or without a key) or read
    nothing (the section is missing).
    """
    lines: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, str] = {}
    current: str | None = None
    for number, line in enumerate(source.text.split("\n"), start=1):
        line = line.strip(_BLANKS)
        origin = f"{source.path}:{number}"
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            current = source.expand(_section(line, origin), origin).whole
            found.setdefault(current, origin)
        elif current is None:
            raise UsageError(f"{origin}: {_why_outside(line)}")
        else:
            lines.setdefault(current, []).append((line, origin))
    chosen = source.choose(found)
    for line, origin in lines.get(chosen, ()):
        yield _setting(source, line, origin, is_ours=chosen == OURS)


def _why_outside(line: str) -> str:
    formats = {"<": "XML", "{": "JSON"}
    if line[0] in formats:
        name = formats[line[0]]
        return f"this looks like {name}, not like an ini file: name the file with --{name.lower()}"
    return "this line stands before the first section: put [fastpty] above it"


def _section(line: str, origin: str) -> str:
    if not line.endswith("]"):
        raise UsageError(f"{origin}: {line!r} is not a section: it should end with ]")
    return line[1:-1]


def _setting(source: Source, line: str, origin: str, *, is_ours: bool) -> Setting:
    key, equals, value = line.partition("=")
    key = key.rstrip(_BLANKS)
    if not key:
        raise UsageError(f"{origin}: there is no option before the =")
    return source.setting(key, value.lstrip(_BLANKS) if equals else None, origin, is_ours=is_ours)
