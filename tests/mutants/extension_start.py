"""The negotiated extension from START to STARTED: memory, exact answers, and words for an account's shell."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

EARLY = "relay/test_extension_early.py::"
GREETING = "relay/test_extension_greeting.py::"
REQUESTS = "relay/test_extension_requests.py::"
SHELLS = "sessions/test_account_shells.py::"
TLS = "gateways/test_tls_extension.py::"
TURNS = "relay/test_extension_turns.py::"

_MEMORY = (
    Mutant(
        "the STARTs of all clients are bounded",
        "fastpty/relay/request.pxd",
        "        more == 0 or loop.request_bytes + more <= REQUESTS_MOST)\n",
        "        True)\n",
        REQUESTS + "test_the_starts_of_a_user_do_not_take_the_room_of_others",
    ),
    Mutant(
        "the STARTs of one user are bounded",
        "fastpty/relay/request.pxd",
        "share.bytes + more <= REQUESTS_OF_OWNER_MOST",
        "True",
        REQUESTS + "test_the_starts_of_a_user_are_bounded_and_short_ones_always_begin",
    ),
    Mutant(
        "the pieces of a START cost no search for its owner",
        "fastpty/relay/request.pxd",
        "    if more == 0:\n        return True   # before",
        "    if False:\n        return True   # before",
        TURNS + "test_a_start_in_many_pieces_costs_no_more_than_other_frames",
    ),
    Mutant(
        "a short START is not counted",
        "fastpty/relay/request.pxd",
        "    return room - REQUEST_FREE if room > REQUEST_FREE else 0\n",
        "    return room\n",
        REQUESTS + "test_the_starts_of_a_user_are_bounded_and_short_ones_always_begin",
    ),
    Mutant(
        "an unfinished START makes room for one that comes at once",
        "fastpty/relay/greeting.pxd",
        "        ending = request_oldest(loop, session.extension, room)\n",
        "        ending = NULL\n",
        REQUESTS + "test_a_start_that_comes_at_once_begins_although_unfinished_ones_take_all_memory",
    ),
    Mutant(
        "an owner of little memory for START keeps it",
        "fastpty/relay/request.pxd",
        "(found == NULL or task.session.extension.share.bytes > found.extension.share.bytes)",
        "found == NULL",
        REQUESTS + "test_a_user_of_little_memory_keeps_it",
    ),
    Mutant(
        "TCP clients of several addresses are several owners of memory",
        "fastpty/sessions/handler.py",
        "origin_number(client.origin) if user is None else user",
        "0 if user is None else user",
        REQUESTS + "test_clients_of_several_addresses_are_several_owners",
    ),
    Mutant(
        "TLS clients of several names are several owners of memory",
        "fastpty/access/peer.py",
        "origin=name[0] if name else _network(host))",
        "origin=_network(host))",
        TLS + "test_clients_with_several_names_are_several_owners_of_memory",
    ),
    Mutant(
        "a user cannot be many owners by its IPv6 addresses",
        "fastpty/access/peer.py",
        "[:8].hex()",
        ".hex()",
        REQUESTS + "test_the_addresses_of_an_ipv6_network_are_one_owner",
    ),
)

_ANSWERS = (
    Mutant(
        "input that ends before the program runs has ended",
        "fastpty/relay/greeting.pxd",
        "    session_pass_end(loop, session)   #",
        "    #",
        EARLY + "test_input_that_ends_before_the_program_runs_has_ended",
    ),
    Mutant(
        "frames before a half-close are all obeyed",
        "fastpty/relay/extension_input.pxd",
        "    if channel.state == CHANNEL_DRAINING and not channel_has_frames(channel):\n",
        "    if channel.state == CHANNEL_DRAINING:\n",
        EARLY + "test_frames_before_a_half_close_are_all_obeyed",
    ),
    Mutant(
        "a child that was killed has not started the program",
        "fastpty/relay/greeting.pxd",
        "    if terminal_has_executed(&session.terminal) or (got == sizeof(report) and report.step == STEP_WORK):\n",
        "    if got == 0:\n",
        EARLY + "test_a_child_that_is_killed_before_it_executes_its_program_has_not_started",
    ),
    Mutant(
        "a stop before a program is executed is told as such",
        "fastpty/relay/greeting.pxd",
        "    if terminal_has_executed(&session.terminal) or (got == sizeof(report) and report.step == STEP_WORK):\n",
        "    if got == 0 or loop.stopping:\n",
        EARLY + "test_a_stop_before_a_program_is_executed_is_told_as_such",
    ),
    Mutant(
        "a child begins without an exit signal",
        "fastpty/_spawn.pyx",
        "    cdef int flags = CLONE_PIDFD\n",
        "    cdef int flags = CLONE_PIDFD | 17\n",
        EARLY + "test_a_dead_child_shows_whether_it_has_executed_its_program",
    ),
    Mutant(
        "a forked child begins without an exit signal",
        "fastpty/_spawn.pyx",
        "syscall(SYS_clone, 0, 0, 0, 0, 0)",
        "syscall(SYS_clone, 17, 0, 0, 0, 0)",
        EARLY + "test_a_dead_child_shows_whether_it_has_executed_its_program",
    ),
    Mutant(
        "a signal that overtakes the report of a start reaches the program",
        "fastpty/relay/extension_input.pxd",
        "        start_report_arrives(loop, session, False)   #",
        "        pass   #",
        EARLY + "test_a_signal_that_overtakes_the_report_of_a_start_reaches_the_program",
    ),
    Mutant(
        "the run time begins with the program",
        "fastpty/relay/final.pxd",
        "session.ended_ns - session.extension.run_ns",
        "session.ended_ns - session.started_ns",
        EARLY + "test_the_run_time_begins_with_the_program",
    ),
    Mutant(
        "a name that is none gives no part of a nonce",
        "fastpty/wire/extension.pxd",
        "        decoded[index] = ",
        "        decoded[index] = nonce[index] = ",
        GREETING + "test_a_name_that_is_none_gives_no_nonce",
    ),
)

_WORDS = (
    Mutant(
        "the account's shell gets words as they are",
        "fastpty/sessions/requests.py",
        'b"!": b"\\0e"} if is_for_git else',
        'b"!": b"\\0e"} if True else',
        SHELLS + "test_the_shell_gets_a_clients_words_as_they_are",
    ),
    Mutant(
        "the first word is the name of a program",
        "fastpty/sessions/requests.py",
        're.compile(rb"git-[a-z-]+")',
        're.compile(rb"[A-Za-z0-9_@%+=:,./-]+")',
        SHELLS + "test_the_shell_takes_the_first_word_for_the_name_of_a_program",
    ),
    Mutant(
        "no word is a keyword of the shell",
        "fastpty/sessions/requests.py",
        're.compile(rb"git-[a-z-]+")',
        're.compile(rb"[a-z-]+")',
        SHELLS + "test_the_shell_takes_no_word_for_a_keyword",
    ),
    Mutant(
        "git-shell knows its commands",
        "fastpty/sessions/requests.py",
        "    if _GIT_COMMAND.fullmatch(argv[0]):\n",
        "    if False:\n",
        SHELLS + "test_git_shell_serves_a_repository_of_any_name",
    ),
    Mutant(
        "an offered value has no line end",
        "fastpty/sessions/requests.py",
        're.compile(rb"[^/%\\x00-\\x1f\\x7f]{0,64}")',
        're.compile(rb"[^/%\\0]{0,64}")',
        "relay/test_extension_start.py::test_a_variable_that_could_do_harm_is_not_taken",
    ),
)

EXTENSION_START = (
    *_MEMORY,
    *_ANSWERS,
    *_WORDS,
    Mutant(
        "the start of a session is logged at once",
        "fastpty/_relay.pyx",
        "        loop_defer_reports(&self.loop)   # the session's first log line is such a report\n",
        "",
        "relay/test_extension_start.py::test_the_start_of_a_session_is_logged_though_nothing_else_happens",
    ),
)
