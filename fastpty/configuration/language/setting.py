"""What the person wrote, wherever it stands."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from fastpty.configuration.language.text import Text

COMMAND_LINE = "command line"
ITEM = "%(_)"
"""What stands in the values of a block for the block's item."""


@dataclass(frozen=True)
class Setting:
    """One thing the person wrote: an option's name as spelled, its value, and where it stands.

    `value` is None where none was written (`--master`, or a bare `master` line); `markup` is its `Text.markup` where
    some of it is data. `origin` is `FILE:LINE`, `$VARIABLE` for one of the environment, or `COMMAND_LINE`. A
    placeholder is for `%(name)` only; `is_used` tells that something looked the name up, so that it need not be an
    option to be of use. `is_ours`: it stands where uWSGI reads nothing, so that a name that is no option is a mistake.
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
        """How to name this setting at the start of a message."""
        return f"--{self.name}" if self.origin == COMMAND_LINE else f"{self.origin}: {self.name}"

    @property
    def text(self) -> Text:
        """The value, with what of it is data; empty where there is none."""
        value = self.value or ""
        return Text(value, value if self.markup is None else self.markup)

    def saying(self, text: Text) -> Setting:
        """The same setting with another value."""
        return replace(self, value=text.whole, markup=text.markup if text.markup != text.whole else None)

    @property
    def is_from_environment(self) -> bool:
        """Whether a variable of the environment is its origin."""
        return self.origin.startswith("$")

    @property
    def file(self) -> str | None:
        """The path of the file that it stands in, or None."""
        if self.origin == COMMAND_LINE or self.is_from_environment:
            return None
        return self.origin.rpartition(":")[0]

    @property
    def flaw(self) -> str | None:
        """Why the kernel could not be given this name or value, as a path or as a part of a command; or None."""
        for text in (self.name, self.value or ""):
            if "\0" in text:
                return "holds a NUL byte"
            try:
                os.fsencode(text)
            except UnicodeEncodeError as error:
                return f"holds {ascii(error.object[error.start])[1:-1]}, which no file name or command can hold"
        return None
