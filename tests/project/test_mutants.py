"""Each mutant changes code that exists exactly once, and names a test that exists."""

from __future__ import annotations

import re

from tests import ROOT
from tests.mutants.reliability import RELIABILITY
from tests.mutants.security import SECURITY

MUTANTS = (*RELIABILITY, *SECURITY)


def test_the_code_that_a_mutant_changes_exists_once() -> None:
    found = {mutant.what: (ROOT / mutant.path).read_text().count(mutant.old) for mutant in MUTANTS}
    assert {what: count for what, count in found.items() if count != 1} == {}


def test_no_mutant_is_listed_twice() -> None:
    changes = [(mutant.path, mutant.old, mutant.new, mutant.test) for mutant in MUTANTS]
    assert len(set(changes)) == len(changes)


def test_the_test_that_a_mutant_names_exists() -> None:
    def exists(test: str) -> bool:
        file, _, name = re.sub(r"\[.*", "", test).partition("::")
        path = ROOT / "tests" / file
        return path.exists() and (not name or f"def {name}(" in path.read_text())

    assert [mutant.test for mutant in MUTANTS if not exists(mutant.test)] == []
