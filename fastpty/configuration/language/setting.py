"""A setting: one option or word of the language as it was written, with its value and its place."""

from __future__ import annotations

import os

from fastpty.configuration.language.text import Text
from fastpty.system.records import dataclass, replace

COMMAND_LINE = "command line"
_UWSGIS_VARIABLES = "$UWSGI_"
ITEM = "%(_)"
"""The placeholder that a block replaces with its item."""


@dataclass(frozen=True)
class Setting:
    """One option as it was written: its name as spelled, its value, and its place.

    value: None where none was written (`--master`, or a line with `master` alone).
    origin: `FILE:LINE`, `$VARIABLE` for the environment, or COMMAND_LINE.
    is_placeholder: it only gives `%(name)` a value.
    is_used: a reference or condition has looked the name up, so it need not be an option.
    is_ours: uWSGI does not read this place, so an unknown name is an error.
    markup: the value's Text.markup, where part of the value is data.
    """

    name: str
    value: str | None
    origin: str = COMMAND_LINE
    is_placeholder: bool = False
    is_used: bool = False
    is_ours: bool = False
    markup: str | None = None

    @property
    def label(self) -> str:
        """The words that name this setting at the start of a message."""
        return f"--{self.name}" if self.origin == COMMAND_LINE else f"{self.origin}: {self.name}"

    @property
    def text(self) -> Text:
        """The value, with its data marked; empty where there is none."""
        value = self.value or ""
        return Text(value, value if self.markup is None else self.markup)

    def with_value(self, text: Text) -> Setting:
        """The same setting with another value."""
        return replace(self, value=text.whole, markup=text.markup if text.markup != text.whole else None)

    @property
    def is_from_environment(self) -> bool:
        """Whether it comes from an environment variable."""
        return self.origin.startswith("$")

    @property
    def is_uwsgis(self) -> bool:
        """Whether uWSGI reads this place too, so that the name has uWSGI's meaning."""
        if self.is_from_environment:
            return self.origin.startswith(_UWSGIS_VARIABLES)
        return self.origin != COMMAND_LINE and not self.is_ours

    @property
    def file(self) -> str | None:
        """The path of the file that it stands in, or None."""
        if self.origin == COMMAND_LINE or self.is_from_environment:
            return None
        return self.origin.rpartition(":")[0]

    @property
    def flaw(self) -> str | None:
        """Why the kernel cannot take this name or value in a path or a command; None if it can."""
        for text in (self.name, self.value or ""):
            if "\0" in text:
                return "holds a NUL byte"
            try:
                os.fsencode(text)
            except UnicodeEncodeError as error:
                return f"holds {ascii(error.object[error.start])[1:-1]}, which no file name or command can hold"
        return None
