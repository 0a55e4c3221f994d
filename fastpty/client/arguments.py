"""Splits a command line into options and words, as getopt_long(3) does. (Loading `argparse` takes 10 ms.)"""

from __future__ import annotations

from fastpty.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Arguments:
    """A command line, split into options and words.

    `options` maps each given option to its last value; a flag's value is "". `words` are the other arguments, in order.
    `words_before` is the number of words before `--`, or None if no `--` ended the options.
    """

    def __init__(self) -> None:
        self.options: dict[str, str] = {}
        self.words: list[str] = []
        self.words_before: int | None = None
        self._given: list[tuple[str, str]] = []

    def add(self, name: str, value: str) -> None:
        """Records an option that was given."""
        self.options[name] = value
        self._given.append((name, value))

    def values(self, name: str) -> list[str]:
        """All values of an option, in order."""
        return [value for given, value in self._given if given == name]


def split(
    arguments: Sequence[str], known: Mapping[str, bool], program: str, *, stop_at_word: bool = False
) -> Arguments:
    """Splits `arguments`. `known` maps `-x` and `--name` to whether the option takes a value.

    With `stop_at_word`, everything from the first word on is words, also if it begins with a dash. Raises UsageError
    for an unknown option, a missing value, or a value given to a flag; the message refers to the --help of `program`.
    """
    found = Arguments()
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--" or (stop_at_word and not _is_option(argument)):
            found.words_before = len(found.words) if argument == "--" else None
            found.words += left if argument == "--" else [argument, *left]
            break
        if not _is_option(argument):
            found.words.append(argument)
            continue
        name, value = _name_and_value(argument, known)
        if name not in known:
            raise UsageError(_unknown(name, known, program))
        if known[name]:
            if value is None and not left:
                raise UsageError(f"{name} needs a value (see {program} --help)")
            found.add(name, left.pop(0) if value is None else value)
        elif value is None:
            found.add(name, "")
        elif argument.startswith("--"):
            raise UsageError(f"{name} takes no value, but was given {value!r} (see {program} --help)")
        else:  # -nq means -n -q
            found.add(name, "")
            left.insert(0, f"-{value}")
    return found


def _is_option(argument: str) -> bool:
    return len(argument) > 1 and argument.startswith("-")


def _name_and_value(argument: str, known: Mapping[str, bool]) -> tuple[str, str | None]:
    if argument.startswith("--"):
        name, equals, value = argument.partition("=")
        return name, value if equals else None
    return argument[:2], argument[2:] or None


def _unknown(name: str, known: Iterable[str], program: str) -> str:
    near = nearest(name, known)
    return f"unknown option {name}" + (f": did you mean {near}?" if near else f" (see {program} --help)")


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `text` is most likely a misspelling of, or None."""
    import difflib

    return next(iter(difflib.get_close_matches(text, list(known), 1)), None)
