"""A protection taken out, and the test that has to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The program has changed: what the mutant would replace is not there, or more than once."""


@dataclass(frozen=True)
class Mutant:
    """`what` is the protection, `old` its code in the file at `path`, `new` what stands there without it.

    `test` is the pytest id below tests/ of the one that must fail; without [...] any of its cases may.
    """

    what: str
    path: str
    old: str
    new: str
    test: str

    def apply(self, tree: Path) -> str:
        """Changes the file in `tree` and returns its text as it was; raises StaleMutantError."""
        file = tree / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise StaleMutantError(f"{self.path}: found {text.count(self.old)} times, not once: {self.old!r}")
        file.write_text(text.replace(self.old, self.new))
        return text
