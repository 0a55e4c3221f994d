"""What holds when a worker is killed, taken out piece by piece."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REPLACED = (
    "errands/test_killed_worker.py::test_a_worker_that_is_killed_while_a_program_holds_its_terminal_is_replaced"
)
STOPPED = "errands/test_killed_worker.py::test_a_stop_does_not_wait_for_a_worker_whose_end_waits_in_the_kernel"

KILLED = (
    Mutant(
        "a killed worker's end closes none of the terminals of other users' programs",
        "fastpty/supervision/worker.py",
        "        return Heir()\n",
        "        return None\n",
        REPLACED,
    ),
    Mutant(
        "what a killed worker had open is closed by errands",
        "fastpty/errands/heir.py",
        "        for descriptor in terminals:\n            _close_elsewhere(errands, descriptor)\n",
        "        for descriptor in terminals:\n            os.close(descriptor)\n",
        REPLACED,
    ),
    Mutant(
        "the heir ends before its worker does",
        "fastpty/supervision/worker.py",
        "            heir.dismiss()\n",
        "            pass\n",
        "errands/test_killed_worker.py::test_no_heir_is_left_by_a_worker_that_has_ended",
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
        "errands/test_killed_worker.py::test_a_stuck_worker_whose_end_waits_in_the_kernel_is_replaced",
    ),
    Mutant(
        "a user who leaves many terminals stuck keeps no terminal of others open",
        "fastpty/errands/processes.py",
        "_PROCESSES_MOST = 256",
        "_PROCESSES_MOST = 16",
        "errands/test_errands.py::test_many_terminals_that_are_held_do_not_keep_those_of_others_open",
    ),
    Mutant(
        "a process that a container freezes has nothing of other sessions open",
        "fastpty/spawn/child.pxd",
        "    if plan.shares_table and syscall",
        "    if child_join(plan) < 0:\n        return child_fail(plan)\n    if plan.shares_table and syscall",
        "jail/test_frozen.py::test_a_process_that_is_frozen_by_a_container_holds_nothing_of_other_sessions",
    ),
)
