"""What keeps the router going, taken out piece by piece."""

from __future__ import annotations

from tests.mutants.limits import CGROUPS, LIMITS
from tests.mutants.processes import LOG, RELOAD, STOP, WORKERS

RELIABILITY = (*WORKERS, *RELOAD, *STOP, *LOG, *LIMITS, *CGROUPS)
