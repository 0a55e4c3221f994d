"""The documents' links lead somewhere, tables are whole, named files exist, and tests run the examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import ROOT
from tests.configuration import test_configuration_doc
from tests.jail import test_jails_document
from tests.project import test_examples
from tests.support.documents import Block, blocks, named_files

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

# What the tests of the examples run: whole blocks, and single lines.
BLOCKS_RUN = {
    *(content for example in test_examples.ALL for _, content in example.files),
    *test_examples.CERTIFICATES,
    *test_examples.MEMORY,
    *test_examples.PYTHON,
    *(content for _, content in test_configuration_doc.FILES),
    *(f"$ {command}\n{shown}" for command, shown in test_configuration_doc.SESSIONS),
    *(test_jails_document.START, *test_jails_document.EXAMPLES.values(), test_jails_document.DEVPTS),
}
LINES_RUN = {example.line for example in test_examples.ALL}


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


def is_run(block: Block) -> bool:
    lines = [re.sub(r"\s+#.*", "", line) for line in block.text.splitlines() if line]
    return block.text in BLOCKS_RUN or not (block.language or set(lines) - LINES_RUN)


@pytest.mark.parametrize("name", ["README.md", *(name for name in NAMES if name.startswith("docs/"))])
def test_every_block_of_code_is_run_by_a_test_or_says_why_not(name: str) -> None:
    wrong = [block.text for block in blocks(ROOT / name) if is_run(block) == bool(block.not_run)]
    assert wrong == []


def test_a_line_that_looks_like_a_mark_marks_a_block() -> None:
    """A mark that no block follows would go unnoticed."""
    for document in DOCUMENTS:
        marks = document.read_text().count("<!-- not run:")
        assert marks == len([block for block in blocks(document) if block.not_run]), document
