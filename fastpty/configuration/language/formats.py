"""Settings in JSON, YAML and TOML: an object or table named uwsgi or fastpty, a key for each option.

JSON and YAML are in uWSGI's form (2.0.21, measured): a list is its items one after the other, true is 1 and false 0, a
number is its text. TOML is ours and the same; there a number in octal or hex must be quoted, since its form is lost.
Where uWSGI passes over an object in the place of a value, and takes JSON's null as 0, this is an error; where it passes
over a key of YAML with nothing behind it, this is an option without a value. So is a name that is no option, and half a
surrogate pair, which JSON and YAML can write and nobody can use.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.text import Text
from fastpty.configuration.uwsgi_keys import misspelt_section
from fastpty.errors import UsageError

Expand = Callable[[str, str], Text]
"""Puts the magic variables into a text; the second argument is its origin."""

OURS = "fastpty"
DEFAULT_SECTIONS = frozenset({"uwsgi", OURS})

_BLANKS = re.compile(r"[ \t\r\n]*")
_OTHER_BASE = re.compile(r"\b0[xob]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(text: str, path: str, section: str | None, expand: Expand) -> Iterator[Setting]:
    """The settings of `{"uwsgi": {...}}`, each with its line. Raises UsageError for what JSON or we do not take."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    try:
        _object(decoder.decode(text), f"{path}:1")
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: this is not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError:
        raise UsageError(f"{path}: this JSON is nested too deep") from None
    line = _lines_of(text)
    found = False
    for name, value, at in _members(text, 0, decoder):
        if not _wanted(name, section, path):
            continue
        found = True
        _object(value, f"{path}:{line(at)}")
        for key, content, place in _members(text, at, decoder):
            origin = f"{path}:{line(place)}"
            if key is None:
                raise UsageError(f"{origin}: {content!r} holds half a surrogate pair")
            yield from _settings(key, content, origin, expand)
    _check_found(found, path, section)


def _members(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[tuple[str | None, Any, int]]:
    """The keys, values and values' places of the JSON object at a place of a text that is known to be JSON.

    There is no key where it or the value holds a surrogate that the text does not: then it was written as \\uXXXX. One
    that the text holds stands for a byte that is no UTF-8.
    """
    at = _skip(text, text.index("{", at) + 1)
    while text[at] == '"':
        start = at
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        place = at
        value, at = decoder.raw_decode(text, at)
        items = value if isinstance(value, list) else [value]
        written = len(_SURROGATE.findall(text, start, at))
        if sum(len(_SURROGATE.findall(item)) for item in (key, *items) if isinstance(item, str)) > written:
            yield None, key, place
        else:
            yield key, value, place
        at = _skip(text, _skip(text, at) + 1)


def _skip(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return min(found.end() if found else at, len(text) - 1)


def _lines_of(text: str) -> Callable[[int], int]:
    """A function that tells the number of the line from a place of the text."""
    ends = [found.start() for found in re.finditer("\n", text)]
    return lambda at: bisect_left(ends, at) + 1


def parse_toml(text: str, path: str, section: str | None, expand: Expand) -> Iterator[Setting]:
    """The settings of the [fastpty] or [uwsgi] table, each with its key's line. Raises UsageError."""
    try:
        tables = tomllib.loads(text, parse_float=str)
    except ValueError as error:  # TOMLDecodeError, and a number of too many digits
        raise UsageError(f"{path}: this is not TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"{path}: this TOML is nested too deep") from None
    lines = _TomlLines(text)
    found = False
    for name, table in tables.items():
        if not _wanted(name, section, path):
            continue
        found = True
        start = lines.first(f"[{name}", 0)
        _object(table, f"{path}:{start + 1}")
        for key, value in table.items():
            number = lines.first(key, start)
            origin = f"{path}:{number + 1}"
            if _has_number(value) and _OTHER_BASE.search(lines.texts[number].partition("=")[2]):
                raise UsageError(
                    f"{origin}: {key}: put this number into quotes, so that it is taken as it is written"
                )
            yield from _settings(key, value, origin, expand)
    _check_found(found, path, section)


class _TomlLines:
    """Where keys and tables stand in a TOML text; the parser does not tell."""

    _BEGINS = re.compile(r"""\s*(\[?)\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(=|\])""")

    def __init__(self, text: str) -> None:
        self.texts = text.split("\n")
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(self.texts):
            if begin := self._BEGINS.match(line):
                self._numbers[begin[1] + next(name for name in begin.groups()[1:4] if name is not None)].append(
                    number
                )

    def first(self, name: str, start: int) -> int:
        """The first line from `start` on that begins with a key, or with `[` and a table; `start` if there is none."""
        numbers = self._numbers.get(name, [])
        at = bisect_left(numbers, start)
        return numbers[at] if at < len(numbers) else start


def _has_number(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, int) and not isinstance(item, bool) for item in items)


def parse_yaml(text: str, path: str, section: str | None, expand: Expand) -> Iterator[Setting]:
    """The settings of a `uwsgi:` mapping, each with its line; what is not quoted is text, as in uWSGI.

    Raises UsageError, also where PyYAML is not installed.
    """
    root = _yaml(text, path)
    found = False
    for name, table in _pairs(root, f"{path}:1"):
        if not _wanted(name.value, section, path):
            continue
        found = True
        for key, node in _pairs(table, f"{path}:{name.start_mark.line + 1}"):
            for item in node.value if node.id == "sequence" else [node]:
                origin = f"{path}:{item.start_mark.line + 1}"
                if item.id != "scalar":
                    raise UsageError(f"{origin}: {key.value} should be a text or a list of texts")
                if _SURROGATE.search(key.value + item.value):  # PyYAML takes none that are not written as \uXXXX
                    raise UsageError(f"{origin}: {key.value!r} holds half a surrogate pair")
                if item.value or item.style:
                    yield from _settings(key.value, item.value, origin, expand)
                else:
                    yield Setting(expand(key.value, origin).whole, None, origin, is_ours=True)
    _check_found(found, path, section)


def _yaml(text: str, path: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError(
            f"{path}: YAML needs PyYAML: pip install 'fastpty[yaml]' or apt-get install python3-yaml"
        ) from None
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        raise UsageError(f"{place}: this is not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise UsageError(f"{path}: this YAML is nested too deep") from None


def _pairs(node: Any, origin: str) -> list[tuple[Any, Any]]:
    if node is None or node.id != "mapping":
        raise UsageError(f"{origin}: there should be a mapping of names to values here")
    pairs: list[tuple[Any, Any]] = node.value
    for key, _ in pairs:
        if key.id != "scalar":
            raise UsageError(f"{origin}: a name should be a text")
    return pairs


def _wanted(name: str | None, section: str | None, path: str) -> bool:
    if section is not None:
        return name == section
    refuse_misspelt(name or "", path)
    return name in DEFAULT_SECTIONS


def refuse_misspelt(section: str, origin: str) -> None:
    """Raises UsageError for a section that is not read, where it must be a slip: what it holds may be what confines."""
    if meant := misspelt_section(section):
        raise UsageError(f"{origin}: nothing reads the section {section!r} (did you mean {meant!r}?)")


def _check_found(found: bool, path: str, section: str | None) -> None:
    if not found:
        raise UsageError(f"{path}: there is no object named {section or 'uwsgi'}")


def _object(value: Any, origin: str) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"{origin}: there should be an object of names and values here")


def _settings(key: str, value: Any, origin: str, expand: Expand) -> Iterator[Setting]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool):
            item = "1" if item else "0"
        elif isinstance(item, int):
            item = str(item)
        if not isinstance(item, str):
            raise UsageError(f"{origin}: {key} should be a text, a number, true or false, or a list of these")
        yield Setting(expand(key, origin).whole, None, origin, is_ours=True).saying(expand(item, origin))
