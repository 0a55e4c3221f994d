"""Reads the examples of a document, so that tests can run them as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMMENT = re.compile(r"\s+#.*")


@dataclass(frozen=True)
class Example:
    """A command line, with what its section shows before it."""

    section: str
    files: tuple[tuple[str, str], ...]  # their names and contents
    router: str  # the last line before it that starts a router, or ""
    line: str

    @property
    def starts_a_router(self) -> bool:
        return self.line.startswith("fastpty-router ")


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" if it is indented), its lines, and why it is not run, or ""."""

    language: str
    text: str
    not_run: str


_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+) -->\n\n?)?"
    r"(?:^```(?P<language>\w+)\n(?P<fenced>[\s\S]*?)^```$|(?<=\n\n)(?P<indented>(?: {4}\S.*\n|\n(?= {4}\S))+))",
    re.M,
)


def blocks(document: Path) -> list[Block]:
    """The blocks of code of a document. A line `<!-- not run: REASON -->` before a block says that no test runs it."""
    found = []
    for match in _BLOCK.finditer(document.read_text()):
        indented = match["indented"]
        text = match["fenced"] if indented is None else re.sub(r"^ {4}", "", indented, flags=re.M)
        found.append(Block(match["language"] or "", text, match["why"] or ""))
    return found


def sections(document: Path) -> dict[str, str]:
    """The text below each heading of the second level."""
    _, *parts = re.split(r"^## (.*)\n", document.read_text(), flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def examples(document: Path) -> Iterator[Example]:
    """The indented command lines of a document in their order. A line that names a file has its content below."""
    for section, text in {"": re.split(r"^## ", document.read_text(), flags=re.M)[0], **sections(document)}.items():
        files: list[tuple[str, str]] = []
        router = ""
        for found in re.finditer(
            r"`([\w/-]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)^```$|^    (\S[^\n]*)$", text, re.M | re.S
        ):
            name, content, line = found.groups()
            if name:
                files.append((name, content))
                continue
            example = Example(section, tuple(files), router, _COMMENT.sub("", line))
            yield example
            if example.starts_a_router:
                router = example.line


def named_files(document: Path) -> set[str]:
    """The source files and folders that a document names in code marks, such as `relay/loop.pxd` and `jail/`."""
    words = re.findall(r"`([^`\n]+)`", document.read_text())
    return {
        word for word in words if re.fullmatch(r"[\w./-]+(\.(py|pyi|pyx|pxd|sh|c|md|svg)|/)", word) and word[0] != "/"
    }
