"""From flags, files and the environment to plain settings: runs the configuration language.

As in uWSGI 2.0.21 (measured), words that act do so when they are read: conditions, loops, `include`, `ini`, `set`.
Everything else is gathered; when all is read, the values are expanded (see `fastpty.expansion`), and last come the
files of `inherit`, whose values stay as they are and win over the file that inherits. Where uWSGI takes environment,
flags and files in the order of the command line, here flags win over files and files over the environment, and it is
also in this order that a `%(name)` looks for its name, first one first.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fastpty.configuration.language import blocks, environment, expansion, magic
from fastpty.configuration.language import files as sources
from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.files import Place
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.language.text import Text
from fastpty.configuration.options import BY_NAME
from fastpty.configuration.uwsgi_keys import IGNORED, is_confining, misspelt, nearest
from fastpty.configuration.values import boolean
from fastpty.errors import UsageError

_FILE_WORDS = frozenset({*sources.FORMATS, "include"})
_PLACEHOLDER_WORDS = frozenset({"set-placeholder", "set-ph"})
_ACTING_WORDS = _FILE_WORDS | _PLACEHOLDER_WORDS | {"set"} | blocks.WORDS
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Loaded:
    """What was read: the settings of options, those that win last; warnings; the texts of `print`.

    `listing` has everything, words of the language too, as `show-config` shows it, or is None where nobody asked.
    """

    settings: list[Setting]
    warnings: list[str]
    printed: list[str]
    listing: list[Setting] | None


@dataclass(frozen=True)
class _Frame:
    """A file that is being read, and by which setting."""

    identity: tuple[str, str | None]
    reader: Setting


def load(
    flags: Iterable[Setting],
    environ: Mapping[str, str] = os.environ,
    *,
    is_reload: bool = False,
    budget: Budget | None = None,
) -> Loaded:
    """Reads everything that `flags` and `environ` ask for. `is_reload` is what `if-reload` looks at.

    Raises UsageError for what cannot be read or means nothing, and for what takes more than the `budget`.
    """
    budget = budget or Budget(apart=not is_reload)  # a reload is read in a process that its supervisor ends
    with budget.deadline():
        return _Loader(environ, is_reload, budget).load(flags)


class _Loader:
    def __init__(self, environ: Mapping[str, str], is_reload: bool, budget: Budget):
        self._environ = environ
        self._budget = budget
        self._flags: list[Setting] = []
        self._files: list[Setting] = []
        self._environment: list[Setting] = []
        self._warnings: list[str] = []
        self._doubts: dict[str, str] = {}
        self._statuses: dict[str, os.stat_result] = {}
        self._used: set[str] = set()
        self._stack: list[_Frame] = []
        self._last: Place | None = None
        self._constants = magic.of_process()
        self._facts = blocks.Facts(environ, self._find, is_reload, budget)

    def load(self, flags: Iterable[Setting]) -> Loaded:
        """See `load`. Flags come first, so that a file's conditions see those, too, that follow its name."""
        given = [*environment.settings(self._environ), *flags]
        for setting in given:
            if setting.name in blocks.WORDS:
                raise UsageError(f"{setting.label} can stand in files only")
            if setting.name not in _FILE_WORDS:
                self._add(setting, self._environment if setting.is_from_environment else self._flags)
        for setting in given:
            if setting.name in _FILE_WORDS:
                self._add(setting, self._files)
        self._expand()
        self._inherit()
        everything = [*self._environment, *self._files, *self._flags]
        settings = [self._marked(s) for s in everything if not (s.is_placeholder or _is_word(s))]
        return Loaded(
            [setting for setting in settings if not self._is_stray(setting)],
            self._warnings + self._leftovers(settings),
            [setting.value or "" for setting in everything if setting.name == "print"],
            everything if any(map(_asks_to_show, everything)) else None,
        )

    # Reading

    def _add(self, setting: Setting, target: list[Setting]) -> None:
        """Adds a setting to its kind, and does what it says if it is a word that acts."""
        _check_usable(setting)
        try:
            self._budget.take_setting()
        except ValueError as error:
            raise UsageError(f"{setting.label}: {error}") from error
        target.append(setting)
        if setting.name in _FILE_WORDS:
            self._read(setting)
        elif setting.name == "set":
            self._add(_set(setting), target)
        elif setting.name in _PLACEHOLDER_WORDS:
            self._add(_placeholder(_set(setting)), target)

    def _read(self, setting: Setting) -> None:
        """Reads the file that a setting names, and runs it."""
        if not setting.value:
            raise UsageError(f"{setting.label} needs a value: FILE")
        try:
            place = sources.locate(setting.value, setting.name, self._last)
        except ValueError as error:
            raise UsageError(f"{setting.label}: {error}") from error
        frame = _Frame((os.path.realpath(place.path), place.section), setting)
        self._check_depth(frame)
        self._last = place
        variables = self._constants | magic.of_file(place.given, place.path, place.section)
        if "P" not in self._constants:
            self._constants |= magic.of_first_file(variables)
            variables |= self._constants
        try:
            content = sources.read(
                place,
                lambda text, origin: self._put_in(text, origin, variables),
                self._statuses.get(setting.file or ""),
                self._budget,
            )
            self._statuses[place.path] = content.status
            if content.doubt:
                self._doubt_in(place.path, content.doubt)
            self._stack.append(frame)
            self._run(content.settings)
            self._stack.pop()
        except UsageError as error:
            # Where it is the whole file that is wrong, the line that names it is what can be mended.
            if setting.file is not None and str(error).startswith(f"{place.path}: "):
                raise UsageError(f"{setting.label}: {error}") from error
            raise

    def _doubt_in(self, path: str, doubt: str) -> None:
        if path not in self._doubts:
            self._warnings.append(f"{path}: {doubt}: who may write to it decides what the router does and runs")
        self._doubts[path] = doubt

    def _check_depth(self, frame: _Frame) -> None:
        above = [other.identity for other in self._stack]
        way = " -> ".join([*(other.reader.origin for other in self._stack[1:]), frame.reader.origin])
        if frame.identity in above:
            raise UsageError(f"{frame.reader.label}: these files read each other in a circle: {way}")
        if len(above) >= _MAX_DEPTH:
            raise UsageError(f"{frame.reader.label}: files read files more than {_MAX_DEPTH} deep: {way}")

    def _run(self, entries: Iterable[Setting]) -> None:
        """The lines of one file, with its blocks. A block ends with its file; uWSGI would carry it into the next."""
        block: blocks.Block | None = None
        for entry in entries:
            _check_usable(entry)
            if entry.name in blocks.ENDS:
                if block is None:
                    self._warnings.append(f"{entry.label}: there is nothing to end here")
                block = None
                self._add(entry, self._files)
            elif block is None and entry.name in blocks.OPENERS:
                self._add(entry, self._files)
                self._warn_of_early(entry)
                block = blocks.Block(entry, self._facts)
            elif entry.name == blocks.ELSE:
                if block is None:
                    raise UsageError(f"{entry.label} belongs to no if")
                block.turn(entry)
            elif block is None:
                self._add(entry, self._files)
            elif entry.name in blocks.OPENERS:
                raise UsageError(f"{entry.label} stands inside {block.opener.label}: blocks cannot be nested")
            else:
                for setting in block.apply(entry):
                    self._add(setting, self._files)
        if block is not None:
            self._warnings.append(f"{block.opener.label} has no end: taken to be the end of the file")

    def _put_in(self, written: str, origin: str, variables: Mapping[str, str]) -> Text:
        try:
            text, unknown = magic.expand(written, variables)
        except ValueError as error:
            raise UsageError(f"{origin}: {error}") from error
        self._warnings += [
            f"{origin}: {name!r} means nothing and is left out (write %% for a %)" for name in dict.fromkeys(unknown)
        ]
        return text

    def _warn_of_early(self, opener: Setting) -> None:
        if opener.name != "for" and any(start in (opener.value or "") for start in ("$(", "%(", "@(")):
            self._warnings.append(f"{opener.label}: {opener.value!r} is taken as it stands: only values are expanded")

    # Expanding

    def _expand(self) -> None:
        self._pass(lambda setting: expansion.from_environment(setting, self._environ, self._budget))
        self._pass(lambda setting: expansion.from_files(setting, self._doubt(setting), self._environ, self._budget))
        first: dict[str, Setting] = {}
        for setting in self._in_order():
            first.setdefault(setting.name, setting)
        self._pass(expansion.Names(first, self._used, self._budget).put_into)

    def _doubt(self, setting: Setting) -> str | None:
        return self._doubts.get(setting.file or "")

    def _pass(self, expand: Callable[[Setting], Setting]) -> None:
        for group in (self._flags, self._files, self._environment):
            group[:] = [setting if _stays(setting) else expand(setting) for setting in group]

    def _inherit(self) -> None:
        done = 0
        while pending := [s for s in [*self._environment, *self._flags, *self._files] if s.name == "inherit"][done:]:
            done += 1
            self._read(pending[0])

    def _in_order(self) -> Iterator[Setting]:
        """Of several settings of one name the first is the one that a `%(name)` means."""
        return itertools.chain(self._flags, self._files, self._environment)

    def _find(self, name: str) -> Text | None:
        """The value that a name has so far, for conditions: as it was written."""
        self._used.add(name)
        setting = next((setting for setting in self._in_order() if setting.name == name), None)
        if setting is None:
            return None
        return setting.text.as_data() if self._doubt(setting) else setting.text

    # What comes out

    def _marked(self, setting: Setting) -> Setting:
        return replace(setting, is_used=True) if setting.name in self._used else setting

    def _is_stray(self, setting: Setting) -> bool:
        """Whether this is a variable of the environment that means nothing to us."""
        name = setting.name
        return setting.is_from_environment and not (
            _is_option(name) or is_confining(name) or (misspelt(name) and not setting.is_used)
        )

    def _leftovers(self, settings: Iterable[Setting]) -> list[str]:
        """Warnings about variables with our prefix that mean nothing, and about what was not expanded."""
        lines = []
        for setting in settings:
            if self._is_stray(setting):
                if setting.origin.startswith(f"${environment.OURS}") and not setting.is_used:
                    near = nearest(setting.name, in_files=True)
                    hint = f" (did you mean {near!r}?)" if near else ""
                    lines.append(f"{setting.origin}: unknown option {setting.name!r}{hint}; ignored")
            elif _is_option(setting.name) and (left := expansion.left_over(setting.text)):
                lines.append(f"{setting.label}: {left} stands for nothing here and stays as it is")
        return lines


def _set(setting: Setting) -> Setting:
    name, equals, value = setting.text.partition("=")
    if not (name.whole and equals):
        raise UsageError(f"{setting.label}: {setting.value!r} is not NAME=VALUE")
    if name.whole in blocks.WORDS or name.whole == "set":
        raise UsageError(f"{setting.label}: {name.whole} cannot be set, it stands on a line of its own")
    return replace(setting, name=name.whole).saying(value)


def _placeholder(setting: Setting) -> Setting:
    if setting.name in BY_NAME or setting.name in IGNORED or is_confining(setting.name):
        raise UsageError(
            f"{setting.label} is an option, so it cannot be a placeholder (set = NAME=VALUE sets options)"
        )
    return replace(setting, is_placeholder=True)


def _check_usable(setting: Setting) -> None:
    if flaw := setting.flaw:
        raise UsageError(f"{setting.origin}: {setting.name!r} {flaw}")


def _stays(setting: Setting) -> bool:
    """Whether the passes leave it alone."""
    return setting.value is None or setting.is_placeholder or setting.name in _ACTING_WORDS


def _is_option(name: str) -> bool:
    option = BY_NAME.get(name)
    return option is not None and option.in_files


def _is_word(setting: Setting) -> bool:
    """Whether it is of the language, or a flag for the command line alone: nothing that a Config is made of."""
    option = BY_NAME.get(setting.name)
    if option is None:
        return setting.name in blocks.WORDS
    return option.field is None and (option.in_files or setting.origin == COMMAND_LINE)


def _asks_to_show(setting: Setting) -> bool:
    if setting.name != "show-config":
        return False
    try:
        return boolean(setting.value or "")
    except ValueError as error:
        raise UsageError(f"{setting.label}: {error}") from error
