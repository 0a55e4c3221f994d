"""What clients and programs leave behind: notices that nobody reads, and children that nobody waits for."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REMAINS = (
    Mutant(
        "remains: marks of unread notices do not use up the limit of descriptors that errands need",
        "fastpty/relay/notice.pxd",
        "    half.rlim_cur = files.rlim_cur // 2\n",
        "",
        "access/test_unread_notices.py::test_notices_that_refused_clients_do_not_read_keep_no_session_from_ending",
    ),
    Mutant(
        "remains: children that a program has made the worker's are reaped",
        "fastpty/sessions/handler.py",
        "        child.reap_unknown(self._children)\n",
        "",
        "relay/test_unreaped.py::test_children_that_a_program_makes_the_worker_s_are_reaped",
    ),
    Mutant(
        "remains: only unknown children are reaped before the relay does",
        "fastpty/system/child.py",
        "            if ended.si_pid in known:\n                return  # it hides the others until it is reaped\n",
        "",
        "relay/test_unreaped.py::test_a_leader_that_waits_to_be_reaped_keeps_its_exit_status",
    ),
)
