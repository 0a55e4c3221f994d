"""A client cannot affect processes outside its session."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_AS_USER = """    if terminal.has_user:
        kill_as(terminal.uid, -group, number)
    else:
        kill(-group, number)"""

BYSTANDERS = (
    Mutant(
        "a client's signal is sent with the rights of the session's user",
        "fastpty/relay/terminal.pxd",
        _AS_USER,
        "    kill(-group, number)",
        "relay/test_bystanders.py::test_a_client_cannot_signal_a_process_that_became_root_in_its_terminal",
    ),
    Mutant(
        "a client can signal the processes of its own session",
        "fastpty/relay/rights.pxd",
        "    result = kill(pid, number)",
        "    result = -1",
        "relay/test_bystanders.py::test_a_client_s_signal_reaches_its_own_processes",
    ),
    Mutant(
        "a worker that has sent a signal as another user still ends with its supervisor",
        "fastpty/relay/rights.pxd",
        "        syscall(SYS_prctl, PR_SET_PDEATHSIG, death_signal)\n",
        "",
        "relay/test_bystanders.py::test_a_worker_that_has_signalled_as_a_client_still_ends_with_its_supervisor",
    ),
    Mutant(
        "a process group that has ended is not signalled: its number may be reused",
        "fastpty/relay/terminal.pxd",
        "    if session >= 0 and session != tcgetsid(terminal.fd):\n        return 0\n",
        "",
        "relay/test_bystanders.py::test_a_group_that_reuses_the_number_of_an_ended_one_is_not_signalled",
    ),
    Mutant(
        "a peer's session has a session keyring of its own",
        "fastpty/spawn/child.pxd",
        " or leave_session_keyring() < 0)",
        ")",
        "relay/test_bystanders.py::test_a_session_of_another_account_does_not_possess_root_s_keys",
    ),
    Mutant(
        "a router that gives up root gives up root's session keyring, too",
        "fastpty/jail/privileges.py",
        "        os.setresuid(uid, uid, uid)\n        leave_keys()\n",
        "        os.setresuid(uid, uid, uid)\n",
        "relay/test_bystanders.py::test_a_session_of_another_account_does_not_possess_root_s_keys",
    ),
    Mutant(
        "a flood of signals from one client does not delay others",
        "fastpty/relay/input.pxd",
        " and acts < ACTIONS_MOST:",
        ":",
        "relay/test_bystanders.py::test_a_flood_of_signal_frames_does_not_delay_other_sessions",
    ),
    Mutant(
        "an HTTP request to a TCP port is not taken for input",
        "fastpty/relay/step.pxd",
        "    if is_input and read_before == 0 and peer_reject_stray(loop, session):\n        return\n",
        "",
        "relay/test_bystanders.py::test_an_http_request_to_a_tcp_port_runs_no_command",
    ),
    Mutant(
        "an HTTP request to a shared terminal's port is not taken for input",
        "fastpty/relay/shared_step.pxd",
        "    if before == 0 and peer_reject_stray(loop, task.session):\n        return False\n",
        "",
        "relay/test_bystanders.py::test_an_http_request_to_a_tcp_port_runs_no_command",
    ),
    Mutant(
        "GET typed on a socket file is not taken for HTTP",
        "fastpty/wire/strays.pxd",
        "stray_over_tcp(data, held) if is_tcp else STRAY_NONE",
        "stray_over_tcp(data, held)",
        "relay/test_bystanders.py::test_get_typed_on_a_unix_socket_is_not_taken_for_http",
    ),
)
