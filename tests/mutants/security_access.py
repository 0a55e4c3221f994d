"""The rules about clients, the limits of sessions, and the rights of a session with `run-as peer`."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RULES = (
    Mutant(
        "a deny rule wins over every allow rule",
        "fastpty/access/rules.py",
        "        if self._denies:\n",
        "        if self._denies and not allowed:\n",
        "access/test_access.py::test_rules_decide_by_the_client_s_uid_and_groups",
    ),
    Mutant(
        "with an allow rule, a client that no rule names is refused",
        "fastpty/access/rules.py",
        "        if has_allow_rule and not allowed:\n",
        "        if False:\n",
        "access/test_access.py::test_rules_decide_by_the_client_s_uid_and_groups",
    ),
    Mutant(
        "the rules apply to root as to everybody",
        "fastpty/access/rules.py",
        "        has_allow_rule = ",
        "        if peer.uid == 0:\n            return\n        has_allow_rule = ",
        "access/test_access.py::test_rules_decide_by_the_client_s_uid_and_groups",
    ),
    Mutant(
        "a deny rule holds for supplementary groups, too",
        "fastpty/access/rules.py",
        "bool(self._allow_groups or self._deny_groups)",
        "bool(self._allow_groups)",
        "access/test_access.py::test_rules_decide_by_the_client_s_uid_and_groups",
    ),
    Mutant(
        "a member of many groups is recognised by each of them",
        "fastpty/access/peer.py",
        "        room = _GROUPS_MOST\n",
        "        return list(groups)\n",
        "access/test_access.py::test_a_member_of_400_groups_is_recognised_by_the_last",
    ),
    Mutant(
        "a rule makes an abstract name private",
        "fastpty/access/rules.py",
        '        """Raises RefusedError, with a text for the client, unless it may start a session."""\n',
        "        if peer.uid == 0:\n            return\n",
        "access/test_access.py::test_a_rule_makes_an_abstract_name_private",
    ),
    Mutant(
        "the rules hold for a shared terminal",
        "fastpty/sessions/handler.py",
        "                self._admit(number, client)\n",
        "",
        "access/test_access.py::test_rules_and_limits_hold_for_a_shared_terminal",
    ),
    Mutant(
        "an abstract name without a rule causes a warning",
        "fastpty/configuration/checks.py",
        "        if isinstance(address, AbstractAddress) and not wants_users:",
        "        if False:",
        "access/test_access.py::test_an_abstract_name_without_a_rule_is_warned_of",
    ),
    Mutant(
        "an abstract name of the statistics without a rule causes a warning",
        "fastpty/configuration/checks.py",
        "        if isinstance(address, AbstractAddress) and not config.has_rules:",
        "        if False:",
        "access/test_access.py::test_an_abstract_name_of_statistics_without_a_rule_is_warned_of",
    ),
    Mutant(
        "the rules apply to the statistics",
        "fastpty/supervision/statistics.py",
        "            self._rules.check_connection(peer)\n",
        "",
        "access/test_access.py::test_only_clients_that_the_rules_allow_get_statistics",
    ),
    Mutant(
        "all groups of a client decide whether it may read statistics",
        "fastpty/supervision/statistics.py",
        "plain_peer(connection, self._rules.need_groups)",
        "plain_peer(connection, False)",
        "access/test_access.py::test_only_clients_that_the_rules_allow_get_statistics",
    ),
    Mutant(
        "rules changed by a reload apply to the statistics",
        "fastpty/supervision/statistics.py",
        "        self._rules = self._supervisor.listeners.rules\n",
        "",
        "access/test_access.py::test_a_new_rule_holds_for_the_statistics_after_a_reload",
    ),
    Mutant(
        "statistics on TCP with rules about users are refused at the start",
        "fastpty/configuration/checks.py",
        "        if config.has_rules and isinstance(address, TcpAddress):",
        "        if False:",
        "access/test_access.py::test_rules_that_cannot_work_are_refused_at_the_start",
    ),
    Mutant(
        "with rules, an inherited TCP socket gives nobody statistics",
        "fastpty/supervision/statistics.py",
        "            self._rules.check_connection(peer)\n",
        "            if peer.is_known:\n                self._rules.check_connection(peer)\n",
        "access/test_access.py::test_with_rules_an_inherited_tcp_socket_gives_nobody_statistics",
    ),
    Mutant(
        "an abstract name of a shared terminal without a rule causes a warning",
        "fastpty/configuration/config.py",
        "        return self.raw_addresses + self.uwsgi_addresses + self.extended_addresses + self.shared_addresses\n",
        "        return self.raw_addresses + self.uwsgi_addresses + self.extended_addresses\n",
        "access/test_access.py::test_an_abstract_name_without_a_rule_is_warned_of",
    ),
    Mutant(
        "nothing is started for a refused client",
        "fastpty/sessions/handler.py",
        "        self._admit(number, client)\n        try:\n            program = self._programs.for_peer(client)\n"
        "            return program, self._starter.start(number, program, window)\n",
        "        program = self._programs.for_peer(client)\n"
        "        started = self._starter.start(number, program, window)\n"
        "        self._admit(number, client)\n        try:\n            return program, started\n",
        "access/test_access.py::test_a_refusal_starts_nothing_and_is_logged_in_one_line_with_pid_uid_and_gid",
    ),
    Mutant(
        "the log names refused clients",
        "fastpty/access/peer.py",
        'Peer(f"pid {pid}{where} uid {uid} gid {gid}", ',
        'Peer(f"pid {pid}", ',
        "access/test_access.py::test_a_refusal_starts_nothing_and_is_logged_in_one_line_with_pid_uid_and_gid",
    ),
    Mutant(
        "rules about users with a TCP address are refused at the start",
        "fastpty/configuration/checks.py",
        "        if wants_users and isinstance(address, TcpAddress) and not has_names:",
        "        if False:",
        "access/test_access.py::test_rules_that_cannot_work_are_refused_at_the_start",
    ),
    Mutant(
        "with rules, an inherited TCP socket refuses everybody",
        "fastpty/access/rules.py",
        "            if self._any and not peer.is_admitted:",
        "            if False:",
        "access/test_access.py::test_with_rules_an_inherited_tcp_socket_refuses_everybody",
    ),
    Mutant(
        "a certificate alone does not satisfy rules about users",
        "fastpty/sessions/handler.py",
        "bool(self._config.allow_tls_names)",
        "True",
        "gateways/test_tls.py::test_rules_about_users_keep_out_a_certificate_without_an_allowed_name_on_an_inherited_socket",
    ),
)

LIMITS = (
    Mutant(
        "the number of all sessions is limited",
        "fastpty/access/limits.py",
        '(_SEATS_OF_ALL, config.max_sessions, "")',
        '(_SEATS_OF_ALL, None, "")',
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "the limit of sessions counts those of all workers",
        "fastpty/access/limits.py",
        "seat not in self._mine and self._lock(seat)",
        "seat not in self._mine",
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "the place of an ended session is reused",
        "fastpty/access/limits.py",
        "        self._mine.remove(seat)\n",
        "        return\n",
        "access/test_limits.py::test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused",
    ),
    Mutant(
        "the number of a user's sessions is limited",
        "fastpty/access/limits.py",
        '(uid * SESSIONS_MOST, config.max_sessions_per_uid, " for your user")',
        '(uid * SESSIONS_MOST, None, " for your user")',
        "access/test_limits.py::test_max_sessions_per_uid_counts_each_user_alone",
    ),
    Mutant(
        "a user over its limit takes no place of other users",
        "fastpty/access/limits.py",
        "        uid = _UNKNOWN if user is None else user\n",
        "        uid = _UNKNOWN\n",
        "access/test_limits.py::test_max_sessions_per_uid_counts_each_user_alone",
    ),
    Mutant(
        "sessions of a killed worker no longer count",
        "fastpty/access/limits.py",
        "            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)\n",
        '            if os.pread(self._file, 1, seat) == b"x":\n                raise BlockingIOError\n'
        '            os.pwrite(self._file, b"x", seat)\n',
        "access/test_limits.py::test_a_killed_worker_gives_its_places_back",
    ),
)

RUN_AS = (
    Mutant(
        "run-as peer gives the client's uid",
        "fastpty/sessions/program.py",
        "(account.uid, account.gid, list(account.groups))",
        "(os.getuid(), account.gid, list(account.groups))",
        "access/test_run_as.py::test_a_session_has_its_peers_ids_groups_home_and_login_shell",
    ),
    Mutant(
        "run-as peer gives the client's group",
        "fastpty/sessions/program.py",
        "(account.uid, account.gid, list(account.groups))",
        "(account.uid, os.getgid(), list(account.groups))",
        "access/test_run_as.py::test_a_session_has_its_peers_ids_groups_home_and_login_shell",
    ),
    Mutant(
        "run-as peer removes the router's supplementary groups",
        "fastpty/sessions/program.py",
        "(account.uid, account.gid, list(account.groups))",
        "(account.uid, account.gid, [*account.groups, 0])",
        "access/test_run_as.py::test_a_session_has_its_peers_ids_groups_home_and_login_shell",
    ),
    Mutant(
        "a session of run-as peer does not see the router's environment",
        "fastpty/sessions/program.py",
        'clear = config.clear_environment or config.run_as == "peer"',
        "clear = config.clear_environment",
        "access/test_run_as.py::test_a_session_has_its_peers_ids_groups_home_and_login_shell",
    ),
    Mutant(
        "run-as peer gives root a session only if root is allowed by name",
        "fastpty/access/rules.py",
        "        if peer.uid == 0 and self._run_as_peer and 0 not in self._allow_users:",
        "        if False:",
        "access/test_run_as.py::test_root_gets_a_session_only_if_allowed_by_name",
    ),
    Mutant(
        "with run-as peer, a rule that names root's group does not allow root",
        "fastpty/access/rules.py",
        "self._run_as_peer and 0 not in self._allow_users:",
        "self._run_as_peer and not (0 in self._allow_users or peer.groups & self._allow_groups):",
        "access/test_run_as.py::test_root_gets_a_session_only_if_allowed_by_name",
    ),
    Mutant(
        "the real uid is given up, too",
        "fastpty/spawn/child.pxd",
        "    if syscall(SYS_setresuid, account.uid, account.uid, account.uid) < 0:\n        return -1\n"
        "    if not child_became(account):\n",
        "    if syscall(SYS_setresuid, 0, account.uid, account.uid) < 0:\n        return -1\n    if False:\n",
        "access/test_run_as.py::test_a_router_s_children_cannot_become_root_again",
    ),
    Mutant(
        "a session ends if its ids did not change",
        "fastpty/spawn/child.pxd",
        "        if uids[index] != account.uid or gids[index] != account.gid:\n            return False\n",
        "        pass\n",
        "access/test_run_as.py::test_a_session_ends_with_a_message_if_the_router_s_rights_remain",
    ),
    Mutant(
        "a session ends if its groups did not change",
        "fastpty/spawn/child.pxd",
        "    if syscall(SYS_getgroups, account.group_count, account.found) != account.group_count:\n"
        "        return False\n    for index in range(account.group_count):\n",
        "    for index in range(0):\n",
        "access/test_run_as.py::test_a_session_ends_with_a_message_if_the_router_s_rights_remain[setgroups]",
    ),
    Mutant(
        "a session ends if it could become root again",
        "fastpty/spawn/child.pxd",
        "    return account.uid == 0 or syscall(SYS_setresuid, 0, 0, 0) < 0\n",
        "    return True\n",
        "access/test_run_as.py::test_a_way_back_to_root_ends_the_session_though_all_ids_have_changed",
    ),
    Mutant(
        "a worker does not wait for a child that changes its user",
        "fastpty/_spawn.pyx",
        "    if not plan.is_apart:\n        flags |= CLONE_VM | CLONE_VFORK\n",
        "    if True:\n        flags |= CLONE_VM | CLONE_VFORK\n",
        "access/test_run_as.py::test_a_peer_that_stops_its_starting_process_stops_nobody_else",
    ),
)

ACCESS = (*RULES, *LIMITS, *RUN_AS)
