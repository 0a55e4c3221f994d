"""The blocks of uWSGI's configuration language: `if-…` and `for…`, up to their end.

Measured with uWSGI 2.0.21. A block handles its lines one by one: for each line it evaluates the condition again, or
goes through all items of the loop. So with the lines a and b, `for = 1 2` gives a1 a2 b1 b2, and after `if-not-opt =
x` a line that sets x is the last that counts. In a value, `%(_)` becomes the item, or the subject of the condition.
Any end word closes any block; blocks do not nest. The argument of a block is taken as written: `$(X)` and `%(x)` are
expanded later. `else` comes from later versions than 2.0.21. Different here: a loop reads its items once; and lines and
file names in a loop, values of variables, and values from files that somebody else can write to are data, which is
never expanded.
"""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.setting import ITEM, Setting
from fastpty.configuration.language.text import Text
from fastpty.configuration.uwsgi_keys import PLUGINS_BUILT_IN
from fastpty.errors import UsageError
from fastpty.system import names
from fastpty.system.names import shown
from fastpty.system.records import dataclass

ENDS = frozenset({"end", "endif", "end-if", "endfor", "end-for"})
ELSE = "else"

_MOST_TIMES = 10**9


@dataclass(frozen=True)
class Facts:
    """What conditions and loops depend on.

    find: returns the value of the setting of this name. It is data if it comes from a file that somebody else can write
    to.
    """

    environ: Mapping[str, str]
    find: Callable[[str], Text | None]
    is_reload: bool
    budget: Budget


class Block:
    """An open block."""

    def __init__(self, opener: Setting, facts: Facts):
        """Raises UsageError if the opener lacks its argument."""
        self.opener = opener
        self._argument = opener.text
        self._facts = facts
        self._is_inverted = False
        self._items: Iterable[Text] | None = None
        if not opener.value and opener.name not in _NEED_NO_ARGUMENT:
            raise UsageError(f"{opener.label} needs a value")

    def invert(self, setting: Setting) -> None:
        """Handles `else`: inverts the condition from here on. Raises UsageError in a loop and for a second else."""
        if self.opener.name in _LOOPS or self._is_inverted:
            raise UsageError(f"{setting.label} without an if")
        self._is_inverted = True

    def apply(self, line: Setting) -> Iterator[Setting]:
        """Yields the settings that a line of the block gives: none, one, or one for each item."""
        try:
            if self.opener.name in _LOOPS:
                if self._items is None:
                    self._items = _LOOPS[self.opener.name](self._argument, self._facts.budget)
                for item in self._items:
                    yield _with_item(line, item)
                return
            test, wanted = CONDITIONS[self.opener.name]
            holds, about = test(self._argument, self._facts)
            if (holds == wanted) != self._is_inverted:
                yield line if about is None else _with_item(line, about)
        except re.error as error:
            raise UsageError(
                f"{self.opener.label}: {self.opener.value!r} is not a regular expression: {error}"
            ) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{self.opener.label}: {shown(self._argument.whole)}: {reason}") from error


def _with_item(line: Setting, item: Text) -> Setting:
    """The line with `%(_)` replaced."""
    return line.with_value(line.text.replaced(ITEM, item)) if ITEM in line.text.markup else line


def _matches(argument: Text, find: Callable[[str], Text | None]) -> tuple[bool, Text | None]:
    """For NAME or NAME=VALUE: whether NAME is set (to VALUE), and its value."""
    name, equals, wanted = argument.partition("=")
    value = find(name.whole)
    return value is not None and (not equals or value.whole == wanted.whole), value


def _variable(facts: Facts, name: str) -> Text | None:
    value = facts.environ.get(name)
    return None if value is None else Text.data(value)


_Test = Callable[[Text, Facts], tuple[bool, Text | None]]
_TESTS: dict[str, _Test] = {
    "env": lambda argument, facts: _matches(argument, lambda name: _variable(facts, name)),
    "opt": lambda argument, facts: _matches(argument, facts.find),
    "exists": lambda argument, _: (os.access(argument.whole, os.R_OK), argument),
    "file": lambda argument, _: (os.path.isfile(argument.whole), argument),
    "dir": lambda argument, _: (os.path.isdir(argument.whole), argument),
    "hostname": lambda argument, _: (socket.gethostname() == argument.whole, argument),
    "hostname-match": lambda argument, _: (
        re.search(argument.escaped(re.escape), socket.gethostname()) is not None,
        argument,
    ),
    "plugin": lambda argument, _: (argument.whole in PLUGINS_BUILT_IN, argument),
    "reload": lambda _, facts: (facts.is_reload, None),
}

CONDITIONS: dict[str, tuple[_Test, bool]] = {
    **{f"if-{name}": (test, True) for name, test in _TESTS.items()},
    **{f"if-not-{name}": (test, False) for name, test in _TESTS.items()},
    **{f"if{name}": (_TESTS[name], True) for name in ("env", "exists", "plugin", "dir")},
    "if-directory": (_TESTS["dir"], True),
}
"""Every spelling of a condition: its test, and the result for which its lines count."""


def _words(argument: Text, _: Budget) -> Iterable[Text]:
    return [argument[found.start() : found.end()] for found in re.finditer("[^ ]+", argument.markup)]


def _numbers(argument: Text, _: Budget) -> Iterable[Text]:
    return _Numbers(names.whole(argument.whole, 0, _MOST_TIMES))


@dataclass(frozen=True)
class _Numbers:
    """The numbers from 1 to `count`, made one at a time, since `count` may be very large."""

    count: int

    def __iter__(self) -> Iterator[Text]:
        return (Text.written(str(number)) for number in range(1, self.count + 1))


def _paths(pattern: Text, budget: Budget) -> Iterable[Text]:
    """The matching paths like glob(3): sorted by bytes, directories with a slash; the pattern if nothing matches."""
    found = sorted(glob.glob(pattern.escaped(glob.escape)), key=os.fsencode)
    paths = [path + "/" if os.path.isdir(path) and not path.endswith("/") else path for path in found]
    budget.take_bytes(sum(map(len, paths)))
    return [Text.data(path) for path in paths or [pattern.whole]]


def _lines(path: Text, budget: Budget) -> Iterable[Text]:
    lines = budget.read_file(path.whole).decode("utf-8", "surrogateescape").split("\n")
    return [Text.data(line.rstrip("\r")) for line in (lines if lines[-1] else lines[:-1])]


_LOOPS: dict[str, Callable[[Text, Budget], Iterable[Text]]] = {
    "for": _words,
    "for-times": _numbers,
    "for-glob": _paths,
    "for-readline": _lines,
}
_NEED_NO_ARGUMENT = frozenset({"for", "if-reload", "if-not-reload"})

OPENERS = frozenset(_LOOPS) | frozenset(CONDITIONS)
WORDS = OPENERS | ENDS | {ELSE}
