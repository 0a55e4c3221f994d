"""Text of which each character is either markup, which may be expanded, or data, which may not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from fastpty.system.records import dataclass

_MASK = "\0"  # stands for data in `markup`; no pattern matches it, since no value can hold a NUL
_RUN = re.compile(f"{_MASK}+|[^{_MASK}]+")
_WORD = "\1"  # stands for a plain word in `markup`; no pattern matches it either
_PLAIN = re.compile(r"(?!-)[A-Za-z0-9_./,+:-]+", re.ASCII)  # one word to a shell


@dataclass(frozen=True)
class Text:
    """A text whose characters are markup (written in the configuration) or data (from variables, files and so on).

    `whole` is the text. `markup` is the same with a NUL for each character of data. Code that searches for `$(…)`,
    `@(…)`, `%(…)` or a separator searches `markup`, so it never finds anything in data.
    """

    whole: str
    markup: str

    @staticmethod
    def written(text: str) -> Text:
        """Text that is all markup."""
        return Text(text, text)

    @staticmethod
    def data(text: str) -> Text:
        """Text that is all data."""
        return Text(text, _MASK * len(text))

    @staticmethod
    def outside(text: str) -> Text:
        """Data from outside. If it is one plain word, harmless to a shell, it may become part of a command."""
        return Text(text, _WORD * len(text)) if _PLAIN.fullmatch(text) else Text.data(text)

    @staticmethod
    def join(parts: Iterable[Text]) -> Text:
        """The concatenation of all parts."""
        parts = list(parts)
        return Text("".join(part.whole for part in parts), "".join(part.markup for part in parts))

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, part: slice) -> Text:
        return Text(self.whole[part], self.markup[part])

    @property
    def has_data(self) -> bool:
        """Whether part of it is data that is not a plain word."""
        return _MASK in self.markup

    def as_data(self) -> Text:
        """The same text, all data."""
        return Text.data(self.whole)

    def partition(self, separator: str) -> tuple[Text, str, Text]:
        """Like str.partition, at the first separator in the markup, or else at the first in data."""
        at = self.markup.find(separator)
        if at < 0:
            at = self.whole.find(separator)
        if at < 0:
            return self, "", self[len(self) :]
        return self[:at], separator, self[at + len(separator) :]

    def replaced(self, old: str, new: Text) -> Text:
        """The text with each `old` in the markup replaced by `new`."""
        parts = []
        start = 0
        while (at := self.markup.find(old, start)) >= 0:
            parts += [self[start:at], new]
            start = at + len(old)
        return Text.join([*parts, self[start:]]) if start else self

    def escaped(self, escape: Callable[[str], str]) -> str:
        """The text with `escape` applied to its data, for a pattern in which data matches literally."""
        runs = ((self.whole[run.start() : run.end()], run[0][0] == _MASK) for run in _RUN.finditer(self.markup))
        return "".join(escape(text) if is_data else text for text, is_data in runs)
