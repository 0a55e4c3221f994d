"""What keeps out who does not belong, taken out piece by piece."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SECURITY = (
    Mutant(
        "a deny rule wins over every allow rule",
        "fastpty/access.py",
        "        if denied or (",
        "        if (",
        "test_access.py::test_the_rules_decide_by_the_ids_that_the_kernel_tells",
    ),
    Mutant(
        "a child that becomes somebody else is not waited for",
        "fastpty/_spawn.pyx",
        "    if plan.account == NULL:\n        flags |= CLONE_VM | CLONE_VFORK\n",
        "    flags |= CLONE_VM | CLONE_VFORK\n",
        "test_run_as.py::test_a_peer_that_stops_its_starting_process_stops_nobody_else",
    ),
)
