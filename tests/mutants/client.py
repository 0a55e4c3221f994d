"""Protections of the client, each taken out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_REFUSES = (
    Mutant(
        "a directory as standard input is reported in one line",
        "bin/fastpty",
        "    exit 255\n",
        "    :\n",
        "client/test_client_refuses.py::test_a_directory_as_standard_input_is_reported_in_one_line",
    ),
    Mutant(
        "unusable standard descriptors are reported before a session begins",
        "fastpty/client/connect.py",
        "    check_streams()\n",
        "",
        "client/test_client_refuses.py::test_unusable_standard_descriptors_are_reported_before_a_session_begins",
    ),
    Mutant(
        "output to a closed standard output fails",
        "fastpty/cli.py",
        "open_standard_descriptors(os.O_RDONLY)",
        "open_standard_descriptors(os.O_RDWR)",
        "client/test_client_refuses.py::test_unusable_standard_descriptors_are_reported_before_a_session_begins",
    ),
    Mutant(
        "unreadable input is not taken for an end of input",
        "fastpty/client/streams.py",
        "            if error.errno not in self._stdin_ends:\n",
        "            if False:\n",
        "client/test_client_refuses.py::test_unreadable_input_is_not_taken_for_an_end_of_input",
    ),
    Mutant(
        "a file that cannot be written is reported",
        "fastpty/client/streams.py",
        "    return frozenset({errno.EIO}) if os.isatty(fd) else frozenset()\n",
        "    return frozenset({errno.EIO})\n",
        "client/test_client_refuses.py::test_a_file_that_cannot_be_written_is_reported",
    ),
    Mutant(
        "no message is written to standard output",
        "fastpty/system/standard_descriptors.py",
        "    if sys.stderr is None:\n",
        "    if False:\n",
        "client/test_client_refuses.py::test_no_message_is_written_to_standard_output",
    ),
    Mutant(
        "a stranger in the place of a router causes a warning",
        "fastpty/client/peer.py",
        "    if uid in trusted:\n",
        "    if True:\n",
        "client/test_client_refuses.py::test_a_stranger_in_the_place_of_a_router_causes_a_warning",
    ),
    Mutant(
        "a stranger with an abstract name causes a warning",
        "fastpty/client/peer.py",
        "    if isinstance(address, UnixAddress):\n        try:\n            shared",
        "    if not isinstance(address, UnixAddress):\n        return None\n"
        "    if True:\n        try:\n            shared",
        "client/test_client_refuses.py::test_a_stranger_with_the_abstract_name_of_a_router_causes_a_warning",
    ),
    Mutant(
        "a socket that only root can have made causes no warning",
        "fastpty/client/peer.py",
        "        if directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_kept:\n",
        "        if not is_kept:\n",
        "client/test_client_refuses.py::test_a_socket_that_the_owner_of_its_directory_allows_causes_no_warning",
    ),
    Mutant(
        "a private directory of a stranger's in a shared one is not trusted",
        "fastpty/client/peer.py",
        "    while names:\n        name = names.pop(0)\n",
        "    while names:\n        name = names.pop(0)\n        if names:\n"
        "            where = os.path.join(where, name)\n            continue\n",
        "client/test_client_refuses.py::test_a_stranger_who_has_made_the_way_to_the_socket_causes_a_warning",
    ),
    Mutant(
        "a link of a stranger's in a shared directory is not trusted",
        "fastpty/client/peer.py",
        "    names = os.path.join(os.getcwd(), path).split",
        "    names = os.path.realpath(path).split",
        "client/test_client_refuses.py::test_a_stranger_who_has_made_the_way_to_the_socket_causes_a_warning",
    ),
    Mutant(
        "what others can replace in a directory that is not sticky is not trusted",
        "fastpty/client/peer.py",
        "directory.st_mode & stat.S_ISVTX and following",
        "following",
        "client/test_client_refuses.py::"
        "test_a_directory_of_root_s_in_a_shared_one_is_trusted_but_not_if_others_can_replace_it",
    ),
)

_FAILING = "client/test_failing_calls.py::"
_LACK = _FAILING + "test_a_call_that_fails_for_lack_of_memory_is_tried_again"

_FAILING_CALLS = (
    Mutant(
        "input that could not be sent for lack of memory is sent later",
        "fastpty/client/link.py",
        "            if error.errno in SHORT_OF_MEMORY:\n                raise\n            self._lose_input(error)",
        "            self._lose_input(error)",
        _LACK,
    ),
    Mutant(
        "output that could not be received for lack of memory is received later",
        "fastpty/client/link.py",
        "            if error.errno in SHORT_OF_MEMORY:\n                raise\n            # A local",
        "            # A local",
        _LACK,
    ),
    Mutant(
        "input that could not be read for lack of memory is read later",
        "fastpty/client/streams.py",
        "            if error.errno in SHORT_OF_MEMORY:\n                raise\n            if error.errno not in",
        "            if error.errno not in",
        _LACK,
    ),
    Mutant(
        "output that could not be written for lack of memory is written later",
        "fastpty/client/output.py",
        "        if error.errno in SHORT_OF_MEMORY:\n            raise error\n",
        "",
        _LACK,
    ),
    Mutant(
        "nothing is sent after a gap in the input",
        "fastpty/client/link.py",
        "        self._unsent.clear()\n        self.takes_input = self._wants_shutdown = self._sends = False\n",
        "        del self._unsent[:CHUNK_BYTES]\n",
        _FAILING + "test_a_router_that_takes_no_more_gets_no_more",
    ),
    Mutant(
        "a reset that send() sees is a broken connection",
        "fastpty/client/link.py",
        "        if was_reset or error.errno not in _TAKES_NO_MORE:\n",
        "        if error.errno not in _TAKES_NO_MORE:\n",
        _FAILING + "test_a_connection_that_breaks_is_reported_whichever_call_sees_it",
    ),
)

_PLACES = "client/test_wrong_place.py::"

_WRONG_PLACES = (
    Mutant(
        "a stopped router is reported",
        "fastpty/client/attach.py",
        "        if is_not_accepted(self._link.sock):\n",
        "        if False:\n",
        _PLACES + "test_a_stopped_router_is_reported_within_the_timeout",
    ),
    Mutant(
        "a silent program is not taken for a stopped router",
        "fastpty/client/attach.py",
        "        if is_not_accepted(self._link.sock):\n",
        "        if True:\n",
        _PLACES + "test_a_program_that_says_nothing_is_not_taken_for_a_stopped_router",
    ),
    Mutant(
        "nobody can forge that a router has not accepted",
        "fastpty/client/waiting.py",
        "        return _peer_inode(os.fstat(sock.fileno()).st_ino) == 0 and not _has_news(sock)\n",
        "        names = [line.split()[7:] for line in open('/proc/net/unix') if line.split()[5:6] == ['02']]\n"
        "        return [sock.getpeername()] in names\n",
        _PLACES + "test_no_other_user_can_make_a_silent_session_look_like_a_stopped_router",
    ),
    Mutant(
        "a session goes on where the kernel does not tell whether it was accepted",
        "fastpty/client/waiting.py",
        "        return False\n\n\ndef _peer_inode",
        "        return True\n\n\ndef _peer_inode",
        _PLACES + "test_where_the_kernel_does_not_tell_a_session_goes_on",
    ),
    Mutant(
        "the client's timeout holds for the TLS handshake",
        "fastpty/client/tunnel.py",
        "        pump.shake_hands(deadline)\n",
        "        pump.shake_hands(None)\n",
        _PLACES + "test_a_tls_server_that_does_not_answer_is_reported_within_the_timeout",
    ),
    Mutant(
        "the client's timeout holds for all of the TLS handshake, not for each read",
        "fastpty/net/tls.py",
        '    if left <= 0:\n        raise TimeoutError("timed out")\n    return left',
        "    return max(0.5, left)",
        _PLACES + "test_a_tls_server_that_sends_a_byte_at_a_time_is_reported_within_the_timeout",
    ),
    Mutant(
        "a uwsgi client leaves a raw socket",
        "fastpty/client/legacy.py",
        "        if self._first_frame and _echo(",
        "        if not self._first_frame and _echo(",
        _PLACES + "test_a_uwsgi_client_on_a_raw_socket_of_uwsgi_s_says_so_and_leaves",
    ),
    Mutant(
        "a uwsgi client without a window leaves a raw socket",
        "fastpty/client/legacy.py",
        "        self._first_frame = self._first_frame or frames[:_HEADER_BYTES]\n",
        "",
        _PLACES + "test_a_uwsgi_client_without_a_window_leaves_a_raw_socket_too",
    ),
    Mutant(
        "a client of an older protocol does not take a WELCOME for output",
        "fastpty/client/legacy.py",
        "            raise self._needs_fpty()\n        if self._first_frame",
        "            pass\n        if self._first_frame",
        _PLACES + "test_a_client_told_to_speak_an_older_protocol_names_an_fpty_address",
    ),
    Mutant(
        "a client of fastpty's own protocol shows why a router refuses it",
        "fastpty/client/connect.py",
        "greeting.received.startswith(NOTICE)",
        "False",
        _PLACES + "test_a_client_told_to_speak_fpty_shows_the_line_of_a_router_that_refuses_it",
    ),
    Mutant(
        "a closed connection is not taken for an older router",
        "fastpty/client/connect.py",
        "is_expected and not greeting.received:",
        "False:",
        _PLACES + "test_a_connection_that_is_closed_without_an_answer_is_not_taken_for_an_older_router",
    ),
    Mutant(
        "a question whether a descriptor is ready is asked again",
        "fastpty/client/ready.py",
        "            if error.errno not in SHORT_OF_MEMORY:\n                raise\n",
        "            raise\n",
        "client/test_failing_calls.py::test_a_question_whether_a_descriptor_is_ready_is_asked_again",
    ),
    Mutant(
        "a session ends if its input cannot be sent",
        "fastpty/client/link.py",
        "                self.sock.shutdown(_socket.SHUT_RD)\n",
        "                pass\n",
        "client/test_failing_calls.py::test_a_session_whose_input_cannot_be_sent_ends",
    ),
    Mutant(
        "nothing is loaded at the end of a session",
        "fastpty/client/connect.py",
        "        return self._exit_status(status)",
        "        return __import__('fastpty.client.help') and self._exit_status(status)",
        "client/test_sessions_with_router.py::test_a_session_ends_well_though_the_client_was_uninstalled",
    ),
    Mutant(
        "each screen has a stack of kitty's flags",
        "fastpty/client/modes.py",
        "            self._pushed[self._is_alternate] += 1\n",
        "            self._pushed[False] += 1\n",
        "client/test_endings.py::test_only_modes_that_are_on_are_turned_off",
    ),
    Mutant(
        "a TLS alert is not shown as output",
        "fastpty/client/legacy.py",
        "            if self._beginning.startswith(answer) and not self._is_local:\n",
        "            if False:\n",
        _PLACES + "test_a_server_of_another_protocol_is_named_as_what_it_is",
    ),
    Mutant(
        "what a local program prints first is not taken for another server",
        "fastpty/client/legacy.py",
        "startswith(answer) and not self._is_local:\n",
        "startswith(answer):\n",
        _PLACES + "test_bytes_like_a_tls_alert_from_a_local_program_are_output",
    ),
)

_ENDINGS = "client/test_endings.py::"
_LAST_LINE = _ENDINGS + "test_a_last_line_of_a_program_that_looks_like_a_notice_is_output"

_ENDS = (
    Mutant(
        "a session that the router ends is no success",
        "fastpty/client/legacy.py",
        "        if notice is not None:\n            raise EndedByRouterError(notice)\n",
        "",
        _ENDINGS + "test_the_client_exits_with_an_error_when_the_router_ends_the_session",
    ),
    Mutant(
        "over a local socket a program's last line is not taken for the router's",
        "fastpty/client/link.py",
        "self.is_marked or bool(flags & _socket.MSG_CTRUNC)",
        "True",
        _LAST_LINE,
    ),
    Mutant(
        "over TCP a program's last line is not taken for the router's",
        "fastpty/client/link.py",
        "self.is_marked or has_urgent_mark(self.sock)",
        "True",
        _LAST_LINE,
    ),
    Mutant(
        "over TLS a program's last line is not taken for the router's",
        "fastpty/client/tunnel.py",
        "    return has_urgent_mark(network)\n",
        "    return True\n",
        _LAST_LINE,
    ),
    Mutant(
        "the router marks its notices on a local socket",
        "fastpty/relay/notice.pxd",
        "notice_send_marked(mark_fd, fd, text, size) < 0",
        "True",
        _ENDINGS + "test_the_client_exits_with_an_error_when_the_router_ends_the_session",
    ),
    Mutant(
        "the router marks its notices on TCP",
        "fastpty/relay/notice.pxd",
        '        send(fd, b"!", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL)\n',
        "",
        _ENDINGS + "test_a_session_s_time_that_is_over_is_told_to_every_client[TCP]",
    ),
    Mutant(
        "the TLS process passes the mark of a notice on",
        "fastpty/net/tls.py",
        "            self._is_marked = False\n            tcp.mark_notice(self._network)\n",
        "            self._is_marked = False\n",
        _ENDINGS + "test_a_session_s_time_that_is_over_is_told_to_every_client[TLS]",
    ),
    Mutant(
        "a router that is stopped tells its clients",
        "fastpty/relay/notice.pxd",
        "        ending = ENDING_STOPPED   # the",
        "        pass   # the",
        _ENDINGS + "test_a_router_that_is_stopped_tells_its_clients",
    ),
    Mutant(
        "a router that is stopped tells the viewers of a shared terminal",
        "fastpty/relay/notice.pxd",
        "(session.hung_up or session.role == ROLE_VIEWER)",
        "session.hung_up",
        _ENDINGS + "test_a_router_that_is_stopped_tells_the_viewers_of_a_shared_terminal",
    ),
    Mutant(
        "a line that looks like a notice is held back for a moment only",
        "fastpty/client/output.py",
        "        if left <= 0:\n            self._held_bytes = 0\n",
        "",
        _ENDINGS + "test_a_line_that_looks_like_a_notice_shows_while_the_session_goes_on",
    ),
    Mutant(
        "an abrupt end turns off the program's terminal modes",
        "fastpty/client/output.py",
        "        text = self._modes.undo()\n",
        '        text = b""\n',
        _ENDINGS + "test_an_abrupt_end_turns_off_the_terminal_modes_that_the_program_turned_on",
    ),
    Mutant(
        "no escape sequence is added to output that is not a terminal",
        "fastpty/client/output.py",
        "        self._is_terminal = os.isatty(streams.stdout)\n",
        "        self._is_terminal = True\n",
        _ENDINGS + "test_no_escape_sequence_is_added_where_the_output_is_no_terminal",
    ),
    Mutant(
        "a message begins on a line of its own",
        "fastpty/client/output.py",
        '            text += b"\\r\\n"\n',
        '            text += b""\n',
        _ENDINGS + "test_disconnected_begins_on_a_line_of_its_own",
    ),
    Mutant(
        "an end-of-file key that was typed ahead is sent",
        "fastpty/client/terminal.py",
        "            keys += cc[termios.VEOF]\n",
        "            pass\n",
        "client/test_terminal.py::test_keys_that_were_typed_ahead_are_sent_as_typed",
    ),
    Mutant(
        "a client that outlives its shell leaves the terminal as it is",
        "fastpty/client/terminal.py",
        "not self._is_raw and not self._is_orphaned() and",
        "not self._is_raw and",
        "client/test_terminal.py::test_a_client_that_outlives_its_shell_does_not_change_the_terminal",
    ),
    Mutant(
        "an Enter key that was typed ahead is sent as such",
        "fastpty/client/terminal.py",
        'line.replace(b"\\n", b"\\r") if iflag & termios.ICRNL else line',
        "line",
        "client/test_terminal.py::test_keys_that_were_typed_ahead_are_sent_as_typed",
    ),
    Mutant(
        "the window size is sent before anything slow",
        "fastpty/client/connect.py",
        "        link.announce(self._size)\n        _send_at_once(link)\n",
        "",
        "client/test_client.py::test_the_window_size_is_the_first_thing_that_is_sent_after_connecting",
    ),
)

_OUTPUTS = (
    Mutant(
        "output that nobody reads ends a command quietly",
        "fastpty/system/standard_descriptors.py",
        "            _signal.raise_signal(_signal.SIGPIPE)\n",
        "            pass\n",
        "client/test_broken_output.py::test_output_to_a_pipe_without_a_reader_ends_a_command_quietly",
    ),
    Mutant(
        "a letter that the locale lacks is no traceback",
        "fastpty/system/standard_descriptors.py",
        'text.encode(encoding, "backslashreplace").decode(encoding)',
        "text",
        "client/test_broken_output.py::test_no_locale_causes_a_traceback",
    ),
    Mutant(
        "the client loads no slow module",
        "fastpty/client/connect.py",
        "import os\nimport time\n",
        "import os\nimport socket\nimport time\n",
        "client/test_start.py::test_the_client_loads_no_more_than_it_needs",
    ),
)

CLIENT = (*_REFUSES, *_FAILING_CALLS, *_WRONG_PLACES, *_ENDS, *_OUTPUTS)
