"""Runs the configuration language: turns flags, files and the environment into plain settings.

As in uWSGI 2.0.21 (measured), conditions, loops, `include`, `ini` and `set` take effect as soon as they are read. All
other settings are collected, and expanded when everything is read (expansion.py). The files of `inherit` are read last:
their values are not expanded, and win over the file that inherits. uWSGI takes the environment, flags and files in the
order of the command line. Here flags win over files, and files over the environment; `%(name)` searches in the same
order and takes the first setting of that name.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from fastpty.configuration.language import blocks, environment, expansion, magic
from fastpty.configuration.language import files as sources
from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.files import Place
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.language.text import Text
from fastpty.configuration.options import find
from fastpty.configuration.uwsgi_keys import IGNORED, is_confining, misspelt, nearest
from fastpty.configuration.values import boolean
from fastpty.errors import UsageError
from fastpty.system.records import dataclass, replace

_FILE_WORDS = frozenset({*sources.OPTIONS, "include"})
_PLACEHOLDER_WORDS = frozenset({"set-placeholder", "set-ph"})
_IMMEDIATE_WORDS = _FILE_WORDS | _PLACEHOLDER_WORDS | {"set"} | blocks.WORDS
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Loaded:
    """The result of reading: settings of options (later ones win), warnings, and the texts of `print`.

    listing: all settings including words of the language, for `show-config`; None if it was not asked for.
    """

    settings: list[Setting]
    warnings: list[str]
    printed: list[str]
    listing: list[Setting] | None


@dataclass(frozen=True)
class _Frame:
    """A file that is being read, and the setting that names it."""

    identity: tuple[str, str | None]
    reader: Setting


def load(
    flags: Iterable[Setting],
    environ: Mapping[str, str] = os.environ,
    *,
    is_reload: bool = False,
    budget: Budget | None = None,
) -> Loaded:
    """Reads everything that `flags` and `environ` name. is_reload: the answer for `if-reload`.

    Raises UsageError for what cannot be read or understood, and for exceeding the `budget`.
    """
    budget = budget or Budget(apart=not is_reload)  # the supervisor kills the process that reads for a reload
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
        """See `load`. Flags are added first, so that conditions in a file also see the flags after its name."""
        given = [*environment.settings(self._environ), *flags]
        for setting in given:
            if setting.name in blocks.WORDS:
                raise UsageError(f"{setting.label} works in configuration files only")
            if setting.name not in _FILE_WORDS:
                self._add(setting, self._environment if setting.is_from_environment else self._flags)
        for setting in given:
            if setting.name in _FILE_WORDS:
                self._add(setting, self._files)
        self._expand()
        self._inherit()
        everything = [*self._environment, *self._files, *self._flags]
        settings = [self._mark_used(s) for s in everything if not (s.is_placeholder or _is_word(s))]
        return Loaded(
            [setting for setting in settings if not self._is_stray(setting)],
            self._warnings + self._warnings_about(settings),
            [setting.value or "" for setting in everything if setting.name == "print"],
            everything if any(map(_wants_listing, everything)) else None,
        )

    # Reading

    def _add(self, setting: Setting, target: list[Setting]) -> None:
        """Adds a setting to `target`, and carries it out if it takes effect at once."""
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
        """Reads the file that a setting names, and carries out its lines."""
        if not setting.value:
            raise UsageError(f"{setting.label} needs a value: FILE")
        try:
            place = sources.locate(setting.value, setting.name, self._last)
        except ValueError as error:
            raise UsageError(f"{setting.label}: {error}") from error
        frame = _Frame((os.path.realpath(place.path), place.section), setting)
        self._check_depth(frame)
        self._last = place
        variables = self._variables(place)
        try:
            content = sources.read(
                place,
                lambda text, origin: self._expand_magic(text, origin, variables),
                self._warnings.append,
                self._statuses.get(setting.file or ""),
                self._budget,
            )
            self._statuses[place.path] = content.status
            if content.doubt:
                self._warn_of_doubt(place.path, content.doubt)
            self._stack.append(frame)
            self._run(content.settings)
            self._stack.pop()
        except UsageError as error:
            # For an error about the file as a whole, the line to correct is the one that names the file.
            if setting.file is not None and str(error).startswith(f"{place.path}: "):
                raise UsageError(f"{setting.label}: {error}") from error
            raise

    def _variables(self, place: Place) -> Mapping[str, str]:
        """The magic variables of a file. The first file also sets those that are the same in all files."""
        variables = magic.of_file(place.given, place.path, place.section)
        if "P" not in self._constants:
            self._constants |= magic.of_first_file(variables)
        return self._constants | variables

    def _warn_of_doubt(self, path: str, doubt: str) -> None:
        if path not in self._doubts:
            self._warnings.append(f"{path}: {doubt}: everyone who can write to it controls the router")
        self._doubts[path] = doubt

    def _check_depth(self, frame: _Frame) -> None:
        above = [other.identity for other in self._stack]
        path = " -> ".join([*(other.reader.origin for other in self._stack[1:]), frame.reader.origin])
        if frame.identity in above:
            raise UsageError(f"{frame.reader.label}: these files read each other in a circle: {path}")
        if len(above) >= _MAX_DEPTH:
            raise UsageError(f"{frame.reader.label}: files are nested more than {_MAX_DEPTH} deep: {path}")

    def _run(self, entries: Iterable[Setting]) -> None:
        """Carries out the lines and blocks of one file. A block ends with its file; in uWSGI it includes the next."""
        block: blocks.Block | None = None
        for entry in entries:
            _check_usable(entry)
            if entry.name in blocks.ENDS:
                if block is None:
                    self._warnings.append(f"{entry.label}: there is no block to end here")
                block = None
                self._add(entry, self._files)
            elif block is None and entry.name in blocks.OPENERS:
                self._add(entry, self._files)
                self._warn_of_unexpanded(entry)
                block = blocks.Block(entry, self._facts)
            elif entry.name == blocks.ELSE:
                if block is None:
                    raise UsageError(f"{entry.label} without an if")
                block.invert(entry)
            elif block is None:
                self._add(entry, self._files)
            elif entry.name in blocks.OPENERS:
                raise UsageError(f"{entry.label} stands inside {block.opener.label}: blocks cannot be nested")
            else:
                for setting in block.apply(entry):
                    self._add(setting, self._files)
        if block is not None:
            self._warnings.append(f"{block.opener.label} has no end: it ends with the file")

    def _expand_magic(self, written: str, origin: str, variables: Mapping[str, str]) -> Text:
        try:
            text, unknown = magic.expand(written, variables)
        except ValueError as error:
            raise UsageError(f"{origin}: {error}") from error
        self._warnings += [
            f"{origin}: {name!r} is not a variable and is removed (write %% for a %)"
            for name in dict.fromkeys(unknown)
        ]
        return text

    def _warn_of_unexpanded(self, opener: Setting) -> None:
        if opener.name != "for" and any(start in (opener.value or "") for start in ("$(", "%(", "@(")):
            self._warnings.append(
                f"{opener.label}: {opener.value!r} is taken as written: arguments of blocks are not expanded"
            )

    # Expanding

    def _expand(self) -> None:
        self._expand_with(lambda setting: expansion.from_environment(setting, self._environ, self._budget))
        self._expand_with(
            lambda setting: expansion.from_files(setting, self._doubt(setting), self._environ, self._budget)
        )
        first: dict[str, Setting] = {}
        for setting in self._in_order():
            first.setdefault(setting.name, setting)
        self._expand_with(expansion.Names(first, self._used, self._budget).expand)

    def _doubt(self, setting: Setting) -> str | None:
        return self._doubts.get(setting.file or "")

    def _expand_with(self, expand: Callable[[Setting], Setting]) -> None:
        for group in (self._flags, self._files, self._environment):
            group[:] = [setting if _is_kept_as_written(setting) else expand(setting) for setting in group]

    def _inherit(self) -> None:
        done = 0
        while pending := [s for s in [*self._environment, *self._flags, *self._files] if s.name == "inherit"][done:]:
            done += 1
            self._read(pending[0])

    def _in_order(self) -> Iterator[Setting]:
        """All settings in the order in which `%(name)` looks for its name; the first one counts."""
        return itertools.chain(self._flags, self._files, self._environment)

    def _find(self, name: str) -> Text | None:
        """The value of a name so far, not expanded, for conditions."""
        self._used.add(name)
        setting = next((setting for setting in self._in_order() if setting.name == name), None)
        if setting is None:
            return None
        return setting.text.as_data() if self._doubt(setting) else setting.text

    # The result

    def _mark_used(self, setting: Setting) -> Setting:
        return replace(setting, is_used=True) if setting.name in self._used else setting

    def _is_stray(self, setting: Setting) -> bool:
        """Whether this is an environment variable that has nothing to do with an option."""
        name = setting.name
        return setting.is_from_environment and not (
            _is_option(setting) or is_confining(name) or (misspelt(name) and not setting.is_used)
        )

    def _warnings_about(self, settings: Iterable[Setting]) -> list[str]:
        """Warnings about unknown FASTPTY_ variables, and about placeholders that name nothing."""
        lines = []
        for setting in settings:
            if self._is_stray(setting):
                if setting.origin.startswith(f"${environment.OURS}") and not setting.is_used:
                    near = nearest(setting.name, in_files=True)
                    hint = f" (did you mean {near!r}?)" if near else ""
                    lines.append(f"{setting.origin}: unknown option {setting.name!r}{hint}; ignored")
            elif _is_option(setting) and (left := expansion.left_over(setting.text)):
                lines.append(f"{setting.label}: {left} is not defined, so it stays as written")
        return lines


def _set(setting: Setting) -> Setting:
    name, equals, value = setting.text.partition("=")
    if not (name.whole and equals):
        raise UsageError(f"{setting.label}: {setting.value!r} is not NAME=VALUE")
    if name.whole in blocks.WORDS or name.whole == "set":
        raise UsageError(f"{setting.label}: {name.whole} cannot be set: write it on a line of its own")
    return replace(setting, name=name.whole).with_value(value)


def _placeholder(setting: Setting) -> Setting:
    option = find(setting.name, is_uwsgis=setting.is_uwsgis)
    # uWSGI does not know our plain names, so a file for it may have made them up.
    is_free = option is None or (setting.is_uwsgis and setting.name not in option.uwsgi_names)
    if not is_free or setting.name in IGNORED or is_confining(setting.name):
        raise UsageError(f"{setting.label} is an option and cannot be a placeholder: choose another name")
    return replace(setting, is_placeholder=True)


def _check_usable(setting: Setting) -> None:
    if flaw := setting.flaw:
        raise UsageError(f"{setting.origin}: {setting.name!r} {flaw}")


def _is_kept_as_written(setting: Setting) -> bool:
    """Whether its value is not expanded."""
    return setting.value is None or setting.is_placeholder or setting.name in _IMMEDIATE_WORDS


def _is_option(setting: Setting) -> bool:
    option = find(setting.name, is_uwsgis=setting.is_uwsgis)
    return option is not None and option.in_files


def _is_word(setting: Setting) -> bool:
    """Whether it is a word of the language, or a flag of the command line that does not become part of a Config."""
    option = find(setting.name)
    if option is None:
        return setting.name in blocks.WORDS
    return option.field is None and (option.in_files or setting.origin == COMMAND_LINE)


def _wants_listing(setting: Setting) -> bool:
    if setting.name != "show-config":
        return False
    try:
        return boolean(setting.value or "")
    except ValueError as error:
        raise UsageError(f"{setting.label}: {error}") from error
