"""A change that removes one protection from the program, and the test that has to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The text that the mutant replaces is not in the file exactly once: the program has changed."""


@dataclass(frozen=True)
class Mutant:
    """Removes the protection `what` by replacing `old`, in the file at `path`, with `new`.

    `test` is the pytest id, below tests/, of the test that must fail. Without [...] one failing case is enough.
    """

    what: str
    path: str
    old: str
    new: str
    test: str

    def apply(self, tree: Path) -> str:
        """Changes the file in `tree` and returns its old text; raises StaleMutantError."""
        file = tree / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise StaleMutantError(f"{self.path}: found {text.count(self.old)} times, not once: {self.old!r}")
        file.write_text(text.replace(self.old, self.new))
        return text
