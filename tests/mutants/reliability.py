"""What keeps the router going, taken out piece by piece."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RELIABILITY: tuple[Mutant, ...] = ()
