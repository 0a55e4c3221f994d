"""Every test that the threat model names exists, and a mutant shows that it can fail."""

from __future__ import annotations

import re

from tests import ROOT
from tests.mutants.reliability import RELIABILITY
from tests.mutants.security import SECURITY


def named() -> set[str]:
    return set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))


def test_every_test_that_the_threat_model_names_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    assert len(named()) > 30
    assert sorted(named() - there) == []


def rows() -> list[str]:
    found = re.findall(r"^\| (?!attacker|-)(.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    assert found
    return found


def test_every_promise_of_the_threat_model_names_a_test() -> None:
    assert [row for row in rows() if "`test_" not in row] == []


def test_every_test_that_the_threat_model_names_has_a_mutant_to_notice() -> None:
    noticing = {re.sub(r".*::|\[.*", "", mutant.test) for mutant in (*RELIABILITY, *SECURITY)}
    assert sorted(named() - noticing) == []
