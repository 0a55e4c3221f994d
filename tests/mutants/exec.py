"""exec: programs with three streams instead of a terminal."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RELAY = "relay/test_exec.py::"
SESSIONS = "sessions/test_exec_sessions.py::"
ERRANDS = "errands/test_exec_streams.py::"
CLIENT = "client/test_exec.py::"
INPUT = "client/test_exec_input.py::"

_STREAMS = (
    Mutant(
        "the streams of another user's program are no pipes",
        "fastpty/sessions/streams.py",
        "make = _socket if apart else _pipe",
        "make = _pipe",
        ERRANDS + "test_a_program_of_another_user_cannot_make_the_worker_wait",
    ),
    Mutant(
        "another process closes the descriptors that a program passes",
        "fastpty/relay/streams.pxd",
        "        channel.guard = &loop.errands\n",
        "        pass\n",
        ERRANDS + "test_the_worker_does_not_wait_for_the_close_of_a_descriptor_that_a_program_passes",
    ),
    Mutant(
        "a forced command has no streams",
        "fastpty/sessions/requests.py",
        "            return extension.CAN_TERMINAL\n",
        "            return extension.CAN_TERMINAL | extension.CAN_STREAMS\n",
        RELAY + "test_exec_is_refused_where_clients_choose_no_command",
    ),
    Mutant(
        "who is within a frame keeps it",
        "fastpty/relay/outbox.pxd",
        "        return outbox.frame_number == number\n",
        "        return True\n",
        RELAY + "test_a_client_that_reads_nothing_stops_the_program_only",
    ),
    Mutant(
        "the streams of a program in a foreign root are no pipes",
        "fastpty/sessions/starter.py",
        "apart=self._is_foreign or program.uid is not None",
        "apart=program.uid is not None",
        "jail/test_silent_root.py::test_a_program_without_a_terminal_that_waits_for_a_file_delays_no_other_session",
    ),
    Mutant(
        "a program of another user passes no descriptors",
        "fastpty/sessions/streams.py",
        "    refuse_descriptors(reader)\n",
        "",
        ERRANDS + "test_descriptors_that_a_program_passes_are_refused_or_closed",
    ),
    Mutant(
        "two streams take turns",
        "fastpty/relay/streams.pxd",
        "        outbox_reserve(task.channel.outbox, other.number)\n",
        "        pass\n",
        RELAY + "test_streams_that_are_both_full_share_the_connection",
    ),
    Mutant(
        "a stream is read while the other one's frames wait",
        "fastpty/relay/channel.pxd",
        "                and outbox_admits(channel.outbox, channel.number)))\n",
        "                ))\n",
        RELAY + "test_a_message_comes_while_the_output_waits_for_a_client_that_reads_slowly",
    ),
    Mutant(
        "a short read of a stream does not mean that it is empty",
        "fastpty/relay/streams.pxd",
        "    channel.short_read_means_dry = channel.short_splice_means_dry = False\n",
        "    channel.short_read_means_dry = channel.short_splice_means_dry = True\n",
        RELAY + "test_a_program_in_packet_mode_loses_nothing",
    ),
    Mutant(
        "a stopped stream completes its frame",
        "fastpty/relay/streams.pxd",
        "    if session.extension.outbox.frame_left == 0 or session.extension.outbox.frame_number !="
        " task.channel.number:\n",
        "    if True:\n",
        RELAY + "test_stop_within_a_frame_completes_it",
    ),
    Mutant(
        "a program that has closed its input gets no more",
        "fastpty/relay/streams.pxd",
        "        session.extension.outbox.ended |= 1 << STREAM_INPUT\n",
        "        pass\n",
        RELAY + "test_a_program_that_closes_its_input_gets_no_more",
    ),
    Mutant(
        "signals reach a group without a terminal",
        "fastpty/relay/terminal.pxd",
        "        return terminal.leader if terminal.pidfd >= 0 else 0   #",
        "        return 0   #",
        RELAY + "test_a_signal_reaches_the_whole_group",
    ),
)

_ENDINGS = (
    Mutant(
        "a final frame that waits is not tried for ever",
        "fastpty/relay/outbox.pxd",
        "not outbox.is_final and not outbox.holds_final))\n",
        "not outbox.is_final))\n",
        RELAY + "test_a_limit_ends_a_session_whose_streams_both_hold_output",
    ),
    Mutant(
        "a process with the number of a reaped leader is a stranger",
        "fastpty/relay/terminal.pxd",
        "    if terminal.pidfd < 0 and terminal.hung_up_group == terminal.leader:\n",
        "    if False:\n",
        SESSIONS + "test_a_stranger_that_gets_the_number_of_an_ended_leader_is_not_killed",
    ),
    Mutant(
        "a stream that is cut ends when it is empty",
        "fastpty/relay/streams.pxd",
        "    loop_source_ready(loop, task, True)\n",
        "    loop_source_ready(loop, task, False)\n",
        ERRANDS + "test_urgent_bytes_of_a_job_do_not_hold_the_session",
    ),
    Mutant(
        "a background job does not hold the session",
        "fastpty/relay/streams.pxd",
        "        loop_set_deadline(loop, &session.extension.drain_by_ns, drain_ns)\n",
        "        pass\n",
        RELAY + "test_a_background_job_does_not_hold_the_session",
    ),
    Mutant(
        "a background job that writes without end does not hold the session",
        "fastpty/relay/streams.pxd",
        "    task.channel.allowance = max(waiting, 0)\n",
        "    pass\n",
        RELAY + "test_a_job_that_never_stops_writing_does_not_hold_the_session",
    ),
    Mutant(
        "the status tells that a process still had the output open",
        "fastpty/relay/streams.pxd",
        "    session.extension.output_open = True\n",
        "    pass\n",
        RELAY + "test_a_background_job_does_not_hold_the_session",
    ),
    Mutant(
        "the leader is not reaped while its group may get signals",
        "fastpty/relay/terminal.pxd",
        "&info, WEXITED | WNOHANG | WNOWAIT | WAIT_ALL)",
        "&info, WEXITED | WNOHANG | WAIT_ALL)",
        SESSIONS + "test_the_whole_group_is_hung_up",
    ),
    Mutant(
        "what a program leaves behind goes on",
        "fastpty/relay/lifecycle.pxd",
        "    if not (session.terminal.has_exited and ending == ENDING_EXIT):",
        "    if True:",
        SESSIONS + "test_what_a_program_leaves_behind_goes_on",
    ),
    Mutant(
        "a program of exec starts in its session's cgroup",
        "fastpty/sessions/starter.py",
        "program.command, streams.program, cgroup=cgroup, report",
        "program.command, streams.program, cgroup=-1, report",
        SESSIONS + "test_a_session_cgroup_ends_what_a_program_leaves_behind",
    ),
    Mutant(
        "only END_INPUT ends the input of exec",
        "fastpty/relay/extension_input.pxd",
        "        if extension.is_cut_off and session.terminal.has_streams:\n",
        "        if False:\n",
        SESSIONS + "test_a_cut_input_is_not_taken_for_a_whole_one",
    ),
    Mutant(
        "a client that leaves ends the input only after the group",
        "fastpty/relay/lifecycle.pxd",
        "    session.finished = True\n    session.ending = ending\n",
        "    session.finished = True\n    session.ending = ending\n    terminal_close_input(&session.terminal)\n",
        SESSIONS + "test_a_program_that_ignores_the_hang_up_is_killed_before_its_input_ends",
    ),
    Mutant(
        "a killed worker hangs the program up",
        "fastpty/spawn/child.pxd",
        "    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0)\n",
        "    pass\n",
        SESSIONS + "test_a_killed_worker_hangs_the_program_up",
    ),
)

_CLIENT = (
    Mutant(
        "the client counts standard error",
        "fastpty/client/exec_session.py",
        "        self.error_bytes += len(payload)\n",
        "        self.error_bytes = -1\n",
        CLIENT + "test_output_and_errors_come_apart_with_the_exit_status",
    ),
    Mutant(
        "the client stops a program whose output nobody reads",
        "fastpty/client/exec_loop.py",
        "                self._link.queue_frames(self._session.stop(sink.stream))\n",
        "                pass\n",
        CLIENT + "test_nobody_reads_the_output",
    ),
    Mutant(
        "the client sees at once that nobody reads",
        "fastpty/client/exec_loop.py",
        "            elif sink.is_pipe and not sink.is_over and self._link.output_open:\n",
        "            elif False:\n",
        CLIENT + "test_the_first_write_that_nobody_reads_breaks_the_pipe",
    ),
    Mutant(
        "a second interrupt disconnects",
        "fastpty/client/exec_loop.py",
        "        if not self._link.output_open or now - self._interrupted_at < _AGAIN_SECONDS:\n",
        "        if False:\n",
        CLIENT + "test_a_second_interrupt_disconnects",
    ),
    Mutant(
        "standard error does not come before the program",
        "fastpty/client/exec_session.py",
        "        if not self.has_started or extension.ERROR_STREAM in self.ended:\n",
        "        if False:\n",
        CLIENT + "test_frames_of_a_session_do_not_come_before_it",
    ),
)

_FAST = (
    Mutant(
        "a frame does not cut a payload that is spliced",
        "fastpty/client/outgoing.py",
        "        if self._pipe is None:\n            self._first += data\n",
        "        if True:\n            self._first += data\n",
        INPUT + "test_a_frame_that_is_queued_within_a_payload_follows_it",
    ),
    Mutant(
        "input that cannot be spliced is copied",
        "fastpty/client/outgoing.py",
        "            self._first += self._pipe.take()\n",
        "            self._pipe.take()\n",
        INPUT + "test_input_arrives_whole_where_the_kernel_does_not_splice",
    ),
    Mutant(
        "no room for input is no end of input",
        "fastpty/client/exec_input.py",
        "        if room:  #",
        "        if True:  #",
        INPUT + "test_without_room_at_the_router_no_input_is_no_end_of_input",
    ),
    Mutant(
        "a packet that the router has no room for is not cut",
        "fastpty/client/exec_input.py",
        "        data = self._streams.read()\n",
        "        data = self._streams.read(self.room)\n",
        INPUT + "test_no_packet_is_cut_where_the_router_has_no_room_for_it",
    ),
    Mutant(
        "the end of a fifo that nobody writes is noticed",
        "fastpty/client/streams.py",
        "        self.stdin_events = stdin_fd if stat.S_ISFIFO(os.fstat(stdin_fd).st_mode) else self.stdin\n",
        "        self.stdin_events = self.stdin\n",
        INPUT + "test_the_end_of_a_fifo_is_noticed_although_its_writer_left_before_the_client_began",
    ),
    Mutant(
        "no more input is spliced than the router has room for",
        "fastpty/client/exec_input.py",
        "        return min(self._session.credit, PAYLOAD_BYTES)\n",
        "        return PAYLOAD_BYTES\n",
        INPUT + "test_input_of_every_kind_arrives_whole",
    ),
    Mutant(
        "output is not written before what waits",
        "fastpty/client/exec_loop.py",
        "        if not self.buffer and not self._blocks:\n",
        "        if not self._blocks:\n",
        CLIENT + "test_output_that_follows_output_that_waits_is_not_written_before_it",
    ),
    Mutant(
        "only input that follows none stays in its place",
        "fastpty/relay/extension_input.pxd",
        "        if buffer.start == buffer.end:\n",
        "        if True:\n",
        INPUT + "test_input_of_every_kind_arrives_whole",
    ),
)

_INTERFACE = (
    Mutant(
        "a program whose output nobody reads learns that",
        "fastpty/client/running.py",
        "            self._link.queue_frames(self._protocol.stop(fd))\n",
        "            pass\n",
        "client/test_python_run.py::test_a_program_whose_output_nobody_reads_gets_a_broken_pipe",
    ),
    Mutant(
        "output without end does not put off the timeout",
        "fastpty/client/running.py",
        "            if left == 0.0:\n                return False\n",
        "",
        "client/test_python_run.py::test_output_without_end_runs_into_the_timeout_too",
    ),
)

_SESSIONS = "sessions/test_copies.py::"
_COPY = "client/test_copy.py::"

_COPIES = (
    Mutant(
        "a copy is refused where clients choose no command",
        "fastpty/sessions/requests.py",
        "        if request.chooses and not self.may_choose:\n",
        "        if request.chooses and not self.may_choose and request.copy is None:\n",
        _COPY + "test_a_copy_is_refused_where_clients_choose_no_command",
    ),
    Mutant(
        "a copy runs as the client",
        "fastpty/sessions/requests.py",
        "            account=command.account,\n",
        "            account=command.account if request.copy is None else None,\n",
        _SESSIONS + "test_a_copy_runs_as_the_client_and_begins_in_its_home",
    ),
    Mutant(
        "a copy has only the capabilities that a program would have",
        "fastpty/sessions/copies.py",
        "    linux.capset(permitted & allowed, permitted & allowed, inheritable)\n",
        "",
        _SESSIONS + "test_a_copy_of_an_ordinary_user_has_only_the_capabilities_that_a_program_would_have",
    ),
    Mutant(
        "a copy of root has only the capabilities that a program would have",
        "fastpty/sessions/copies.py",
        "inheritable | _bounding() if is_root",
        "permitted if is_root",
        _SESSIONS + "test_a_copy_of_root_has_only_the_capabilities_that_a_program_would_have",
    ),
    Mutant(
        "a restricted shell gets no copy",
        "fastpty/sessions/requests.py",
        "            if program.uid is not None and not ORDINARY_SHELL.fullmatch(os.fsdecode(path)):\n",
        "            if False:\n",
        _SESSIONS + "test_a_restricted_shell_gets_no_copy",
    ),
    Mutant(
        "there are no copies where only programs get the label of a container",
        "fastpty/sessions/requests.py",
        "        if request.copy is not None and not self._may_copy:\n",
        "        if False:\n",
        _SESSIONS + "test_a_container_with_a_label_of_its_own_has_no_copies",
    ),
    Mutant(
        "garbage of the worker closes no file of a copy",
        "fastpty/sessions/copies.py",
        "    gc.freeze()",
        "    pass",
        _SESSIONS + "test_garbage_of_the_worker_closes_no_file_of_a_copy",
    ),
    Mutant(
        "a signal leaves no incomplete file",
        "fastpty/copying/signals.py",
        "        abandon()\n",
        "",
        _COPY + "test_a_copy_that_is_cut_leaves_no_part_of_a_file",
    ),
    Mutant(
        "no signal leaves an incomplete file",
        "fastpty/copying/signals.py",
        "signal.valid_signals() - {*_IGNORED, *_HARMLESS, *_NOT_CAUGHT}",
        "(signal.SIGHUP, signal.SIGINT, signal.SIGTERM)",
        _COPY + "test_a_signal_to_all_processes_of_the_command_leaves_no_part_of_a_file",
    ),
    Mutant(
        "a file that may not get so large does not end a copy",
        "fastpty/copying/signals.py",
        "(signal.SIGPIPE, signal.SIGXFSZ)",
        "(signal.SIGPIPE,)",
        _COPY + "test_a_file_that_may_not_get_so_large_is_an_error_and_leaves_nothing",
    ),
    Mutant(
        "a member of an archive does not lead out of the target",
        "fastpty/client/archive.py",
        '    if member.name.startswith("/") or b".." in names:\n',
        "    if False:\n",
        _COPY + "test_members_that_lead_out_of_the_target_are_left_out",
    ),
    Mutant(
        "a member of an archive that cannot be sent does not end the copy",
        "fastpty/client/archive.py",
        "        check(record)\n",
        "",
        _COPY + "test_a_member_that_cannot_be_sent_is_left_out",
    ),
    Mutant(
        "no member of an archive leads through a link",
        "fastpty/client/archive.py",
        "    if links.are_on(way):\n",
        "    if False:\n",
        _COPY + "test_no_member_of_an_archive_leads_through_a_link",
    ),
    Mutant(
        "no member of an archive is setuid",
        "fastpty/client/archive.py",
        "mode & _PERMISSIONS",
        "mode",
        _COPY + "test_a_member_of_an_archive_is_not_setuid",
    ),
    Mutant(
        "the checksum of an archive is compared",
        "fastpty/client/archive.py",
        "gzip.GzipFile(fileobj=given) if given.peek(len(_GZIP)).startswith(_GZIP) else given",
        "given",
        _COPY + "test_an_archive_whose_checksum_is_wrong_is_an_error",
    ),
    Mutant(
        "an archive gets nothing that was not asked for",
        "fastpty/client/archive.py",
        "                check_name(record.path, names)\n",
        "                pass\n",
        _COPY + "test_a_hostile_router_cannot_add_what_was_not_asked_for",
    ),
    Mutant(
        "messages of a copy have no control characters",
        "fastpty/client/copy_session.py",
        '"\\n".join(map(printable, lines))',
        '"\\n".join(lines)',
        _COPY + "test_a_hostile_router_writes_only_messages_and_no_control_character",
    ),
    Mutant(
        "output that no copy has is not shown",
        "fastpty/client/copy.py",
        "os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)",
        "1",
        _COPY + "test_a_hostile_router_writes_only_messages_and_no_control_character",
    ),
)

EXEC = (*_STREAMS, *_ENDINGS, *_CLIENT, *_FAST, *_INTERFACE, *_COPIES)
