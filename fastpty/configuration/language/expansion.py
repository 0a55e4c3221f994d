"""The three passes over all settings once every file is read: `$(ENV)`, then `@(file)`, then `%(option)`.

Measured with uWSGI 2.0.21: a pass goes over the values of all settings, in all files and on the command line, before
the next begins. So a `%(x)` sees an x that is set later or elsewhere, with its `$(…)` and `@(…)` already expanded, and
of several settings of one name the first. What `set-placeholder` sets, and the language's own words (`include`, `if-…`)
are not expanded; nor is what `inherit` reads, since it is read after the passes. What names nothing stays as it stands.
Names may hold balanced parentheses, and the innermost `%(a%(b))` comes first.

Two things differ. uWSGI expands again what `$(…)` and `@(…)` have brought, so that whoever may set a variable or write
to such a file could have commands run; here that is data (`fastpty.text.Text`), in which nothing is looked for. And
where uWSGI runs into its memory's end on `a = x%(a)`, here it is an error.
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
    """The setting with `$(NAME)` replaced by the environment's variable NAME, where there is one."""

    def find(name: Text) -> Text | None:
        value = environ.get(name.whole)
        return None if value is None else Text.outside(value)

    return setting.saying(substitute(setting, "$", find, budget))


def from_files(setting: Setting, doubt: str | None, environ: Mapping[str, str], budget: Budget) -> Setting:
    """The setting with `@(PATH)` replaced by a file's content, and `@(exec://COMMAND)` by what a command writes.

    One line end at the end is cut off. A command runs through /bin/sh -c. `doubt` says why the file that the setting
    stands in must not have commands run, or is None. Raises UsageError for that, for a command with data in it, for a
    file that cannot be read and a command that fails.
    """

    def content(place: Text) -> Text:
        scheme = _SCHEME.match(place.whole)
        try:
            if scheme is None:
                data = budget.read_file(place.whole)
            elif scheme[1] != "exec":
                raise ValueError(f"{scheme[1]} is not supported (only files and exec://)")
            elif doubt:
                raise ValueError(f"exec:// is refused in {setting.file}: {doubt}")
            elif place.has_data or not _SCHEME.match(place.markup):
                raise ValueError(
                    "exec:// is refused with data in it, which would be run (the shell's own $NAME is not)"
                )
            else:
                data = budget.run(place.whole[scheme.end() :], environ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{setting.label}: @({place.whole}): {reason}") from error
        text = os.fsdecode(data)
        return Text.data(text[:-1] if text.endswith(("\n", "\r")) else text)

    return setting.saying(substitute(setting, "@", content, budget))


class Names:
    """What each `%(name)` stands for: `values` holds it as it is before this pass; it is expanded once, when asked for.

    `used` collects the names that were asked for.
    """

    def __init__(self, values: Mapping[str, Setting], used: set[str], budget: Budget) -> None:
        self._values = values
        self._used = used
        self._budget = budget
        self._known: dict[str, Text] = {}
        self._open: list[str] = []

    def put_into(self, setting: Setting) -> Setting:
        """The setting with `%(name)` replaced by what the name stands for, and `%(a + 1)` by what it comes to."""
        value = self._known.get(setting.name) if self._values.get(setting.name) is setting else None
        return setting.saying(self._expanded(setting) if value is None else value)

    def _expanded(self, setting: Setting) -> Text:
        own = self._values.get(setting.name) is setting
        if own and setting.name in self._open:
            raise UsageError(f"{setting.label}: %(…) never comes to an end: {setting.name!r} stands for itself")
        if len(self._open) >= _MOST_DEEP:
            raise UsageError(f"{setting.label}: %(…) stands for names more than {_MOST_DEEP} deep")
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
    """The first `%(name)` or `$(NAME)` that is still in a value, or None. `$(a command)` is the shell's."""
    found = _LOOKS_MEANT.search(text.markup)
    return found[0] if found else None


def substitute(setting: Setting, symbol: str, find: Find, budget: Budget) -> Text:
    """The value with each `symbol(key)` replaced by what `find` gives for the key, where it gives something.

    One way through the value, from left to right. What is put in is not looked at again. Raises UsageError for what
    becomes too long.
    """
    text = setting.text
    if f"{symbol}(" not in text.markup:
        return text
    # What is done so far, in pieces: that outside of all references, then that of each which is not closed yet.
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
            if kind == symbol:  # what is open around a symbol is no reference
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
    """The pieces of a reference that is not closed, the first of them its beginning, and its open parentheses."""

    def __init__(self, *parts: Text) -> None:
        self.parts = list(parts)
        self.depth = 0

    def add(self, part: Text) -> None:
        if len(part):
            self.parts.append(part)


def _give_up(levels: list[_Level]) -> None:
    """What looked like references stays as it stands."""
    for level in levels[1:]:
        levels[0].parts += level.parts
    del levels[1:]


def _check(setting: Setting, symbol: str, value: Text, size: int, budget: Budget) -> None:
    if "\0" in value.whole:
        raise UsageError(f"{setting.label}: what {symbol}(…) stands for holds a NUL byte")
    if size > SOURCE_BYTES:
        raise UsageError(f"{setting.label} becomes longer than 1 MiB")
    try:
        budget.take_bytes(len(value))
    except ValueError as error:
        raise UsageError(f"{setting.label}: {error}") from error


def _calculate(expression: str, find: Callable[[str], Text | None]) -> Text:
    """uWSGI's sums in placeholders: words from left to right, side by side unless + - * / stands between them.

    ++ and -- count up and down what stands before them. A name that means nothing is empty, what is no number counts
    as 0, and so does what is divided by 0.
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
    # C cuts towards zero.
    return Text.written(str(0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)))


def _number(text: Text) -> int:
    found = _WHOLE_NUMBER.match(text.whole)
    return int(found[0]) if found and len(found[0]) < 20 else 0
