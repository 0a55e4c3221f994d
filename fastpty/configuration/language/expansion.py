"""Expands values in three passes after every file is read: `$(ENV)`, then `@(file)`, then `%(option)`.

Measured with uWSGI 2.0.21: each pass covers the values of all settings, in all files and on the command line, before
the next pass begins. So `%(x)` sees an x that is set later or elsewhere, with its `$(…)` and `@(…)` already expanded;
of several settings with one name it means the first. Not expanded are the values of `set-placeholder`, the language's
own words (`include`, `if-…`), and files of `inherit`, which are read after the passes. A reference to nothing stays as
it is. Names may hold balanced parentheses, and in `%(a%(b))` the inner reference is expanded first.

Two things differ. uWSGI expands the results of `$(…)` and `@(…)` again, so a user who can set a variable or write such
a file can run commands; here these results are data (text.py), which is never expanded. And on `a = x%(a)` uWSGI runs
out of memory; here it is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from fastpty.configuration.language.budget import SOURCE_BYTES, Budget
from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.text import Text
from fastpty.errors import UsageError

_MOST_DEEP = 100
_SCHEME = re.compile(r"([a-z0-9]+)://")
_LOOKS_MEANT = re.compile(r"%\([\w-]+\)|\$\([A-Z_][A-Z0-9_]*\)", re.ASCII)
_WHOLE_NUMBER = re.compile(r"\s*[-+]?\d+", re.ASCII)
_MARKS = {symbol: re.compile(rf"{re.escape(symbol)}\(?|[()]") for symbol in "$@%"}

Find = Callable[[Text], Text | None]


def from_environment(setting: Setting, environ: Mapping[str, str], budget: Budget) -> Setting:
    """The setting with each `$(NAME)` replaced by the environment variable NAME, if it is set."""

    def find(name: Text) -> Text | None:
        value = environ.get(name.whole)
        return None if value is None else Text.outside(value)

    return setting.with_value(substitute(setting, "$", find, budget))


def from_files(setting: Setting, doubt: str | None, environ: Mapping[str, str], budget: Budget) -> Setting:
    """The setting with each `@(PATH)` replaced by a file's content, and `@(exec://COMMAND)` by a command's output.

    One newline at the end is removed. /bin/sh -c runs the command. doubt: why the file with this setting must not run
    commands; None if it may. Raises UsageError for such a file, for a command with data in it, for a file that cannot
    be read and for a command that fails.
    """

    def content(place: Text) -> Text:
        scheme = _SCHEME.match(place.whole)
        try:
            if scheme is None:
                data = budget.read_file(place.whole)
            elif scheme[1] != "exec":
                raise ValueError(f"{scheme[1]} is not supported, only files and exec:// are")
            elif doubt:
                raise ValueError(f"exec:// is refused in {setting.file}: {doubt}")
            elif place.has_data or not _SCHEME.match(place.markup):
                raise ValueError(
                    "exec:// is refused with data in it, which the shell would run: use the shell's own $NAME"
                )
            else:
                data = budget.run(place.whole[scheme.end() :], environ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{setting.label}: @({place.whole}): {reason}") from error
        text = os.fsdecode(data)
        return Text.data(text[:-1] if text.endswith(("\n", "\r")) else text)

    return setting.with_value(substitute(setting, "@", content, budget))


class Names:
    """The values of `%(name)`. `values` holds them before this pass; each is expanded once, when it is first needed.

    `used` collects the names that were looked up.
    """

    def __init__(self, values: Mapping[str, Setting], used: set[str], budget: Budget) -> None:
        self._values = values
        self._used = used
        self._budget = budget
        self._known: dict[str, Text] = {}
        self._open: list[str] = []

    def expand(self, setting: Setting) -> Setting:
        """The setting with each `%(name)` replaced by its value, and `%(a + 1)` by its result."""
        value = self._known.get(setting.name) if self._values.get(setting.name) is setting else None
        return setting.with_value(self._expanded(setting) if value is None else value)

    def _expanded(self, setting: Setting) -> Text:
        own = self._values.get(setting.name) is setting
        if own and setting.name in self._open:
            raise UsageError(f"{setting.label}: %({setting.name}) refers to itself")
        if len(self._open) >= _MOST_DEEP:
            raise UsageError(f"{setting.label}: %(…) refers to names more than {_MOST_DEEP} deep")
        self._open.append(setting.name if own else "")
        text = substitute(setting, "%", self._find_or_calculate, self._budget)
        self._open.pop()
        if own:
            self._known[setting.name] = text
        return text

    def _find_or_calculate(self, key: Text) -> Text | None:
        return _calculate(key.whole, self._find) if " " in key.whole else self._find(key.whole)

    def _find(self, name: str) -> Text | None:
        self._used.add(name)
        if name not in self._known and name in self._values:
            self._known[name] = self._expanded(self._values[name])
        return self._known.get(name)


def left_over(text: Text) -> str | None:
    """The first `%(name)` or `$(NAME)` left in a value, or None. `$(a command)` belongs to the shell."""
    found = _LOOKS_MEANT.search(text.markup)
    return found[0] if found else None


def substitute(setting: Setting, symbol: str, find: Find, budget: Budget) -> Text:
    """The value with each `symbol(key)` replaced by `find(key)`, unless that is None.

    Goes through the value once, from left to right; replacements are not searched again. Raises UsageError if the
    value becomes too long.
    """
    text = setting.text
    if f"{symbol}(" not in text.markup:
        return text
    # The finished pieces: those outside of all references, then those of each reference that is still open.
    levels = [_Level()]
    done, size = 0, len(text)
    for mark in _MARKS[symbol].finditer(text.markup):
        levels[-1].add(text[done : mark.start()])
        done = mark.end()
        kind, here = mark[0], text[mark.start() : done]
        if kind == f"{symbol}(":
            levels.append(_Level(here))
            continue
        if kind == symbol or len(levels) == 1:
            levels[-1].add(here)
            if kind == symbol:  # a bare symbol inside a reference: it was no reference
                _give_up(levels)
            continue
        level = levels[-1]
        if kind == "(" or level.depth:
            level.add(here)
            level.depth += 1 if kind == "(" else -1
            continue
        key = Text.join(level.parts[1:])
        value = find(key) if len(key) else None
        if value is None:
            level.add(here)
            _give_up(levels)
            continue
        levels.pop()
        levels[-1].add(value)
        size += len(value) - len(key) - len(f"{symbol}()")
        _check(setting, symbol, value, size, budget)
    levels[-1].add(text[done:])
    _give_up(levels)
    return Text.join(levels[0].parts)


class _Level:
    """An open reference: its pieces, of which the first is its beginning, and the depth of its parentheses."""

    def __init__(self, *parts: Text) -> None:
        self.parts = list(parts)
        self.depth = 0

    def add(self, part: Text) -> None:
        if len(part):
            self.parts.append(part)


def _give_up(levels: list[_Level]) -> None:
    """Turns open references back into plain text."""
    for level in levels[1:]:
        levels[0].parts += level.parts
    del levels[1:]


def _check(setting: Setting, symbol: str, value: Text, size: int, budget: Budget) -> None:
    if "\0" in value.whole:
        raise UsageError(f"{setting.label}: the value of {symbol}(…) holds a NUL byte")
    if size > SOURCE_BYTES:
        raise UsageError(f"{setting.label} becomes longer than 1 MiB")
    try:
        budget.take_bytes(len(value))
    except ValueError as error:
        raise UsageError(f"{setting.label}: {error}") from error


def _calculate(expression: str, find: Callable[[str], Text | None]) -> Text:
    """uWSGI's sums in placeholders, evaluated from left to right: + - * / between words, joined words otherwise.

    ++ and -- add and subtract 1. An unknown name is empty; a word that is not a number counts as 0, and so does a
    division by 0.
    """
    result = Text.written("")
    operator = ""
    for word in expression.split(" "):
        if not word:
            continue
        if word in ("+", "-", "*", "/"):
            operator = word
        elif word in ("++", "--"):
            result = Text.written(str(_number(result) + (1 if word == "++" else -1)))
            operator = ""
        else:
            is_number = word.isascii() and word.isdigit()
            value = Text.written(word) if is_number else find(word) or Text.written("")
            result = _apply(operator, result, value)
            operator = ""
    return result


def _apply(operator: str, left: Text, right: Text) -> Text:
    if not operator:
        return Text.join([left, right])
    a, b = _number(left), _number(right)
    if operator == "+":
        return Text.written(str(a + b))
    if operator == "-":
        return Text.written(str(a - b))
    if operator == "*":
        return Text.written(str(a * b))
    # Like C, round towards zero.
    return Text.written(str(0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)))


def _number(text: Text) -> int:
    found = _WHOLE_NUMBER.match(text.whole)
    return int(found[0]) if found and len(found[0]) < 20 else 0
