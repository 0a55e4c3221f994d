"""What the person wrote, wherever it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

COMMAND_LINE = "command line"
ITEM = "%(_)"
"""What stands in the values of a block for the block's item."""


class Data(str):
    """Text that somebody else may have written: what it says is never looked at for `@(…)`, nor run."""


@dataclass(frozen=True)
class Setting:
    """One thing the person wrote: an option's name as spelled, its value, and where it stands.

    `value` is None where none was written (`--master`, or a bare `master` line). `origin` is `FILE:LINE`,
    `$VARIABLE` for one of the environment, or `COMMAND_LINE`. A placeholder is for `%(name)` only; `is_used` tells
    that something looked the name up, so that it need not be an option to be of use. `item` is what `ITEM` stands for
    in the value, where that is data.
    """

    name: str
    value: str | None
    origin: str = COMMAND_LINE
    is_placeholder: bool = False
    is_used: bool = False
    item: Data | None = None

    @property
    def label(self) -> str:
        """How to name this setting at the start of a message."""
        return f"--{self.name}" if self.origin == COMMAND_LINE else f"{self.origin}: {self.name}"

    def whole(self, text: str) -> str:
        """A part of the value, with the item in its place."""
        return text if self.item is None else text.replace(ITEM, self.item)

    def settled(self) -> Setting:
        """With the item in its place for good: from here on it cannot be told from what the person wrote."""
        return self if self.item is None else replace(self, value=self.whole(self.value or ""), item=None)

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
