"""Every mutant matches the present code: one that does not would change nothing."""

from __future__ import annotations

from tests import ROOT
from tests.mutants.reliability import RELIABILITY
from tests.mutants.security import SECURITY

MUTANTS = (*RELIABILITY, *SECURITY)


def test_the_text_that_a_mutant_replaces_occurs_once() -> None:
    found = {mutant.what: (ROOT / mutant.path).read_text().count(mutant.old) for mutant in MUTANTS}
    assert {what: count for what, count in found.items() if count != 1} == {}


def test_no_mutant_stands_twice() -> None:
    changes = [(mutant.path, mutant.old, mutant.new, mutant.test) for mutant in MUTANTS]
    assert len(set(changes)) == len(changes)
