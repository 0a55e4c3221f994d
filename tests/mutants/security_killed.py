"""Protections for the case that a worker is killed."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REPLACED = "errands/test_killed_worker.py::test_a_worker_killed_while_a_terminal_is_stuck_is_replaced"
STOPPED = "errands/test_killed_worker.py::test_a_stop_does_not_wait_for_a_killed_worker_stuck_in_the_kernel"

KILLED = (
    Mutant(
        "a killed worker's end closes none of the terminals of other users' programs",
        "fastpty/supervision/worker.py",
        "        return Heir()\n",
        "        return None\n",
        REPLACED,
    ),
    Mutant(
        "errand processes close what a killed worker had open",
        "fastpty/errands/heir.py",
        "        for descriptor in terminals:\n            _close_elsewhere(errands, descriptor, OWNER_ROUTER)\n",
        "        for descriptor in terminals:\n            os.close(descriptor)\n",
        REPLACED,
    ),
    Mutant(
        "an heir ends before its worker",
        "fastpty/supervision/worker.py",
        "            heir.dismiss()\n",
        "            pass\n",
        "errands/test_killed_worker.py::test_a_worker_s_heir_ends_with_it",
    ),
    Mutant(
        "a worker that does not stop is killed",
        "fastpty/supervision/supervisor.py",
        "            if now >= self._stop_deadline and not each.is_killed:\n",
        "            if False:\n",
        STOPPED,
    ),
    Mutant(
        "a killed worker that does not end is replaced",
        "fastpty/supervision/supervisor.py",
        "            if each.seconds_to_be_gone(now) == 0:\n",
        "            if False:\n",
        "errands/test_killed_worker.py::test_a_killed_worker_stuck_in_the_kernel_is_replaced",
    ),
    Mutant(
        "a user cannot block all processes that close terminals",
        "fastpty/errands/keeper.py",
        "busy[owner] < _HELPERS_OF.get(owner, _HELPERS_OF_ONE_USER)",
        "len(self._helpers) < 16 or not all(helper.errand for helper in self._helpers.values())",
        "errands/test_errands.py::test_a_user_who_blocks_many_terminals_keeps_no_terminal_of_others_open",
    ),
    Mutant(
        "a session keeps its place while its terminal is blocked",
        "fastpty/sessions/handler.py",
        "            self._open_terminals.add(number)\n",
        "            pass\n",
        "errands/test_errands.py::test_a_session_keeps_its_place_until_its_terminal_is_closed",
    ),
    Mutant(
        "a session's place is freed when its terminal is closed",
        "fastpty/errands/keeper.py",
        "        if helper.errand is not None and helper.errand.session and helper.errand.kind in _REPORTED:\n",
        "        if False:\n",
        "errands/test_errands.py::test_a_session_keeps_its_place_until_its_terminal_is_closed",
    ),
    Mutant(
        "a process frozen by a container has no descriptor of other sessions",
        "fastpty/spawn/child.pxd",
        "    if plan.shares_table and syscall",
        "    if child_join(plan) < 0:\n        return -1\n    if plan.shares_table and syscall",
        "jail/test_frozen.py::test_a_frozen_first_process_has_no_descriptor_of_other_sessions",
    ),
)
