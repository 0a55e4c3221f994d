"""File systems of a foreign root that never answer."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SILENT = "jail/test_silent_root.py::"
_AT_EXIT = "hooks/test_at_exit.py::"

SILENT = (
    Mutant(
        "foreign files: a running router uses their paths in a child with a deadline",
        "fastpty/system/foreign_root.py",
        "    if not _is_entered:\n        return work()\n    try:\n",
        "    if True:\n        return work()\n    try:\n",
        _SILENT + "test_a_pid_file_that_cannot_be_removed_does_not_delay_the_end",
    ),
    Mutant(
        "foreign files: a child that is stuck does not hold the router's output",
        "fastpty/system/child.py",
        "    replace_standard_descriptors()\n    keep_only",
        "    keep_only",
        _SILENT + "test_a_pid_file_that_cannot_be_removed_does_not_delay_the_end",
    ),
    Mutant(
        "foreign accounts: a first process that outlives its worker logs no traceback",
        "fastpty/sessions/starter.py",
        "            with contextlib.suppress(OSError):  # nobody has",
        "            with contextlib.suppress(PermissionError):  # nobody has",
        _SILENT + "test_a_first_process_that_outlives_its_worker_ends_without_a_word",
    ),
    Mutant(
        "foreign accounts: the worker does not wait for them",
        "fastpty/sessions/program.py",
        "        complete = partial(self._of_foreign_account, peer.uid)\n",
        "        return self._of_foreign_account(peer.uid)\n",
        _SILENT + "test_accounts_that_do_not_answer_delay_no_other_session",
    ),
    Mutant(
        "foreign accounts: a process that waits for them holds nothing of other sessions",
        "fastpty/sessions/starter.py",
        "        child.keep_only([0, 1, 2, *(descriptor for descriptor in needed if descriptor >= 0)])\n",
        "",
        _SILENT + "test_accounts_that_do_not_answer_delay_no_other_session",
    ),
    Mutant(
        "foreign accounts: a refusal is logged as one",
        "fastpty/sessions/starter.py",
        "            self.outcomes.report(Outcome(number, str(error), is_refusal=True))\n",
        "",
        _SILENT + "test_a_client_whose_account_cannot_be_read_is_refused",
    ),
    Mutant(
        "foreign accounts: an outcome is logged though nobody connects any more",
        "fastpty/sessions/handler.py",
        "        return self._refusals.sum_up() or bool(self._undecided)\n",
        "        return self._refusals.sum_up()\n",
        _SILENT + "test_a_client_whose_account_cannot_be_read_is_refused",
    ),
    Mutant(
        "foreign accounts: only a few processes get stuck",
        "fastpty/access/accounts.py",
        "_READERS_MOST = 16\n",
        "_READERS_MOST = 17\n",
        _SILENT + "test_only_a_few_processes_read_accounts_at_a_time",
    ),
    Mutant(
        "foreign commands: they are looked for only once",
        "fastpty/sessions/program.py",
        "    return replace(config, command_files=files) if foreign_root.is_entered() else config\n",
        "    return config\n",
        _SILENT + "test_a_directory_of_path_that_never_answers_delays_no_session",
    ),
    Mutant(
        "foreign log: another process writes it",
        "fastpty/log.py",
        "_ToWriter(path) if foreign_root.is_entered() else _ToFile(path, 2)",
        "_ToFile(path, 2)",
        _SILENT + "test_a_log_whose_writes_never_end_delays_nobody",
    ),
    Mutant(
        "foreign log: the open file stays in use if its successor does not answer",
        "fastpty/system/file_writer.py",
        '    _, [descriptor] = foreign_root.in_time("opening the log", lambda: (None, [open_file()]))\n',
        "    descriptor = open_file()\n",
        _SILENT + "test_a_log_that_cannot_be_reopened_delays_nobody",
    ),
    Mutant(
        "foreign log: what is logged after a reopen is not in the old file",
        "fastpty/system/file_writer.py",
        """        if order == _REOPEN:
            file.reopen()
        if data:
            file.append(data)
""",
        """        if data:
            file.append(data)
        if order == _REOPEN:
            file.reopen()
""",
        "system/test_file_writer.py::test_a_line_logged_after_a_reopen_is_never_in_the_old_file",
    ),
    Mutant(
        "foreign commands: a search at the start has a deadline",
        "fastpty/sessions/program.py",
        'foreign_root.in_time("looking for commands", partial(_look_up_commands, config))',
        "_look_up_commands(config)",
        _SILENT + "test_a_directory_of_path_that_never_answers_is_an_error_at_the_start",
    ),
    Mutant(
        "foreign pid file: writing it has a deadline",
        "fastpty/service/pidfile.py",
        'foreign_root.in_time("writing a pid file", begin)',
        "begin()",
        _SILENT + "test_a_file_that_never_answers_is_an_error_at_the_start",
    ),
    Mutant(
        "foreign files: a stuck process does not keep a pid namespace's router from ending",
        "fastpty/jail/pid_namespace.py",
        "    os.write(writer, bytes([status & 0xFF]))\n",
        "",
        _SILENT + "test_a_stuck_process_in_a_new_pid_namespace_does_not_delay_the_end",
    ),
    Mutant(
        "foreign files: the supervisor does not reopen the log itself",
        "fastpty/log.py",
        "            self._writer.reopen()\n",
        '            os.close(_open("/own/log"))\n',
        _SILENT + "test_a_router_that_serves_uses_no_path_of_its_root_itself",
    ),
    Mutant(
        "foreign pid file: it is on a file system that answers",
        "fastpty/service/pidfile.py",
        "            foreign_root.check_answers(descriptor)\n",
        "",
        _SILENT + "test_a_pid_file_on_a_file_system_that_may_not_answer_is_refused",
    ),
    Mutant(
        "hooks at exit: the router waits for them only for a while",
        "fastpty/hooks/at_exit.py",
        "readable(pidfd, queue.fileno(), seconds=SECONDS)",
        "readable(pidfd, queue.fileno())",
        _AT_EXIT + "test_a_hook_at_exit_on_a_silent_file_system_does_not_keep_the_router_from_ending",
    ),
    Mutant(
        "hooks at exit: one that is stuck in the kernel is left behind",
        "fastpty/hooks/at_exit.py",
        "readable(pidfd, seconds=seconds)",
        "readable(pidfd)",
        _AT_EXIT + "test_a_hook_at_exit_on_a_silent_file_system_does_not_keep_the_router_from_ending",
    ),
    Mutant(
        "hooks at exit: one that is left behind holds no socket",
        "fastpty/hooks/at_exit.py",
        "    child.keep_only({0, 1, 2, *log.descriptors()})\n",
        "",
        _AT_EXIT + "test_a_hook_at_exit_on_a_silent_file_system_does_not_keep_the_router_from_ending",
    ),
    Mutant(
        "hooks at exit: another stop signal ends them",
        "fastpty/hooks/at_exit.py",
        "readable(pidfd, queue.fileno(), seconds=SECONDS)",
        "readable(pidfd, seconds=SECONDS)",
        _AT_EXIT + "test_another_stop_signal_ends_the_hooks_at_exit",
    ),
    Mutant(
        "hooks at exit: they end with the router",
        "fastpty/hooks/at_exit.py",
        "    if not child.end_with_parent(parent, signal.SIGTERM):\n        return 0\n",
        "",
        _AT_EXIT + "test_a_router_that_is_killed_at_its_end_leaves_no_hook_behind",
    ),
    Mutant(
        "hooks at exit: the exit action sets the status",
        "fastpty/jail/steps.py",
        "            raise SystemExit(status)\n",
        "            pass\n",
        _AT_EXIT + "test_the_exit_action_at_exit_sets_the_status",
    ),
    Mutant(
        "hooks: a stop does not wait for a command that is stuck in the kernel",
        "fastpty/hooks/actions.py",
        "        process.wait(_KILLED_SECONDS)\n",
        "        process.wait()\n",
        _AT_EXIT + "test_a_stop_during_the_start_does_not_wait_for_a_command_that_is_stuck_in_the_kernel",
    ),
)
