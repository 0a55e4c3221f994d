"""Settings in JSON, YAML and TOML: an object or table named uwsgi or fastpty, a key for each option.

JSON and YAML are in uWSGI's form (2.0.21, measured): a list is its items one after the other, true is 1 and false 0, a
number is its text. TOML is ours and the same; there a number in octal or hex must be quoted, since its form is lost.
Where uWSGI passes over an object in the place of a value, and takes JSON's null as 0, this is an error; where it passes
over a key of YAML with nothing behind it, this is an option without a value.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastpty.errors import UsageError
from fastpty.setting import Setting

Expand = Callable[[str, str], str]
"""Puts the magic variables into a text; the second argument is its origin."""

DEFAULT_SECTIONS = frozenset({"uwsgi", "fastpty"})

_BLANKS = re.compile(r"[ \t\r\n]*")
_OTHER_BASE = re.compile(r"\b0[xob]")


def parse_json(text: str, path: str, section: str | None, expand: Expand) -> list[Setting]:
    """The settings of `{"uwsgi": {...}}`, each with its line. Raises UsageError for what JSON or we do not take."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    try:
        _object(decoder.decode(text), f"{path}:1")
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: this is not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError:
        raise UsageError(f"{path}: this JSON is nested too deep") from None
    settings = []
    found = False
    for name, value, at in _members(text, 0, decoder):
        if not _wanted(name, section):
            continue
        found = True
        _object(value, f"{path}:{_line(text, at)}")
        for key, content, place in _members(text, at, decoder):
            settings += _settings(key, content, f"{path}:{_line(text, place)}", expand)
    return _found(found, settings, path, section)


def _members(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[tuple[str, Any, int]]:
    """The keys, values and values' places of the JSON object at a place of a text that is known to be JSON."""
    at = _skip(text, text.index("{", at) + 1)
    while text[at] == '"':
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        place = at
        value, at = decoder.raw_decode(text, at)
        yield key, value, place
        at = _skip(text, _skip(text, at) + 1)


def _skip(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return min(found.end() if found else at, len(text) - 1)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def parse_toml(text: str, path: str, section: str | None, expand: Expand) -> list[Setting]:
    """The settings of the [fastpty] or [uwsgi] table, each with its key's line. Raises UsageError."""
    try:
        tables = tomllib.loads(text, parse_float=str)
    except ValueError as error:  # TOMLDecodeError, and a number of too many digits
        raise UsageError(f"{path}: this is not TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: this TOML is nested too deep") from None
    lines = text.split("\n")
    settings = []
    found = False
    for name, table in tables.items():
        if not _wanted(name, section):
            continue
        found = True
        start = _line_of(lines, rf"\[\s*{_quoted(name)}\s*\]", 0)
        _object(table, f"{path}:{start + 1}")
        for key, value in table.items():
            number = _line_of(lines, rf"{_quoted(key)}\s*=", start)
            origin = f"{path}:{number + 1}"
            if _has_number(value) and _OTHER_BASE.search(lines[number].partition("=")[2]):
                raise UsageError(
                    f"{origin}: {key}: put this number into quotes, so that it is taken as it is written"
                )
            settings += _settings(key, value, origin, expand)
    return _found(found, settings, path, section)


def _quoted(key: str) -> str:
    return rf"[\"']?{re.escape(key)}[\"']?"


def _line_of(lines: list[str], pattern: str, start: int) -> int:
    """The first line from `start` on that begins with a pattern; `start` where there is none (an inline table)."""
    begins = re.compile(rf"\s*{pattern}")
    return next((number for number in range(start, len(lines)) if begins.match(lines[number])), start)


def _has_number(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, int) and not isinstance(item, bool) for item in items)


def parse_yaml(text: str, path: str, section: str | None, expand: Expand) -> list[Setting]:
    """The settings of a `uwsgi:` mapping, each with its line; what is not quoted is text, as in uWSGI.

    Raises UsageError, also where PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise UsageError(
            f"{path}: YAML needs PyYAML: pip install 'fastpty[yaml]' or apt-get install python3-yaml"
        ) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        raise UsageError(f"{place}: this is not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise UsageError(f"{path}: this YAML is nested too deep") from None
    settings = []
    found = False
    for name, table in _pairs(root, f"{path}:1"):
        if not _wanted(name.value, section):
            continue
        found = True
        for key, node in _pairs(table, f"{path}:{name.start_mark.line + 1}"):
            for item in node.value if node.id == "sequence" else [node]:
                origin = f"{path}:{item.start_mark.line + 1}"
                if item.id != "scalar":
                    raise UsageError(f"{origin}: {key.value} should be a text or a list of texts")
                if item.value or item.style:
                    settings += _settings(key.value, item.value, origin, expand)
                else:
                    settings.append(Setting(expand(key.value, origin), None, origin))
    return _found(found, settings, path, section)


def _pairs(node: Any, origin: str) -> list[tuple[Any, Any]]:
    if node is None or node.id != "mapping":
        raise UsageError(f"{origin}: there should be a mapping of names to values here")
    pairs: list[tuple[Any, Any]] = node.value
    for key, _ in pairs:
        if key.id != "scalar":
            raise UsageError(f"{origin}: a name should be a text")
    return pairs


def _wanted(name: str, section: str | None) -> bool:
    return name in DEFAULT_SECTIONS if section is None else name == section


def _found(found: bool, settings: list[Setting], path: str, section: str | None) -> list[Setting]:
    if not found:
        raise UsageError(f"{path}: there is no object named {section or 'uwsgi'}")
    return settings


def _object(value: Any, origin: str) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"{origin}: there should be an object of names and values here")


def _settings(key: str, value: Any, origin: str, expand: Expand) -> list[Setting]:
    texts = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool):
            item = "1" if item else "0"
        elif isinstance(item, int):
            item = str(item)
        if not isinstance(item, str):
            raise UsageError(f"{origin}: {key} should be a text, a number, true or false, or a list of these")
        if "\0" in item:
            raise UsageError(f"{origin}: {key!r} holds a NUL byte")
        texts.append(item)
    return [Setting(expand(key, origin), expand(text, origin), origin) for text in texts]
