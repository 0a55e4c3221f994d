"""The threat model names its tests; a name that is nobody's promises nothing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    assert len(named) > 30
    assert named <= there, f"not there: {sorted(named - there)}"


def test_every_promise_of_the_threat_model_names_a_test() -> None:
    rows = re.findall(r"^\| (?!promised|-)(.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    assert rows
    assert [row for row in rows if "`test_" not in row] == []
