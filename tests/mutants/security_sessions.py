"""What a session has and how long it lasts, what the router gives up, what the log shows, what a file may do."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PROGRAMS = (
    Mutant(
        "a program gets no descriptor of the router's",
        "fastpty/_spawn.pyx",
        "    if syscall(SYS_close_range, 3, <unsigned int>-1, 0) < 0:\n        return child_fail(plan)\n",
        "    for number in range(3, 64):\n        ioctl(number, 0x5450, 0)   # FIONCLEX\n",
        "test_session_start.py::test_the_program_has_descriptors_0_1_2_and_no_others",
    ),
    Mutant(
        "a program gets no descriptor that the router inherited",
        "fastpty/_spawn.pyx",
        "    if syscall(SYS_close_range, 3, <unsigned int>-1, 0) < 0:\n        return child_fail(plan)\n",
        "",
        "test_session_start.py::test_a_descriptor_that_the_router_inherited_stays_with_it",
    ),
    Mutant(
        "signals are default for the program",
        "fastpty/_spawn.pyx",
        "        syscall(SYS_rt_sigaction, number, default_action, NULL, sizeof(uint64_t))\n",
        "        pass\n",
        "test_session_start.py::test_signals_are_default_and_unblocked",
    ),
    Mutant(
        "an environment that is clean where asked",
        "fastpty/program.py",
        'clear = config.clear_environment or config.run_as == "peer"',
        'clear = config.run_as == "peer"',
        "test_limits.py::test_clear_env_leaves_path_and_term_and_what_is_set",
    ),
    Mutant(
        "no new rights where asked",
        "fastpty/_spawn.pyx",
        "    if plan.no_new_privs and syscall(",
        "    if False and syscall(",
        "test_limits.py::test_no_new_privs_is_set_where_asked",
    ),
    Mutant(
        "a session ends when its time is over",
        "fastpty/worker.py",
        "        lifetime_seconds=config.lifetime_seconds or 0,\n",
        "        lifetime_seconds=0,\n",
        "test_limits.py::test_a_session_ends_when_its_lifetime_is_over_even_if_it_is_used",
    ),
    Mutant(
        "use does not make a session's time longer",
        "fastpty/_flow.pxd",
        "    session.active_ns = loop.now_ns\n",
        "    session.active_ns = session.started_ns = loop.now_ns\n",
        "test_limits.py::test_a_session_ends_when_its_lifetime_is_over_even_if_it_is_used",
    ),
    Mutant(
        "an idle session is ended",
        "fastpty/worker.py",
        "        idle_seconds=config.idle_timeout_seconds or 0,\n",
        "        idle_seconds=0,\n",
        "test_limits.py::test_an_idle_session_is_ended_and_told_so",
    ),
    Mutant(
        "a silent uwsgi client does not stay",
        "fastpty/worker.py",
        "        greeting_seconds=config.greeting_timeout_seconds or 0,\n",
        "        greeting_seconds=0,\n",
        "test_limits.py::test_a_uwsgi_client_that_never_says_anything_is_ended_and_one_that_did_is_not",
    ),
    Mutant(
        "with the router all that it started ends",
        "fastpty/_relay.pyx",
        "                loop_hang_up(&self.loop, session)\n                if at_once",
        "                if at_once",
        "test_router.py::test_a_signal_ends_the_router_and_all_that_it_started",
    ),
    Mutant(
        "what does not mind the hang-up is killed",
        "fastpty/_lifecycle.pxd",
        "        terminal_kill(&session.terminal)\n",
        "",
        "test_session_end.py::test_what_ignores_sighup_is_killed_after_the_grace_time",
    ),
    Mutant(
        "a client that does not read stops nobody else",
        "fastpty/_listeners.pxd",
        "accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)",
        "accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC)",
        "test_faults.py::test_sixty_four_clients_that_never_read_delay_nobody",
    ),
    Mutant(
        "a stop does not wait for clients that do not read",
        "fastpty/_lifecycle.pxd",
        "        if loop.stopping:\n            loop_finish(loop, session, ENDING_STOPPED)\n",
        "",
        "test_router.py::test_a_stop_does_not_wait_for_clients_that_do_not_read",
    ),
    Mutant(
        "a session's daemons end with it",
        "fastpty/session_cgroups.py",
        '        self._kill(f"{os.getpid()}-{number}")\n',
        "",
        "test_session_cgroup.py::test_a_daemon_ends_with_its_session",
    ),
    Mutant(
        "what a killed worker's sessions started ends",
        "fastpty/session_cgroups.py",
        '            if name.startswith(f"{pid}-"):\n',
        "            if False:\n",
        "test_session_cgroup.py::test_what_a_killed_worker_s_sessions_started_ends",
    ),
    Mutant(
        "a router that ends leaves no daemon of a session's",
        "fastpty/sessions.py",
        "            self._cgroups.end(number)\n        ignored = ",
        "            pass\n        ignored = ",
        "test_session_cgroup.py::test_a_router_that_ends_leaves_no_process_and_the_next_no_cgroup",
    ),
)

PRIVILEGES = (
    Mutant(
        "with uid the router gives up root",
        "fastpty/jail.py",
        "        partial(privileges.become, config, groups),\n",
        "",
        "test_jail.py::test_root_cannot_be_regained",
    ),
    Mutant(
        "the supplementary groups of root are given up",
        "fastpty/privileges.py",
        "        groups = _groups_of(config.uid, os.getgid() if config.gid is None else config.gid)\n",
        "        groups = os.getgroups()\n",
        "test_jail.py::test_all_ids_and_groups_are_the_users_and_no_capability_is_left",
    ),
    Mutant(
        "a change of ids that did nothing is no start",
        "fastpty/privileges.py",
        "os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set",
        "set",
        "test_jail.py::test_it_refuses_to_go_on_if_a_step_did_nothing",
    ),
    Mutant(
        "a change of groups that did nothing is no start",
        "fastpty/privileges.py",
        " or set(os.getgroups()) != set(groups):\n",
        ":\n",
        "test_jail.py::test_it_refuses_to_go_on_if_a_step_did_nothing[setgroups]",
    ),
    Mutant(
        "a way back to root is no start",
        "fastpty/privileges.py",
        "        _check_no_way_back(gid, keep)\n",
        "        pass\n",
        "test_jail.py::test_it_refuses_to_go_on_if_root_could_be_regained",
    ),
    Mutant(
        "the immediate user is there before the hooks",
        "fastpty/jail.py",
        "        partial(privileges.become_immediately, config),\n",
        "",
        "test_privileges.py::test_the_immediate_user_is_there_before_the_hooks_and_the_sockets",
    ),
    Mutant(
        "with cap the router has no capability but those",
        "fastpty/privileges.py",
        "    if config.cap:\n        _keep(config.cap)\n",
        "",
        "test_privileges.py::test_capabilities_are_exactly_those_asked_for_in_the_router_and_its_sessions",
    ),
    Mutant(
        "no program can gain a capability that was not kept",
        "fastpty/privileges.py",
        "            if linux.prctl(linux.PR_CAPBSET_READ, number):\n",
        "            if linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_IS_SET, number):\n",
        "test_privileges.py::test_no_program_of_the_jail_can_gain_a_capability_that_was_not_kept",
    ),
    Mutant(
        "with a capability more than was asked for there is no start",
        "fastpty/privileges.py",
        "linux.capget() != (mask, mask, mask) or ",
        "",
        "test_privileges.py::test_it_refuses_to_go_on_with_a_capability_more_than_was_asked_for",
    ),
    Mutant(
        "a key of uWSGI's that would confine the shell is not passed over",
        "fastpty/config.py",
        "    if is_confining(setting.name):\n",
        "    if False:\n",
        "test_config.py::test_a_key_that_would_confine_is_an_error_even_without_strict",
    ),
)

TEXTS = (
    Mutant(
        "no escape sequence reaches the log raw",
        "fastpty/log.py",
        '        text = _UNPRINTABLE.sub(lambda match: f"\\\\x{ord(match[0]):02x}", text)\n',
        "",
        "test_socket_attacks.py::test_no_escape_sequence_reaches_the_log_raw",
    ),
    Mutant(
        "no line can be forged in the log",
        "fastpty/log.py",
        '_UNPRINTABLE = re.compile(r"[\\x00-\\x1f',
        '_UNPRINTABLE = re.compile(r"[\\x00-\\x09\\x0b-\\x1f',
        "test_socket_attacks.py::test_no_escape_sequence_reaches_the_log_raw",
    ),
    Mutant(
        "what is wrong is told without escape sequences",
        "fastpty/errors.py",
        "        return printable(super().__str__())\n",
        "        return super().__str__()\n",
        "test_socket_attacks.py::test_what_is_wrong_with_a_hostile_name_is_told_without_its_escapes",
    ),
    Mutant(
        "a warning shows no escape sequence",
        "fastpty/errors.py",
        '    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)\n',
        "    return text\n",
        "test_socket_attacks.py::test_a_warning_shows_no_escape_sequence",
    ),
    Mutant(
        "--check shows no escape sequence",
        "fastpty/command_line.py",
        "            print(printable(line))\n",
        "            print(line)\n",
        "test_check.py::test_what_check_and_show_config_print_is_safe_on_a_terminal",
    ),
)

CONFIGURATION = (
    Mutant(
        "a stranger's file cannot have commands run",
        "fastpty/sources.py",
        "    if status.st_uid not in (0, os.geteuid()):\n",
        "    if False:\n",
        "test_language.py::test_a_strangers_file_cannot_have_commands_run",
    ),
    Mutant(
        "a file that its group may write to cannot have commands run",
        "fastpty/sources.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWOTH",
        "test_language.py::test_a_file_that_others_may_write_to_cannot_have_commands_run",
    ),
    Mutant(
        "a file that everybody may write to cannot have commands run",
        "fastpty/sources.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWGRP",
        "test_language.py::test_a_file_that_others_may_write_to_cannot_have_commands_run",
    ),
    Mutant(
        "whether a file may have commands run is decided from its descriptor",
        "fastpty/sources.py",
        "os.fstat(file.fileno())",
        "os.stat(place.path)",
        "test_language.py::test_a_file_put_in_the_place_of_a_strangers_while_that_is_read_lends_it_no_trust",
    ),
    Mutant(
        "a stranger's file does not pass for a variable of the environment",
        "fastpty/sources.py",
        'f"./{given}" if given.startswith("$") else given',
        "given",
        "test_language.py::test_a_strangers_file_cannot_pass_for_a_variable_of_the_environment",
    ),
    Mutant(
        "what a file or a command gives has no commands run",
        "fastpty/expansion.py",
        'return _substitute(setting, value, "@", content, again=False)',
        'return _substitute(setting, value, "@", content)',
        "test_language.py::test_what_a_file_or_a_command_gives_is_not_expanded_for_files_again",
    ),
    Mutant(
        "the lines that a loop reads have no commands run",
        "fastpty/logic.py",
        "loop not in (_lines, _paths)",
        "loop is not _paths",
        "test_language.py::test_what_a_loop_reads_cannot_have_commands_run",
    ),
    Mutant(
        "the names of files that a loop finds have no commands run",
        "fastpty/logic.py",
        "loop not in (_lines, _paths)",
        "loop is not _lines",
        "test_language.py::test_what_a_loop_reads_cannot_have_commands_run",
    ),
)

SESSIONS = (*PROGRAMS, *PRIVILEGES, *TEXTS, *CONFIGURATION)
