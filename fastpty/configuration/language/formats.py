"""Parses JSON, YAML and TOML: an object or table named fastpty or uwsgi, with a key for each option.

JSON and YAML have uWSGI's form (2.0.21, measured): a list is a repeated key, true is 1, false is 0, a number is its
text. uWSGI does not read TOML; it works the same, but a number in octal or hex must be quoted, because the parser
returns it in decimal. Different here: an object in the place of a value (ignored by uWSGI) and null in JSON (0 in
uWSGI) are errors. A YAML key without a value (ignored by uWSGI) is an option without a value. An unknown option is an
error, and so is half a surrogate pair, which JSON and YAML can express but no option can use.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.source import Source
from fastpty.errors import UsageError

_BLANKS = re.compile(r"[ \t\r\n]*")
_OTHER_BASE = re.compile(r"\b0[xob]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACE_IN_TOML = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse_json(source: Source) -> Iterator[Setting]:
    """Yields the settings of `{"fastpty": {...}}`, each with its line. Raises UsageError for what cannot be read."""
    text, path = source.text, source.path
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    try:
        _check_object(decoder.decode(text), f"{path}:1")
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: this is not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError:
        raise UsageError(f"{path}: this JSON is nested too deeply") from None
    line = _line_numbers(text)
    objects = [(name or "", value, at) for name, value, at in _members(text, 0, decoder)]
    chosen = source.choose({name: f"{path}:{line(at)}" for name, _, at in reversed(objects)})
    for name, value, at in objects:
        if name != chosen:
            continue
        _check_object(value, f"{path}:{line(at)}")
        for key, content, place in _members(text, at, decoder):
            origin = f"{path}:{line(place)}"
            if key is None:
                raise UsageError(f"{origin}: {content!r} holds half a surrogate pair")
            yield from _settings(source, key, content, origin)


def _members(text: str, at: int, decoder: json.JSONDecoder) -> Iterator[tuple[str | None, Any, int]]:
    """Yields key, value and the value's offset for the JSON object at offset `at` of a text that is valid JSON.

    If the key or the value holds a surrogate that was written as \\uXXXX, yields None and the key instead. A surrogate
    that stands in the text itself stands for a byte that is not UTF-8, and is harmless.
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


def _line_numbers(text: str) -> Callable[[int], int]:
    """Returns a function from an offset in the text to its line number."""
    ends = [found.start() for found in re.finditer("\n", text)]
    return lambda at: bisect_left(ends, at) + 1


def parse_toml(source: Source) -> Iterator[Setting]:
    """Yields the settings of the [fastpty] or [uwsgi] table, each with its key's line. Raises UsageError."""
    path = source.path
    tables = _toml(source)
    lines = _TomlLines(source.text)
    starts = {name: lines.first(f"[{name}", 0) for name in tables}
    chosen = source.choose({name: f"{path}:{start + 1}" for name, start in starts.items()})
    _check_object(tables[chosen], f"{path}:{starts[chosen] + 1}")
    for key, value in tables[chosen].items():
        number = lines.first(key, starts[chosen])
        origin = f"{path}:{number + 1}"
        if _has_number(value) and _OTHER_BASE.search(lines.texts[number].partition("=")[2]):
            raise UsageError(f"{origin}: {key}: put this number in quotes, or its octal or hex form is lost")
        yield from _settings(source, key, value, origin)


def _toml(source: Source) -> dict[str, Any]:
    import tomllib  # only TOML files need it

    try:
        return tomllib.loads(source.text, parse_float=str)
    except ValueError as error:  # TOMLDecodeError, and a number with too many digits
        message = str(error)
        line, column = "", ""
        if place := _PLACE_IN_TOML.search(message):
            message = message[: place.start()]
            line = f":{place[1] or source.text.rstrip().count(chr(10)) + 1}"
            column = f" (column {place[2]})" if place[2] else " (at the end of the file)"
        raise UsageError(f"{source.path}{line}: this is not TOML: {message}{column}") from error
    except RecursionError:
        raise UsageError(f"{source.path}: this TOML is nested too deeply") from None


class _TomlLines:
    """Finds the lines of keys and tables in a TOML text, which tomllib does not report."""

    _BEGINS = re.compile(r"""\s*(\[?)\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(=|\])""")

    def __init__(self, text: str) -> None:
        self.texts = text.split("\n")
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(self.texts):
            if begin := self._BEGINS.match(line):
                name = next(name for name in begin.groups()[1:4] if name is not None)
                self._numbers[begin[1] + name].append(number)

    def first(self, name: str, start: int) -> int:
        """The first line from `start` on that begins with this key, or with `[` and this table; else `start`."""
        numbers = self._numbers.get(name, [])
        at = bisect_left(numbers, start)
        return numbers[at] if at < len(numbers) else start


def _has_number(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, int) and not isinstance(item, bool) for item in items)


def parse_yaml(source: Source) -> Iterator[Setting]:
    """Yields the settings of a `fastpty:` or `uwsgi:` mapping, each with its line. As in uWSGI, every scalar is text.

    Raises UsageError, also if PyYAML is not installed.
    """
    path = source.path
    tables = _pairs(_yaml(source.text, path), f"{path}:1")
    chosen = source.choose({name.value: f"{path}:{name.start_mark.line + 1}" for name, _ in reversed(tables)})
    for name, table in tables:
        if name.value != chosen:
            continue
        for key, node in _pairs(table, f"{path}:{name.start_mark.line + 1}"):
            for item in node.value if node.id == "sequence" else [node]:
                origin = f"{path}:{item.start_mark.line + 1}"
                if item.id != "scalar":
                    raise UsageError(f"{origin}: {key.value} should be a text or a list of texts")
                if _SURROGATE.search(key.value + item.value):  # written as \uXXXX: PyYAML accepts no others
                    raise UsageError(f"{origin}: {key.value!r} holds half a surrogate pair")
                yield source.setting(key.value, item.value if item.value or item.style else None, origin)


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
        raise UsageError(f"{path}: this YAML is nested too deeply") from None


def _pairs(node: Any, origin: str) -> list[tuple[Any, Any]]:
    if node is None or node.id != "mapping":
        raise UsageError(f"{origin}: expected a mapping of names to values here")
    pairs: list[tuple[Any, Any]] = node.value
    for key, _ in pairs:
        if key.id != "scalar":
            raise UsageError(f"{origin}: a name should be a text")
    return pairs


def _check_object(value: Any, origin: str) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"{origin}: expected an object of names and values here")


def _settings(source: Source, key: str, value: Any, origin: str) -> Iterator[Setting]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool):
            item = "1" if item else "0"
        elif isinstance(item, int):
            item = str(item)
        if not isinstance(item, str):
            raise UsageError(f"{origin}: {key} should be a text, a number, true or false, or a list of these")
        yield source.setting(key, item, origin)
