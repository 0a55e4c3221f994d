"""What the person wrote, wherever it stands."""

from __future__ import annotations

from dataclasses import dataclass

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Setting:
    """One thing the person wrote: an option's name as spelled, its value, and where it stands.

    `value` is None where none was written (`--master`, or a bare `master` line). `origin` is `FILE:LINE`,
    `$VARIABLE` for one of the environment, or `COMMAND_LINE`. A placeholder is for `%(name)` only; `is_used` tells
    that something looked the name up, so that it need not be an option to be of use.
    """

    name: str
    value: str | None
    origin: str = COMMAND_LINE
    is_placeholder: bool = False
    is_used: bool = False

    @property
    def label(self) -> str:
        """How to name this setting at the start of a message."""
        return f"--{self.name}" if self.origin == COMMAND_LINE else f"{self.origin}: {self.name}"

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
