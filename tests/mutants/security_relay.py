"""Programs and clients that try to make the router wait without end, and TCP clients that speak TLS."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

HELD = "errands/test_errands.py::test_a_program_that_blocks_its_terminal_in_the_kernel_delays_nobody_else"
PASSED = "errands/test_errands.py::test_the_router_does_not_wait_for_the_close_of_a_passed_descriptor"

RELAY = (
    Mutant(
        "another process closes a terminal that a program holds open",
        "fastpty/relay/terminal.pxd",
        "        if not errands_close_all(terminal.errands, &errand, &terminal.fd, 1):\n            return False\n",
        "        close(terminal.fd)\n",
        f"{HELD}[write]",
    ),
    Mutant(
        "another process sets the size of a terminal that a program may block",
        "fastpty/relay/terminal.pxd",
        "    if terminal.has_user:\n        terminal_begin_errand(terminal, &errand)\n"
        "        errand.kind = ERRAND_RESIZE\n",
        "    if False:\n        errand.kind = ERRAND_RESIZE\n",
        f"{HELD}[size]",
    ),
    Mutant(
        "another process reads the settings of a terminal that a program may block",
        "fastpty/relay/terminal.pxd",
        "    if terminal.has_user:\n        terminal_begin_errand(terminal, &errand)\n        errand.kind = kind\n",
        "    if False:\n        errand.kind = kind\n",
        f"{HELD}[settings]",
    ),
    Mutant(
        "an errand process that is stuck does not delay other errands",
        "fastpty/errands/keeper.py",
        "_HELPERS_OF_ONE_USER = 16",
        "_HELPERS_OF_ONE_USER = 1",
        "errands/test_errands.py::test_blocked_terminals_do_not_keep_others_open",
    ),
    Mutant(
        "no socket of the router receives descriptors",
        "fastpty/listening/bind.py",
        "            refuse_descriptors(sock)\n",
        "            pass\n",
        "errands/test_errands.py::test_no_socket_of_the_router_takes_descriptors",
    ),
    Mutant(
        "on an older kernel another process closes a received descriptor",
        "fastpty/relay/begin.pxd",
        "        session.input.channel.guard = &loop.errands\n",
        "        pass\n",
        f"{PASSED}[an older kernel-read]",
    ),
    Mutant(
        "on an older kernel another process closes a connection with unread data",
        "fastpty/relay/lifecycle.pxd",
        "    if not session.peer.is_guarded:\n        close(fd)\n",
        "    if True:\n        close(fd)\n",
        f"{PASSED}[an older kernel-unread]",
    ),
    Mutant(
        "on an older kernel another process closes a statistics connection",
        "fastpty/supervision/statistics.py",
        "        if may_pass_descriptors(connection):\n",
        "        if False:\n",
        f"{PASSED}[an older kernel-at the statistics]",
    ),
    Mutant(
        "a line about the protocol begins on a line of its own",
        "fastpty/relay/notice.pxd",
        " and session.output.channel.bytes == 0:\n",
        ":\n",
        "relay/test_strays.py::test_a_line_about_the_protocol_begins_on_a_line_of_its_own_after_output",
    ),
    Mutant(
        "a TLS client on a plain port gets a message",
        "fastpty/wire/strays.pxd",
        "    if is_tcp and tls_hello_begins(data, held):\n",
        "    if False:\n",
        "relay/test_strays.py::test_a_tls_client_on_a_plain_port_gets_a_line_and_a_close",
    ),
    Mutant(
        "what a raw client types on a uwsgi socket is not parsed as frames",
        "fastpty/wire/strays.pxd",
        "        return STRAY_RAW if data[0] != 0 else STRAY_NONE",
        "        return STRAY_NONE",
        "relay/test_strays.py::test_a_raw_client_on_a_uwsgi_socket_types_nothing_and_gets_a_line",
    ),
    Mutant(
        "frames are not typed on a raw socket",
        "fastpty/wire/strays.pxd",
        "    return STRAY_FRAMES if frames_begin(data, held) else STRAY_NONE\n",
        "    return STRAY_NONE\n",
        "relay/test_strays.py::test_a_uwsgi_client_on_a_raw_socket_types_nothing_and_gets_a_line",
    ),
    Mutant(
        "a person may type NUL on a raw socket",
        "fastpty/wire/strays.pxd",
        " and payload > 0 and held == FRAME_HEADER_BYTES + payload\n",
        "\n",
        "relay/test_strays.py::test_whatever_a_person_may_type_on_a_local_raw_socket_is_input",
    ),
    Mutant(
        "only the first read decides about the protocol",
        "fastpty/relay/step.pxd",
        "    if is_input and read_before == 0 and peer_reject_stray",
        "    if is_input and peer_reject_stray",
        "relay/test_strays.py::test_frames_later_than_in_the_first_read_are_input_of_a_raw_socket",
    ),
    Mutant(
        "a half-closed TCP client is probed",
        "fastpty/relay/deadlines.pxd",
        "            peer_probe(session)\n",
        "            pass\n",
        "relay/test_strays.py::test_a_tcp_client_that_closes_ends_a_session_whose_program_is_idle",
    ),
    Mutant(
        "a half-closed TCP client does not notice the probe",
        "fastpty/relay/peer.pxd",
        "MSG_OOB | MSG_DONTWAIT",
        "MSG_DONTWAIT",
        "relay/test_strays.py::test_a_half_closed_tcp_client_still_receives_all_output",
    ),
)
