"""docs/field-reports.md: each row names tests, and each of them exists."""

from __future__ import annotations

import re

from tests import ROOT


def rows() -> list[list[str]]:
    """The cells of the rows below the head of the table."""
    text = (ROOT / "docs" / "field-reports.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return cells[1:]


def test_every_row_of_the_field_reports_names_tests_that_exist() -> None:
    assert len(rows()) > 25
    for situation, _, tests in rows():
        named = re.findall(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`", tests)
        assert named, situation
        for file, name in named:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (situation, name)
