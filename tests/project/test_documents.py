"""The links of the documents lead somewhere, their tables are whole, and the files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.documents import named_files

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def prose(document: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```[\s\S]*?^```$|^    .*$", "", document.read_text(), flags=re.M)


def anchors(document: Path) -> set[str]:
    """The names that a renderer gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    document = ROOT / name
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_table_has_as_many_cells_as_its_heading(name: str) -> None:
    wrong = []
    for table in re.findall(r"(?:^\|.*\n)+", prose(ROOT / name), re.M):
        rows = [row.replace("\\|", "").count("|") for row in table.splitlines()]
        wrong += [row for row, count in zip(table.splitlines(), rows, strict=True) if count != rows[0]]
    assert wrong == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/reliability.md"])
def test_every_file_that_a_document_names_exists(name: str) -> None:
    folders = [ROOT, ROOT / "fastpty", ROOT / "tests"]
    missing = {file for file in named_files(ROOT / name) if not any((folder / file).exists() for folder in folders)}
    assert missing == set()
