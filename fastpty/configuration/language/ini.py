"""uWSGI's ini files, line by line as uWSGI 2.0.21 reads them (measured with its --show-config)."""

from __future__ import annotations

from collections.abc import Iterator

from fastpty.configuration.language.formats import DEFAULT_SECTIONS, OURS, Expand, refuse_misspelt
from fastpty.configuration.language.setting import Setting
from fastpty.errors import UsageError

_BLANKS = " \t\r"


def parse(text: str, path: str, section: str | None, expand: Expand) -> Iterator[Setting]:
    """The settings of one section, or without one of [uwsgi] and [fastpty], in the file's order.

    The rules are uWSGI's: blanks around keys and values do not count; `;` and `#` start a comment only at the
    start of a line; quotes and backslashes are part of the value; a key that stands twice counts twice; a key
    without `=` has no value (None here); a section that stands twice is one; others are passed over. `expand` puts
    the magic variables in.

    Where uWSGI would drop a line silently, a line before the first section or of no form at all, and where it
    takes a file without its section as empty, this raises UsageError.
    """
    wanted = DEFAULT_SECTIONS if section is None else frozenset({section})
    current: str | None = None
    seen = False
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(_BLANKS)
        origin = f"{path}:{number}"
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            current = expand(_section(line, origin), origin).whole
            seen = seen or current in wanted
            if section is None:
                refuse_misspelt(current, origin)
        elif current is None:
            raise UsageError(f"{origin}: this line is in no section: put [uwsgi] above it")
        elif current in wanted:
            yield _setting(line, origin, expand, is_ours=current == OURS)
    if not seen:
        raise UsageError(f"{path}: there is no [{section or 'uwsgi'}] section")


def _section(line: str, origin: str) -> str:
    if not line.endswith("]"):
        raise UsageError(f"{origin}: {line!r} is not a section: it should end with ]")
    return line[1:-1]


def _setting(line: str, origin: str, expand: Expand, *, is_ours: bool) -> Setting:
    key, equals, value = line.partition("=")
    key = key.rstrip(_BLANKS)
    if not key:
        raise UsageError(f"{origin}: there is no option before the =")
    bare = Setting(expand(key, origin).whole, None, origin, is_ours=is_ours)
    return bare.saying(expand(value.lstrip(_BLANKS), origin)) if equals else bare
