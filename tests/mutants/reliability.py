"""All mutants about a router that keeps running."""

from __future__ import annotations

from tests.mutants.client import CLIENT
from tests.mutants.exec import EXEC
from tests.mutants.extension import EXTENSION
from tests.mutants.extension_client import EXTENSION_CLIENT
from tests.mutants.extension_start import EXTENSION_START
from tests.mutants.faults import FAULTS
from tests.mutants.hang_up import HANG_UP
from tests.mutants.limits import BOUNDS, CGROUPS, LIMITS
from tests.mutants.operation import OPERATION
from tests.mutants.processes import LOG, RELOAD, STOP, WORKERS
from tests.mutants.sessions import ENDS, FLOW

RELIABILITY = (
    *FAULTS,
    *ENDS,
    *HANG_UP,
    *FLOW,
    *LIMITS,
    *BOUNDS,
    *CGROUPS,
    *WORKERS,
    *RELOAD,
    *STOP,
    *LOG,
    *OPERATION,
    *CLIENT,
    *EXTENSION,
    *EXTENSION_START,
    *EXTENSION_CLIENT,
    *EXEC,
)
