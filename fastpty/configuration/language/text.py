"""Values while they are expanded: which of their characters a person wrote, and which are data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_MASK = "\0"  # a NUL cannot be written in any value, so nothing that is looked for can match it
_RUN = re.compile(f"{_MASK}+|[^{_MASK}]+")
_WORD = "\1"  # nor is anything looked for that holds this
_PLAIN = re.compile(r"(?!-)[A-Za-z0-9_./,+:-]+", re.ASCII)  # a shell takes it for one word


@dataclass(frozen=True)
class Text:
    """A text, character by character either markup, as a person wrote it, or data, which came from elsewhere.

    `whole` is what it says. `markup` is the same with a NUL for each character of data: whoever looks for `$(…)`,
    `@(…)`, `%(…)` or a separator looks there, so that data is never found, whatever it holds.
    """

    whole: str
    markup: str

    @staticmethod
    def written(text: str) -> Text:
        """What a person wrote."""
        return Text(text, text)

    @staticmethod
    def data(text: str) -> Text:
        """What came from elsewhere."""
        return Text(text, _MASK * len(text))

    @staticmethod
    def outside(text: str) -> Text:
        """What came from elsewhere. One plain word, which means nothing to a shell, may stand in a command."""
        return Text(text, _WORD * len(text)) if _PLAIN.fullmatch(text) else Text.data(text)

    @staticmethod
    def join(parts: Iterable[Text]) -> Text:
        """All of them, one after the other."""
        parts = list(parts)
        return Text("".join(part.whole for part in parts), "".join(part.markup for part in parts))

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, part: slice) -> Text:
        return Text(self.whole[part], self.markup[part])

    @property
    def has_data(self) -> bool:
        """Whether any of it is data, and more than a plain word."""
        return _MASK in self.markup

    def as_data(self) -> Text:
        """The same, all of it data."""
        return Text.data(self.whole)

    def partition(self, separator: str) -> tuple[Text, str, Text]:
        """As of a str, at the first separator that is written, or of one that is data where none is written."""
        at = self.markup.find(separator)
        if at < 0:
            at = self.whole.find(separator)
        if at < 0:
            return self, "", self[len(self) :]
        return self[:at], separator, self[at + len(separator) :]

    def replaced(self, old: str, new: Text) -> Text:
        """With `new` in the place of each `old` that is written."""
        parts = []
        start = 0
        while (at := self.markup.find(old, start)) >= 0:
            parts += [self[start:at], new]
            start = at + len(old)
        return Text.join([*parts, self[start:]]) if start else self

    def escaped(self, escape: Callable[[str], str]) -> str:
        """What it says, with `escape` applied to the data: for a pattern in which data stands for itself."""
        runs = ((self.whole[run.start() : run.end()], run[0][0] == _MASK) for run in _RUN.finditer(self.markup))
        return "".join(escape(text) if is_data else text for text, is_data in runs)
