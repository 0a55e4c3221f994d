"""The columns of the table of options: what an option is, its group, and what a reload does when it changes."""

from __future__ import annotations

import enum
from collections.abc import Callable

from fastpty.system.records import dataclass


class Reload(enum.Enum):
    """What a reload does when an option has changed."""

    APPLY = "the new value takes effect"
    KEEP = "the old value stays until a restart, with a warning"
    NEW_SOCKETS = "the new value applies to sockets opened from now on, with a warning"
    REFUSE_FOR_OPEN_SOCKETS = "the reload is refused while a socket file stays open"
    REFUSE = "the reload is refused"


@dataclass(frozen=True)
class Group:
    """A heading of `--help-all` and docs/options.md, and what a reload does with the options below it."""

    title: str
    reload: Reload = Reload.APPLY


@dataclass(frozen=True)
class Option:
    """One option, whether it is written as `--name value` or as `name = value`.

    field: the attribute of Config that it fills, or None where the command line or the loader handles it before there
    is a Config.
    parse: turns the text into the typed value; raises ValueError with a text that fits after the option's name.
    help: the first sentence stands in `--help`, all of it in `--help-all`.
    aliases: further names, all of them uWSGI's. `name` is uWSGI's too, unless the option is `own`.
    metavar: the name of the value. An option without one is a flag: it takes no value on the command line, but may
    have one in a file (`strict = true`).
    default: text, for `parse`.
    repeatable: `parse` returns a tuple, and the tuples of all settings are joined.
    bare: the value when none is written. An option without `bare` needs a value.
    usual: whether `--help` shows it.
    on_reload: what a reload does when the value has changed; None means what its group says.
    """

    name: str
    field: str | None
    parse: Callable[[str], object]
    group: Group
    help: str
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    default: str | None = None
    repeatable: bool = False
    bare: str | None = None
    in_files: bool = True
    own: bool = False
    usual: bool = False
    on_reload: Reload | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling, the main one first."""
        return (self.name, *self.aliases)

    @property
    def uwsgi_names(self) -> tuple[str, ...]:
        """The spellings that uWSGI knows."""
        return self.aliases if self.own else self.names

    @property
    def is_flag(self) -> bool:
        """Whether the option stands alone on the command line."""
        return self.metavar is None

    @property
    def summary(self) -> str:
        """The first sentence of the help."""
        return self.help.partition(". ")[0].rstrip(".") + "."

    @property
    def notes(self) -> str:
        """The help, with what the other columns say: default, repetition."""
        default = None if self.default is None else f"Default: {self.default}."
        repeated = "Can be repeated." if self.repeatable else None
        return " ".join(part for part in (self.help, repeated, default) if part)

    @property
    def spelling(self) -> str:
        """The option with its value, as on the command line."""
        value = "" if self.is_flag else f"[={self.metavar}]" if self.bare else f" {self.metavar}"
        return f"--{self.name}{value}"

    @property
    def reload(self) -> Reload:
        """What a reload does when the value has changed."""
        return self.on_reload or self.group.reload

    def default_value(self) -> object:
        """The typed value where nothing was set."""
        if self.default is not None:
            return self.parse(self.default)
        if self.repeatable:
            return ()
        return False if self.is_flag else None
