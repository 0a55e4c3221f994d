"""What an operator can rely on: stops, reloads, session numbers and the log."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CONTROL = "service/test_control.py::"
_STOPS = "supervision/test_stop_signals.py::"
_MODULES = "supervision/test_loaded_modules.py::"
_FORMATS = "service/test_log_format.py::"

OPERATION = (
    Mutant(
        "the check shows the warning that explains an error",
        "fastpty/configuration/command_line.py",
        "        for warning in warnings:\n"
        '            write_error(f"{PROGRAM}: warning: {printable(warning)}", WARNING)\n        write_error(',
        "        write_error(",
        "configuration/test_check.py::test_check_shows_the_warnings_before_an_error",
    ),
    Mutant(
        "a router loads only the modules that it needs",
        "fastpty/supervision/supervisor.py",
        "import selectors\n",
        "import selectors\nimport tempfile\n",
        _MODULES + "test_a_plain_router_loads_no_module_that_it_does_not_need",
    ),
    Mutant(
        "a supervisor keeps no module that only reads configurations",
        "fastpty/jail/reexecute.py",
        "child.outsource(_READING, partial(_read, argv))",
        "_read(argv)",
        _MODULES + "test_a_supervisor_keeps_no_module_that_only_reads_configurations",
    ),
    Mutant(
        "a supervisor loads what has to do with cgroups only if sessions have some",
        "fastpty/sessions/starter.py",
        "TYPE_CHECKING = False\n",
        "TYPE_CHECKING = True\n",
        _MODULES + "test_a_supervisor_keeps_no_module_that_only_reads_configurations",
    ),
    Mutant(
        "what is loaded at its first use is loaded before the files are out of reach",
        "fastpty/jail/imports.py",
        '    "fastpty.sessions.cgroups",\n',
        "",
        "jail/test_late_imports.py::test_what_is_loaded_at_its_first_use_is_loaded_before_the_files_are_out_of_reach",
    ),
    Mutant(
        "a router that gives up root first loads the modules that a reload needs",
        "fastpty/jail/imports.py",
        "    return config.hides_files or (gives_up_root",
        "    return config.hides_files and (gives_up_root",
        _MODULES + "test_a_router_that_gives_up_root_reloads_although_only_root_may_read_its_modules",
    ),
    Mutant(
        "a signal to the worker and one to the supervisor are one stop",
        "fastpty/supervision/worker.py",
        "is_second = number == KILL_SIGNAL or (number in STOPPING and self._was_signalled)",
        "is_second = self._is_stopping",
        _STOPS + "test_a_signal_to_all_processes_is_one_stop",
    ),
    Mutant(
        "signals of two processes at the same time are one stop",
        "fastpty/supervision/supervisor.py",
        "        if self._is_part_of_the_same_stop(received):\n",
        "        if False:\n",
        _STOPS + "test_signals_of_two_processes_at_the_same_time_are_one_stop",
    ),
    Mutant(
        "a second signal to a worker kills its sessions",
        "fastpty/supervision/worker.py",
        "        self._was_signalled = self._was_signalled or number in STOPPING\n",
        "",
        _STOPS + "test_a_second_signal_to_a_worker_kills_its_sessions",
    ),
    Mutant(
        "--stop waits for the router's end",
        "fastpty/service/pidfile.py",
        "            readable(router.pidfd)\n",
        "            pass\n",
        _CONTROL + "test_stop_returns_when_the_router_is_gone",
    ),
    Mutant(
        "--reload waits until no connection gets the old configuration",
        "fastpty/service/pidfile.py",
        "        if wait:\n            try:\n",
        "        if False:\n            try:\n",
        _CONTROL + "test_reload_returns_when_new_sessions_get_the_new_configuration",
    ),
    Mutant(
        "--reload fails if the router refuses the configuration",
        "fastpty/supervision/reload.py",
        "            answer(error)\n        self._begin_next()\n",
        "            answer(None)\n        self._begin_next()\n",
        _CONTROL + "test_reload_says_why_the_router_refuses_and_exits_with_1",
    ),
    Mutant(
        "a reload during another one reports its own outcome",
        "fastpty/supervision/reload.py",
        "            self._next_answers.append(answer)\n",
        "            self._answers.append(answer)\n",
        _CONTROL + "test_a_reload_during_another_one_gets_the_outcome_of_its_own",
    ),
    Mutant(
        "another user cannot reload a router",
        "fastpty/service/control.py",
        "    return uid in {0, os.geteuid()} and not is_unmapped(uid)\n",
        "    return True\n",
        _CONTROL + "test_another_user_cannot_reload_a_router",
    ),
    Mutant(
        "no request is sent to a program that has taken the control socket's name",
        "fastpty/service/control.py",
        "        if (peer.pid, peer.uid) != (router, os.fstat(pidfile).st_uid):\n",
        "        if False:\n",
        _CONTROL + "test_a_program_that_takes_the_name_of_a_control_socket_gets_no_request",
    ),
    Mutant(
        "a signal that the router ignores is an error",
        "fastpty/service/pidfile.py",
        "        if found and int(found[1], 16) >> (number - 1) & 1:\n",
        "        if False:\n",
        _CONTROL + "test_a_signal_that_the_router_ignores_is_an_error",
    ),
    Mutant(
        "no session number is used twice",
        "fastpty/supervision/worker.py",
        "    relay.number_sessions(common.session_numbers)\n",
        "",
        "supervision/test_stats.py::test_no_session_number_is_used_twice_over_all_workers_and_reloads",
    ),
    Mutant(
        "the TLS process shares no memory with the workers",
        "fastpty/router.py",
        "        close_in_gateway=common.session_numbers.close,\n",
        "",
        "gateways/test_tls_process.py::test_the_tls_process_holds_its_sockets_and_the_log_and_nothing_else",
    ),
    Mutant(
        "root's pid file is removed after a change of user",
        "fastpty/router.py",
        "        if config.vacuum and cannot_remove_files(config):\n",
        "        if False:\n",
        "service/test_background.py::test_vacuum_removes_root_s_pid_file_after_a_change_of_user",
    ),
    Mutant(
        "a pid file is removed by a process outside the jail, where its path still leads to the file",
        "fastpty/router.py",
        "        if config.vacuum and cannot_remove_files(config):\n",
        "        if False:\n",
        "jail/test_foreign_root.py::"
        "test_vacuum_removes_a_pid_file_of_the_host_and_not_what_its_path_means_in_the_jail",
    ),
    Mutant(
        "a late answer about one socket file is not taken for the next one's",
        "fastpty/listening/removal.py",
        "            if not answer or answered == number:\n",
        "            if True:\n",
        "listening/test_socket_files.py::test_a_late_answer_about_one_file_is_not_taken_for_the_next_one_s",
    ),
    Mutant(
        "a long line of JSON stays JSON",
        "fastpty/log.py",
        "        while len(line) > _LINE_BYTES_MOST - 2:",
        "        while False:",
        _FORMATS + "test_a_line_of_json_that_is_too_long_is_shortened_and_stays_json",
    ),
    Mutant(
        "only standard error that is the journal gets the journal's form",
        "fastpty/system/standard_descriptors.py",
        '    return f"{status.st_dev}:{status.st_ino}" == _JOURNAL\n',
        "    return _JOURNAL is not None\n",
        _FORMATS + "test_a_journal_that_is_not_standard_error_changes_nothing",
    ),
    Mutant(
        "the reason why a start fails has the priority of an error",
        "fastpty/system/standard_descriptors.py",
        'f"<{priority}>" if priority is not None and is_journal(2) else ""',
        '""',
        _FORMATS + "test_why_a_start_fails_has_a_priority_in_the_journal",
    ),
    Mutant(
        "no request is sent to a process of another user than the pid file's owner",
        "fastpty/service/control.py",
        "        if (peer.pid, peer.uid) != (router, os.fstat(pidfile).st_uid):\n",
        "        if peer.pid != router:\n",
        _CONTROL + "test_a_process_of_another_user_than_the_pid_file_s_gets_no_request",
    ),
    Mutant(
        "a control socket without a name is closed",
        "fastpty/service/control.py",
        "            made.close()\n",
        "            self.socket = made\n",
        _CONTROL + "test_a_router_whose_control_socket_has_no_name_has_none",
    ),
    Mutant(
        "the control socket takes no descriptors",
        "fastpty/service/control.py",
        "            refuse_descriptors(made)\n",
        "",
        "errands/test_errands.py::test_no_socket_of_the_router_takes_descriptors",
    ),
    Mutant(
        "user names are not looked up in files of a foreign root",
        "fastpty/access/user_names.py",
        "        if foreign_root.is_entered():\n",
        "        if False:\n",
        "access/test_user_names.py::test_in_a_foreign_root_no_file_is_read_for_names",
    ),
    Mutant(
        "only the newest window size of a terminal is queued",
        "fastpty/errands/keeper.py",
        "        return self.kind != _CLOSE and (self.kind, self.session) == (other.kind, other.session)\n",
        "        return False\n",
        "errands/test_errands.py::test_window_sizes_that_cannot_be_set_do_not_fill_the_keeper",
    ),
    Mutant(
        "the supervisor closes no connection of a control client that it refuses",
        "fastpty/supervision/control.py",
        "            self._discard(client)\n            return\n",
        "            client.close()\n            return\n",
        "errands/test_errands.py::test_another_user_cannot_block_the_supervisor_through_the_control_socket",
    ),
)
