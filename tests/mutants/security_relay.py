"""What a program or a client prepares so that the router waits for ever, and clients that speak something else."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

HELD = "errands/test_errands.py::test_a_program_that_holds_its_terminal_in_the_kernel_stops_nobody_else"
PASSED = "errands/test_errands.py::test_a_descriptor_that_a_client_passes_is_not_waited_for"

RELAY = (
    Mutant(
        "the close of a terminal that a program holds is another process's",
        "fastpty/relay/terminal.pxd",
        "    elif not errands_close(terminal.errands, terminal.fd):\n        return False\n",
        "    else:\n        close(terminal.fd)\n",
        f"{HELD}[write]",
    ),
    Mutant(
        "a change of the size of a terminal that a program may hold is another process's",
        "fastpty/relay/terminal.pxd",
        "    if terminal.has_user:\n        errand.kind = ERRAND_RESIZE\n",
        "    if False:\n        errand.kind = ERRAND_RESIZE\n",
        f"{HELD}[size]",
    ),
    Mutant(
        "a look at the settings of a terminal that a program may hold is another process's",
        "fastpty/relay/terminal.pxd",
        "    if terminal.has_user:\n        errand.kind = ERRAND_END_INPUT\n",
        "    if False:\n        errand.kind = ERRAND_END_INPUT\n",
        f"{HELD}[settings]",
    ),
    Mutant(
        "a process that is stuck is not the only one",
        "fastpty/errands/processes.py",
        "_PROCESSES_MOST = 256",
        "_PROCESSES_MOST = 1",
        "errands/test_errands.py::test_terminals_that_are_held_do_not_keep_those_of_others_open",
    ),
    Mutant(
        "no socket takes descriptors",
        "fastpty/listening/bind.py",
        "            refuse_descriptors(sock)\n",
        "            pass\n",
        "errands/test_errands.py::test_no_socket_of_the_router_takes_descriptors",
    ),
    Mutant(
        "on an older kernel a descriptor that is read is closed elsewhere",
        "fastpty/relay/begin.pxd",
        "        session.input.channel.guard = &loop.errands\n",
        "        pass\n",
        f"{PASSED}[an older kernel-read]",
    ),
    Mutant(
        "on an older kernel a connection with what was not read is closed elsewhere",
        "fastpty/relay/lifecycle.pxd",
        "    if not session.peer.is_guarded:\n        close(fd)\n",
        "    if True:\n        close(fd)\n",
        f"{PASSED}[an older kernel-unread]",
    ),
    Mutant(
        "on an older kernel a connection to the statistics is closed elsewhere",
        "fastpty/supervision/statistics.py",
        "        if may_pass_descriptors(connection):\n",
        "        if False:\n",
        f"{PASSED}[an older kernel-at the statistics]",
    ),
    Mutant(
        "a TLS hello to a plain port is answered",
        "fastpty/relay/peer.pxd",
        "    if tls_hello_begins(data, held):\n",
        "    if False:\n",
        "relay/test_strays.py::test_a_client_that_expects_tls_of_a_plain_port_gets_a_line_and_an_end",
    ),
    Mutant(
        "a TCP client that sends no more is asked whether it is there",
        "fastpty/relay/deadlines.pxd",
        "            peer_probe(session)\n",
        "            pass\n",
        "relay/test_strays.py::test_a_tcp_client_that_closes_beside_a_program_that_does_nothing_has_left",
    ),
    Mutant(
        "a TCP client that has closed its half does not see that it is asked",
        "fastpty/relay/peer.pxd",
        "MSG_OOB | MSG_DONTWAIT",
        "MSG_DONTWAIT",
        "relay/test_strays.py::test_a_tcp_client_that_has_closed_its_half_stays_and_sees_only_what_the_program_writes",
    ),
)
