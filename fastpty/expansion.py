"""The three passes over all settings once every file is read: `$(ENV)`, then `@(file)`, then `%(option)`.

Measured with uWSGI 2.0.21: a pass goes over the values of all settings, in all files and on the command line, before
the next begins. So a `%(x)` sees an x that is set later or elsewhere, with its `$(…)` and `@(…)` already expanded, and
of several settings of one name the first. What `set-placeholder` sets, and the language's own words (`include`, `if-…`)
are not expanded; nor is what `inherit` reads, since it is read after the passes. What names nothing stays as it stands.
Names may hold balanced parentheses, and the innermost `%(a%(b))` comes first.

Two things differ. uWSGI expands what came out of a file or a command once more, so that whoever may write to such a
file could have commands run; here it is text, and so is what a loop read (`fastpty.setting.Data`). And where uWSGI runs
into its memory's end on `a = x%(a)`, here it is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping

from fastpty.errors import UsageError
from fastpty.setting import Setting

_MAX_ROUNDS = 1000
_MAX_CHARACTERS = 1 << 20
_SCHEME = re.compile(r"([a-z0-9]+)://")
_LOOKS_MEANT = re.compile(r"%\([\w-]+\)|\$\([A-Z_][A-Z0-9_]*\)", re.ASCII)
_WHOLE_NUMBER = re.compile(r"\s*[-+]?\d+", re.ASCII)


def from_environment(setting: Setting, value: str, environ: Mapping[str, str]) -> str:
    """The value with `$(NAME)` replaced by the environment's variable NAME, where there is one."""
    return _substitute(setting, value, "$", lambda name: environ.get(setting.whole(name)))


def from_files(setting: Setting, value: str, doubt: str | None, environ: Mapping[str, str]) -> str:
    """The value with `@(PATH)` replaced by a file's content, and `@(exec://COMMAND)` by what a command writes.

    One line end at the end is cut off. A command runs through /bin/sh -c. `doubt` says why the file that the setting
    stands in must not have commands run, or is None. Raises UsageError for that, for a command with data in it, for a
    file that cannot be read and a command that fails.
    """

    def content(written: str) -> str:
        place = setting.whole(written)
        scheme = _SCHEME.match(place)
        try:
            if scheme is None:
                data = _read(place)
            elif scheme[1] != "exec":
                raise ValueError(f"{scheme[1]} is not supported (only files and exec://)")
            elif doubt:
                raise ValueError(f"exec:// is refused in {setting.file}: {doubt}")
            elif place != written:
                raise ValueError(f"exec:// is refused with {setting.item!r} in it, which is data and would be run")
            else:
                data = _run(place[scheme.end() :], environ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{setting.label}: @({place}): {reason}") from error
        text = os.fsdecode(data)
        return text[:-1] if text.endswith(("\n", "\r")) else text

    return _substitute(setting, value, "@", content, again=False)


def from_options(setting: Setting, value: str, find: Callable[[str], str | None]) -> str:
    """The value with `%(name)` replaced by what `find` knows of a name, and `%(a + 1)` by what it comes to."""
    return _substitute(setting, value, "%", lambda key: _calculate(key, find) if " " in key else find(key))


def left_over(value: str) -> str | None:
    """The first `%(name)` or `$(NAME)` that is still in a value, or None. `$(a command)` is the shell's."""
    found = _LOOKS_MEANT.search(value)
    return found[0] if found else None


def _substitute(
    setting: Setting, value: str, symbol: str, find: Callable[[str], str | None], *, again: bool = True
) -> str:
    start = 0
    for _ in range(_MAX_ROUNDS):
        found = _reference(value, symbol, start)
        if found is None:
            return value
        begin, end = found
        text = find(value[begin + 2 : end - 1])
        if text is None:
            start = end
            continue
        value = value[:begin] + text + value[end:]
        start = 0 if again else begin + len(text)
        if len(value) > _MAX_CHARACTERS:
            raise UsageError(f"{setting.label} becomes longer than 1 MiB")
        if "\0" in text:
            raise UsageError(f"{setting.label}: what {symbol}(…) stands for holds a NUL byte")
    raise UsageError(f"{setting.label}: {symbol}(…) never comes to an end: something stands for itself")


def _reference(value: str, symbol: str, start: int) -> tuple[int, int] | None:
    """Where the next innermost `symbol(key)` begins and ends, or None."""
    begin = value.find(f"{symbol}(", start)
    while begin >= 0:
        depth = 0
        for at in range(begin + 2, len(value)):
            character = value[at]
            if character == symbol:
                break
            if character == "(":
                depth += 1
            elif character == ")" and depth:
                depth -= 1
            elif character == ")":
                if at > begin + 2:
                    return begin, at + 1
                break
        begin = value.find(f"{symbol}(", begin + 2)
    return None


def _calculate(expression: str, find: Callable[[str], str | None]) -> str:
    """uWSGI's sums in placeholders: words from left to right, side by side unless + - * / stands between them.

    ++ and -- count up and down what stands before them. A name that means nothing is empty, what is no number counts
    as 0, and so does what is divided by 0.
    """
    result = ""
    operator = ""
    for word in expression.split(" "):
        if not word:
            continue
        if word in ("+", "-", "*", "/"):
            operator = word
        elif word in ("++", "--"):
            result = str(_number(result) + (1 if word == "++" else -1))
            operator = ""
        else:
            value = word if word.isascii() and word.isdigit() else find(word) or ""
            result = _apply(operator, result, value)
            operator = ""
    return result


def _apply(operator: str, left: str, right: str) -> str:
    a, b = _number(left), _number(right)
    if operator == "+":
        return str(a + b)
    if operator == "-":
        return str(a - b)
    if operator == "*":
        return str(a * b)
    if operator == "/":
        # C cuts towards zero.
        return str(0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1))
    return left + right


def _number(text: str) -> int:
    found = _WHOLE_NUMBER.match(text)
    return int(found[0]) if found and len(found[0]) < 20 else 0


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_MAX_CHARACTERS + 1)
    if len(data) > _MAX_CHARACTERS:
        raise ValueError("it is longer than 1 MiB")
    return data


def _run(command: str, environ: Mapping[str, str]) -> bytes:
    ended = subprocess.run(
        ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ, check=False
    )
    if ended.returncode:
        how = (
            f"ended with status {ended.returncode}" if ended.returncode > 0 else f"died of signal {-ended.returncode}"
        )
        raise ValueError(f"the command {how}")
    return ended.stdout
