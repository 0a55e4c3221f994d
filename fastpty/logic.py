"""The blocks of uWSGI's configuration language: `if-…` and `for…`, up to their end.

Measured with uWSGI 2.0.21. A block takes its lines one by one: for each line, not once for the block, a condition is
looked at and a loop goes through its items. So with the lines a and b, `for = 1 2` gives a1 a2 b1 b2, and after
`if-not-opt = x` a line that sets x is the last that counts. In a value, `%(_)` becomes the item, or what the condition
looked at. Any of the ends closes any block; blocks do not nest. The block's own argument is taken as it stands: `$(X)`
and `%(x)` are expanded later. `else` is of later versions than 2.0.21. Ours: lines and file names of a loop, and what a
file says that somebody else may write to, are put in when no `$(…)` and `@(…)` is expanded any more.
"""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fastpty.errors import UsageError
from fastpty.setting import ITEM, Data, Setting
from fastpty.uwsgi_keys import PLUGINS_BUILT_IN

ENDS = frozenset({"end", "endif", "end-if", "endfor", "end-for"})
ELSE = "else"


@dataclass(frozen=True)
class Facts:
    """What conditions ask for: the environment, a setting's value by its name, whether this is a reload.

    The value is Data where a file says it that somebody else may write to.
    """

    environ: Mapping[str, str]
    find: Callable[[str], str | None]
    is_reload: bool


class Block:
    """An opened block."""

    def __init__(self, opener: Setting, facts: Facts):
        """Raises UsageError where the opener lacks what it is about."""
        self.opener = opener
        self._argument = opener.value or ""
        self._facts = facts
        self._turned = False
        if not self._argument and opener.name not in _NEED_NO_ARGUMENT:
            raise UsageError(f"{opener.label} needs a value")

    def turn(self, setting: Setting) -> None:
        """At `else`: from here on the lines count that did not. Raises UsageError in a loop and for a second one."""
        if self.opener.name in _LOOPS or self._turned:
            raise UsageError(f"{setting.label} belongs to no if")
        self._turned = True

    def apply(self, line: Setting) -> Iterator[Setting]:
        """What a line of the block comes to: nothing, one setting, or one for each item."""
        loop = _LOOPS.get(self.opener.name)
        if loop is not None:
            try:
                for item in loop(self._argument):
                    yield _put_in(line, item)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise UsageError(f"{self.opener.label}: {self._argument}: {reason}") from error
            return
        test, wanted = CONDITIONS[self.opener.name]
        try:
            holds, about = test(self._argument, self._facts)
        except re.error as error:
            raise UsageError(f"{self.opener.label}: {self._argument!r} is no regular expression: {error}") from error
        if (holds == wanted) != self._turned:
            yield _put_in(line, about)


def _put_in(line: Setting, text: str | None) -> Setting:
    """The line with `%(_)` replaced, or with the data that is to replace it."""
    if text is None or line.value is None or ITEM not in line.value:
        return line
    if isinstance(text, Data):
        return replace(line, item=text)
    return replace(line, value=line.value.replace(ITEM, text))


def _matches(argument: str, find: Callable[[str], str | None]) -> tuple[bool, str | None]:
    """NAME, or NAME=VALUE: whether NAME is there (and has the value), and its value."""
    name, equals, wanted = argument.partition("=")
    value = find(name)
    return value is not None and (not equals or value == wanted), value


_Test = Callable[[str, Facts], tuple[bool, str | None]]
_TESTS: dict[str, _Test] = {
    "env": lambda argument, facts: _matches(argument, facts.environ.get),
    "opt": lambda argument, facts: _matches(argument, facts.find),
    "exists": lambda argument, facts: (os.access(argument, os.R_OK), argument),
    "file": lambda argument, facts: (os.path.isfile(argument), argument),
    "dir": lambda argument, facts: (os.path.isdir(argument), argument),
    "hostname": lambda argument, facts: (socket.gethostname() == argument, argument),
    "hostname-match": lambda argument, facts: (re.search(argument, socket.gethostname()) is not None, argument),
    "plugin": lambda argument, facts: (argument in PLUGINS_BUILT_IN, argument),
    "reload": lambda argument, facts: (facts.is_reload, None),
}

CONDITIONS: dict[str, tuple[_Test, bool]] = {
    **{f"if-{name}": (test, True) for name, test in _TESTS.items()},
    **{f"if-not-{name}": (test, False) for name, test in _TESTS.items()},
    **{f"if{name}": (_TESTS[name], True) for name in ("env", "exists", "plugin", "dir")},
    "if-directory": (_TESTS["dir"], True),
}
"""Every spelling of a condition: what it asks, and the answer that lets its lines count."""


def _words(argument: str) -> Iterable[str]:
    return (word for word in argument.split(" ") if word)


def _numbers(argument: str) -> Iterable[str]:
    if not (argument.isascii() and argument.isdigit()):
        raise ValueError("is not a whole number")
    return map(str, range(1, int(argument) + 1))


def _paths(pattern: str) -> Iterable[Data]:
    """As glob(3) gives them: in the order of their bytes, directories with a slash; the pattern if there are none."""
    found = sorted(glob.glob(pattern), key=os.fsencode)
    paths = [path + "/" if os.path.isdir(path) and not path.endswith("/") else path for path in found] or [pattern]
    return map(Data, paths)


def _lines(path: str) -> Iterable[Data]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            yield Data(line.rstrip("\r\n"))


_LOOPS: dict[str, Callable[[str], Iterable[str]]] = {
    "for": _words,
    "for-times": _numbers,
    "for-glob": _paths,
    "for-readline": _lines,
}
_NEED_NO_ARGUMENT = frozenset({"for", "if-reload", "if-not-reload"})

OPENERS = frozenset(_LOOPS) | frozenset(CONDITIONS)
WORDS = OPENERS | ENDS | {ELSE}
