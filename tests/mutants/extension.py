"""The negotiated extension: a START is bounded, a client gets what it may choose, and the status follows every byte."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GREETING = "relay/test_extension_greeting.py::"
START = "relay/test_extension_start.py::"
ENDINGS = "relay/test_extension_endings.py::"

EXTENSION = (
    Mutant(
        "only a name that asks for the extension is one",
        "fastpty/wire/extension.pxd",
        "        if high < 0 or low < 0:\n            return False\n",
        "",
        GREETING + "test_a_client_with_another_name_gets_what_it_always_got",
    ),
    Mutant(
        "a shared terminal does not negotiate",
        "fastpty/listening/places.py",
        'return "never" if self.is_shared or self.is_behind_tls else "by name"',
        'return "by name"',
        GREETING + "test_a_shared_terminal_serves_a_client_with_a_name_as_any_other",
    ),
    Mutant(
        "a client without a START does not keep its seat",
        "fastpty/relay/deadlines.pxd",
        "        session_start_is_late(loop, session)\n",
        "        pass\n",
        GREETING + "test_without_a_start_in_time_the_session_ends",
    ),
    Mutant(
        "a START is bounded",
        "fastpty/relay/greeting.pxd",
        "    if extension.request_bytes + frame.size > REQUEST_MOST:\n",
        "    if False:\n",
        GREETING + "test_a_start_that_is_too_long_ends_the_session",
    ),
    Mutant(
        "the STARTs of all clients are bounded",
        "fastpty/relay/greeting.pxd",
        "        if loop.request_bytes + room - extension.request_room <= REQUESTS_MOST:\n",
        "        if True:\n",
        GREETING + "test_the_starts_of_all_clients_together_are_bounded",
    ),
    Mutant(
        "before START only a few frames are legal",
        "fastpty/relay/extension_input.pxd",
        "    elif extension_is_early(session, frame):\n",
        "    elif False:\n",
        GREETING + "test_what_may_not_come_before_start_ends_the_session",
    ),
    Mutant(
        "little input is kept before START",
        "fastpty/relay/extension_input.pxd",
        "    elif extension.phase == PHASE_GREETING and extension.received + frame.size > GREETING_STDIN_MOST:\n",
        "    elif False:\n",
        GREETING + "test_what_may_not_come_before_start_ends_the_session",
    ),
    Mutant(
        "a frame that must be understood is not ignored",
        "fastpty/relay/extension_input.pxd",
        "number % 2 == 1 and number != NUMBER_START and number != NUMBER_END_INPUT:\n",
        "False:\n",
        GREETING + "test_a_violation_of_the_protocol_ends_the_session",
    ),
    Mutant(
        "a client that is refused and may not stay is told by frames",
        "fastpty/relay/refuse.pxd",
        "    if nonce == NULL:\n",
        "    if True:\n",
        GREETING + "test_many_refused_clients_are_all_told_why",
    ),
    Mutant(
        "a stop ends greetings",
        "fastpty/_relay.pyx",
        "        greetings_stop(&self.loop)\n",
        "",
        GREETING + "test_a_stop_ends_greetings_at_once",
    ),
    Mutant(
        "a forced command stays",
        "fastpty/sessions/requests.py",
        "        if request.chooses and not self.may_choose:\n",
        "        if False:\n",
        START + "test_a_forced_command_is_not_replaced",
    ),
    Mutant(
        "variables are chosen only where a command may be chosen",
        "fastpty/sessions/requests.py",
        "            if not (self.may_choose or self._is_accepted(entry)):\n",
        "            if False:\n",
        START + "test_a_forced_command_is_not_replaced",
    ),
    Mutant(
        "values that clients offer are plain",
        "fastpty/sessions/requests.py",
        " and _ACCEPTED_VALUE.fullmatch(value) is not None",
        "",
        START + "test_a_variable_that_could_do_harm_is_not_taken",
    ),
    Mutant(
        "a TERM is plain",
        "fastpty/sessions/requests.py",
        "value if _TERM.fullmatch(value) else None",
        "value",
        START + "test_a_term_that_could_do_harm_is_not_taken",
    ),
    Mutant(
        "the operator's variables stand above those of clients",
        "fastpty/sessions/requests.py",
        "is_named and name not in self._own_names",
        "is_named",
        START + "test_env_of_the_configuration_stands_above_what_clients_offer",
    ),
    Mutant(
        "the worker does not wait for a command that a client chose",
        "fastpty/sessions/handler.py",
        "        if not (wanted.chooses or program.uid is not None or self._config.changes_root):\n",
        "        if True:\n",
        START + "test_a_start_that_hangs_ends_and_holds_nobody_up",
    ),
    Mutant(
        "the router counts only executed programs as started",
        "fastpty/relay/greeting.pxd",
        "    if got == 0 and extension.is_about_to_execute:\n",
        "    if got >= 0:\n",
        START + "test_what_cannot_be_executed_is_an_error_and_never_started",
    ),
    Mutant(
        "a directory that a client chose is not replaced by another",
        "fastpty/sessions/requests.py",
        "needs_directory=request.directory is not None",
        "needs_directory=False",
        START + "test_under_run_as_peer_a_directory_that_is_missing_is_an_error",
    ),
    Mutant(
        "the status waits for the leader",
        "fastpty/relay/final.pxd",
        "    elif session.terminal.pidfd < 0 or at_last:\n",
        "    elif True:\n",
        ENDINGS + "test_a_leader_that_lives_on_without_its_terminal_is_hung_up_and_its_status_told",
    ),
    Mutant(
        "a half-close does not shorten the session",
        "fastpty/relay/lifecycle.pxd",
        "    if got == 0 and final_is_owed(session):\n",
        "    if False:\n",
        ENDINGS + "test_a_half_close_while_the_status_is_awaited_loses_nothing",
    ),
    Mutant(
        "the final frame finds room in the socket of a client that does not read",
        "fastpty/relay/lifecycle.pxd",
        "        setsockopt(session.peer.fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes))\n",
        "",
        ENDINGS + "test_a_client_that_does_not_read_at_the_end_still_finds_the_status",
    ),
    Mutant(
        "no text of the router is in the output",
        "fastpty/relay/lifecycle.pxd",
        "    if session.extension == NULL:   # else the final frame says why\n",
        "    if True:\n",
        ENDINGS + "test_a_limit_ends_the_session_with_an_error",
    ),
    Mutant(
        "input beyond the window is a violation",
        "fastpty/relay/extension_input.pxd",
        "    elif frame.size > extension.window_left:\n",
        "    elif False:\n",
        ENDINGS + "test_input_beyond_the_window_violates_the_protocol",
    ),
    Mutant(
        "credit comes when the program has taken input",
        "fastpty/relay/extension_input.pxd",
        "        extension.outbox.credit += <uint32_t>taken\n",
        "",
        ENDINGS + "test_input_and_output_go_on_at_the_same_time",
    ),
    Mutant(
        "the client is read although the program does not read",
        "fastpty/relay/greeting.pxd",
        "    session.input.channel.reads_ahead = True\n",
        "",
        ENDINGS + "test_a_size_and_a_signal_overtake_input_that_nobody_reads",
    ),
    Mutant(
        "a window that has arrived is set before the program runs",
        "fastpty/sessions/handler.py",
        "        if place.protocol == UWSGI:\n",
        "        if False:\n",
        "sessions/test_first_window.py::test_a_size_that_has_arrived_is_there_before_the_program_runs",
    ),
)
