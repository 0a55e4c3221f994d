"""Parses XML in uWSGI's form: `<uwsgi><option>value</option></uwsgi>`, or `<fastpty>`, which uWSGI does not read.

As in uWSGI 2.0.21 (measured): the element is the root or a child of it, and the first one counts, or the first with
the wanted `id`; each of its children is an option; an empty child is an option without a value; blanks in a value
count. Different here: what uWSGI ignores silently (text between options, options inside options) is an error, and so is
a document type declaration, which could declare entities that grow without end or name other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from fastpty.configuration.language.setting import Setting
from fastpty.configuration.language.source import OURS, UWSGIS, Source
from fastpty.errors import UsageError
from fastpty.system.records import dataclass, field


@dataclass
class _Section:
    """An element whose children are options: names, values and lines."""

    element: str
    id: str | None
    line: int
    depth: int
    options: list[tuple[str, str | None, int]] = field(default_factory=list)


class _Reader:
    """Collects the sections of one document."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parser = expat.ParserCreate("utf-8")  # whatever encoding the document declares
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = lambda *_: self._refuse("a document type (<!DOCTYPE) is not supported")
        self._depth = 0
        self._open: _Section | None = None
        self._value: list[str] = []
        self.sections: list[_Section] = []

    def read(self) -> None:
        """Parses the document; raises UsageError."""
        try:
            self._parser.Parse(self._source.text.encode("utf-8", "surrogateescape"), True)
        except expat.ExpatError as error:
            words = expat.ErrorString(error.code)
            raise UsageError(
                f"{self._source.path}:{error.lineno}: this is not XML: {words} (column {error.offset + 1})"
            ) from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        line = self._parser.CurrentLineNumber
        if self._open is None:
            if self._depth <= 2 and name in (OURS, UWSGIS):
                self._open = _Section(name, attributes.get("id"), line, self._depth)
                self.sections.append(self._open)
        elif self._depth == self._open.depth + 1:
            self._open.options.append((name, None, line))
            self._value = []
        else:
            self._refuse(f"{name} stands inside another option")

    def _end(self, _name: str) -> None:
        section = self._open
        if section is not None and self._depth == section.depth + 1:
            key, _, line = section.options[-1]
            section.options[-1] = (key, "".join(self._value) or None, line)
            self._value = []
        elif section is not None and self._depth == section.depth:
            self._open = None
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._open is None:
            return
        if self._depth > self._open.depth:
            self._value.append(text)
        elif text.strip():
            self._refuse(f"{text.strip()[:40]!r} stands outside of an option")

    def _refuse(self, why: str) -> NoReturn:
        raise UsageError(f"{self._source.path}:{self._parser.CurrentLineNumber}: {why}")


def parse(source: Source) -> Iterator[Setting]:
    """Yields the settings of the `<fastpty>` or `<uwsgi>` element, each with its line. Raises UsageError."""
    reader = _Reader(source)
    reader.read()
    found: dict[str, _Section] = {}
    for section in reader.sections:
        found.setdefault(section.element, section)
        if source.section is not None and section.id is not None:
            found.setdefault(section.id, section)
    chosen = found[source.choose({name: f"{source.path}:{section.line}" for name, section in found.items()})]
    for key, value, line in chosen.options:
        yield source.setting(key, value, f"{source.path}:{line}", is_ours=chosen.element == OURS)
