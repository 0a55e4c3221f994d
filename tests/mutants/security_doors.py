"""Inherited sockets, socket files, refusals, statistics, and denied users who use other ids."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INHERITED = (
    Mutant(
        "an inherited socket that others may write to is refused",
        "fastpty/listening/inherited.py",
        "    if there & ~wanted and not has_rule:\n",
        "    if False:\n",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_that_others_may_write_to_is_refused",
    ),
    Mutant(
        "an inherited socket with another mode than configured is refused",
        "fastpty/listening/inherited.py",
        "    if wanted & ~there:\n",
        "    if False:\n",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_with_another_mode_than_configured_is_refused",
    ),
    Mutant(
        "run-as peer does not open an inherited socket of the statistics",
        "fastpty/listening/inherited.py",
        '(for_sessions and config.run_as == "peer")',
        'config.run_as == "peer"',
        "listening/test_inherited_sockets.py::test_run_as_peer_opens_no_inherited_socket_of_the_statistics",
    ),
    Mutant(
        "an inherited socket of another user is refused",
        "fastpty/listening/inherited.py",
        "        if owner[0] not in (0, os.geteuid(), config.uid) and not has_rule:\n",
        "        if False:\n",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_of_another_user_is_refused",
    ),
    Mutant(
        "an inherited socket with another owner than configured is refused",
        "fastpty/listening/inherited.py",
        "    elif any(wanted not in (-1, there)",
        "    elif False and any(wanted not in (-1, there)",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_of_another_user_is_refused",
    ),
    Mutant(
        "the mode is read from the inherited socket's own file",
        "fastpty/listening/bind.py",
        "            self._pin = fcntl.ioctl(self.socket, _SIOCUNIXFILE)\n            return\n",
        "            pass\n",
        "listening/test_inherited_sockets.py::test_the_socket_s_own_file_is_checked_even_if_its_path_leads_to_another",
    ),
    Mutant(
        "an inherited socket whose file cannot be found is refused",
        "fastpty/listening/inherited.py",
        "        if not has_rule:\n            raise",
        "        if False:\n            raise",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_whose_file_cannot_be_found_needs_a_rule",
    ),
    Mutant(
        "an inherited abstract name counts as open to all",
        "fastpty/listening/inherited.py",
        'is as mode 666", 0o666, ',
        'is as mode 666", 0o600, ',
        "listening/test_inherited_sockets.py::test_an_inherited_abstract_name_needs_a_rule_or_mode_666",
    ),
    Mutant(
        "an inherited port that is open to the network is refused",
        "fastpty/listening/inherited.py",
        "    if not (where.is_loopback or ",
        "    if not (True or ",
        "listening/test_inherited_sockets.py::test_an_inherited_port_open_to_the_network_needs_insecure_tcp_or_tls",
    ),
    Mutant(
        "reuse-port on an inherited port is refused, not ignored",
        "fastpty/listening/inherited.py",
        "    if config.reuse_port and not ",
        "    if False and not ",
        "listening/test_inherited_sockets.py::test_options_that_do_not_apply_to_an_inherited_port_are_refused",
    ),
    Mutant(
        "listen sets the backlog of an inherited socket",
        "fastpty/listening/bind.py",
        "    sock.listen(backlog)  # changes",
        "    # changes",
        "listening/test_inherited_sockets.py::test_listen_sets_the_backlog_of_an_inherited_port",
    ),
    Mutant(
        "a socket that is neither local nor TCP is refused",
        "fastpty/listening/bind.py",
        "    if sock.family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) or ",
        "    if ",
        "listening/test_inherited_sockets.py::test_an_inherited_socket_of_another_family_is_refused",
    ),
    Mutant(
        "a reload checks inherited sockets",
        "fastpty/listening/places.py",
        "                self._check_inherited(self._places[where], config)\n",
        "                if not known:\n                    self._check_inherited(self._places[where], config)\n",
        "listening/test_inherited_sockets.py::test_a_reload_does_not_open_an_inherited_socket",
    ),
)

FILES = (
    Mutant(
        "a second start opens no session in the running router",
        "fastpty/listening/bind.py",
        "socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n",
        "socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n",
        "listening/test_socket_files.py::test_a_second_start_opens_no_session_in_the_running_router",
    ),
    Mutant(
        "a datagram socket is not taken for stale",
        "fastpty/listening/bind.py",
        "    elif result in (0, errno.EPROTOTYPE, errno.EPERM):",
        "    elif result in (errno.EPROTOTYPE, errno.EPERM):",
        "listening/test_socket_files.py::test_a_datagram_socket_is_alive_too",
    ),
    Mutant(
        "a socket file that the router may not remove is removed by another process",
        "fastpty/listening/places.py",
        "    return config.hides_files or becomes_another",
        "    return False",
        "listening/test_socket_files.py::test_a_socket_file_that_the_router_cannot_remove_is_removed_at_its_end",
    ),
    Mutant(
        "the process that removes socket files ends with its router",
        "fastpty/listening/removal.py",
        "    poll.register(maker, select.POLLIN)\n",
        "    orders.dup().detach()\n    os.dup(maker)\n",
        "listening/test_socket_files.py::test_the_process_that_removes_socket_files_ends_with_a_killed_router",
    ),
    Mutant(
        "the process that removes socket files holds none of the router's descriptors",
        "fastpty/listening/removal.py",
        "    child.isolate([orders.fileno(), maker, *pins, *filter(None, directories)])\n",
        "",
        "listening/test_socket_files.py::test_the_process_that_removes_socket_files_ends_with_a_killed_router",
    ),
    Mutant(
        "a file of another program in the socket's place is not removed",
        "fastpty/listening/removal.py",
        "            return _DONE  # another program's file\n",
        "            pass\n",
        "listening/test_socket_files.py::test_a_file_that_has_replaced_the_socket_is_not_removed",
    ),
    Mutant(
        "a user who can replace a directory cannot have another file removed",
        "fastpty/listening/removal.py",
        "        os.unlink(name, dir_fd=directory)\n",
        "        os.unlink(path)\n",
        "listening/test_socket_files.py::test_a_replaced_parent_directory_leads_to_no_removal_of_another_file",
    ),
)

REFUSED = (
    Mutant(
        "refused statistics clients cause few log lines",
        "fastpty/supervision/statistics.py",
        "        self._refusals.tell(line, clients(peer.uid, place.name, why))\n",
        "        self._refusals.tell(line, line)\n",
        "access/test_floods.py::test_a_flood_of_refused_statistics_clients_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "the count of refused statistics clients is logged even if no client comes any more",
        "fastpty/supervision/statistics.py",
        "        untold = self._refusals.patience()\n",
        "        untold = None\n",
        "access/test_floods.py::test_a_flood_of_refused_statistics_clients_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "clients without a free descriptor cause few log lines",
        "fastpty/sessions/handler.py",
        'f"clients that could not be accepted: {why}")',
        'f"clients that could not be accepted: {why} {id(object())} {os.urandom(9)!r}")',
        "access/test_floods.py::test_a_flood_of_clients_without_a_free_descriptor_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "failed handshakes cause few log lines",
        "fastpty/gateways/tls_connections.py",
        '"TLS clients: the handshake failed"',
        "text",
        "access/test_floods.py::test_a_flood_of_clients_that_do_not_speak_tls_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "the count of failed handshakes is logged even if no client comes any more",
        "fastpty/gateways/tls_connections.py",
        "                self._sum_up_later()\n\n    def _sum_up_later",
        "                pass\n\n    def _sum_up_later",
        "access/test_floods.py::test_a_flood_of_clients_that_do_not_speak_tls_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "refused certificates cause few log lines",
        "fastpty/gateways/tls_connections.py",
        'f"TLS clients: {error}"',
        "text",
        "access/test_floods.py::test_a_flood_of_certificates_with_other_names_leaves_few_log_lines_and_their_number",
    ),
    Mutant(
        "refusals of many different users fill neither the log nor the memory",
        "fastpty/access/refusals.py",
        "            kind = _OTHERS\n",
        "            pass\n",
        "access/test_floods.py::test_refusals_of_very_many_kinds_are_counted_together",
    ),
)

STATISTICS = (
    Mutant(
        "clients of the statistics leave descriptors for workers",
        "fastpty/supervision/statistics.py",
        "        return connection.fileno() >= most - min(reserved, most // 2)\n",
        "        return connection.fileno() >= most\n",
        "supervision/test_stats_attacks.py::test_clients_of_the_statistics_leave_descriptors_for_workers",
    ),
    Mutant(
        "a statistics client over the limit gets a message",
        "fastpty/supervision/statistics.py",
        "            self._rejected.add(client)\n",
        "            self._drop(client)\n            return\n",
        "supervision/test_stats_attacks.py::test_a_refused_tcp_client_can_finish_its_request_and_read_the_answer",
    ),
    Mutant(
        "the number of statistics clients is limited",
        "fastpty/supervision/statistics.py",
        "            if len(self._clients) < _CLIENTS_MOST and ",
        "            if ",
        "supervision/test_stats_attacks.py::test_a_statistics_client_over_the_limit_gets_one_line",
    ),
    Mutant(
        "the amount read after an HTTP request is limited",
        "fastpty/supervision/statistics_clients.py",
        "        return bool(data) and self._unread_bytes > 0\n",
        "        return bool(data)\n",
        "supervision/test_stats_attacks.py::test_an_endless_request_is_read_up_to_a_limit[False]",
    ),
    Mutant(
        "the length of an HTTP request is limited",
        "fastpty/supervision/statistics_clients.py",
        "        return None if len(self._request) > _HEAD_MOST_BYTES else False\n",
        "        return False\n",
        "supervision/test_stats_attacks.py::test_an_endless_request_is_read_up_to_a_limit[True]",
    ),
    Mutant(
        "a web page cannot read the statistics through another name of this machine",
        "fastpty/supervision/statistics.py",
        "            if not _is_loopback(client.connection) or client.asks_for_this_host(listening_host):\n",
        "            if True:\n",
        "supervision/test_stats_attacks.py::test_a_web_page_cannot_read_the_statistics_through_another_name_of_this_machine",
    ),
    Mutant(
        "over TCP the answer waits for the request",
        "fastpty/supervision/statistics.py",
        "        if self._supervisor.config.stats_http and connection.family != socket.AF_UNIX:\n",
        "        if False:\n",
        "supervision/test_stats_attacks.py::test_over_tcp_no_answer_comes_before_the_request",
    ),
    Mutant(
        "a web page of another site cannot read the statistics",
        "fastpty/supervision/statistics_clients.py",
        "Connection: close\\r\\n",
        "Connection: close\\r\\nAccess-Control-Allow-Origin: *\\r\\n",
        "supervision/test_stats_attacks.py::test_no_web_page_of_another_site_can_read_the_statistics",
    ),
    Mutant(
        "statistics are valid JSON whatever bytes a path has",
        "fastpty/supervision/statistics.py",
        '    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")\n',
        "    return text\n",
        "supervision/test_stats_attacks.py::test_statistics_are_valid_json_whatever_bytes_a_path_has",
    ),
    Mutant(
        "frequent statistics requests do not make workers report each time",
        "fastpty/supervision/statistics.py",
        "        self._not_before = time.monotonic() + _ROUND_PAUSE_SECONDS\n",
        "        self._ask()\n",
        "supervision/test_stats_attacks.py::test_frequent_requests_do_not_make_workers_report_without_a_pause",
    ),
    Mutant(
        "statistics are served again when descriptors are free again",
        "fastpty/supervision/statistics.py",
        "        if self._resume_at is not None and now >= self._resume_at:\n",
        "        if False:\n",
        "supervision/test_stats_attacks.py::test_a_supervisor_without_a_descriptor_left_does_not_wait",
    ),
)

DENIED = (
    Mutant(
        "a denied user is refused under its subordinate uids",
        "fastpty/access/rules.py",
        "        users = self._subuids.owners(uid).union(",
        "        users = frozenset[int]().union(",
        "access/test_denied.py::test_a_denied_user_is_refused_from_a_user_namespace_of_its_own",
    ),
    Mutant(
        "a denied user is refused under its subordinate gids",
        "fastpty/access/rules.py",
        "*(self._subgids.owners(gid) for gid in peer.groups)",
        "",
        "access/test_denied.py::test_a_denied_user_is_refused_under_its_subordinate_ids",
    ),
    Mutant(
        "a denied group that a member has dropped still counts",
        "fastpty/access/rules.py",
        "for found in (peer.groups, *groups)",
        "for found in (peer.groups,)",
        "access/test_denied.py::test_a_denied_group_that_a_member_has_dropped_still_counts",
    ),
    Mutant(
        "after a change of root, the rules use the accounts from before",
        "fastpty/access/rules.py",
        "    return _all_accounts().get if config.changes_root else _groups_now\n",
        "    return (lambda uid: None) if config.changes_root else _groups_now\n",
        "access/test_denied.py::test_a_denied_group_that_a_member_has_dropped_still_counts",
    ),
    Mutant(
        "the rules count an account's primary group",
        "fastpty/access/accounts.py",
        "    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid))))\n"
        "    return Account(uid, entry.pw_gid,",
        "    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid)) - {entry.pw_gid}))\n"
        "    return Account(uid, 0,",
        "access/test_denied.py::test_the_primary_group_of_an_account_counts_too",
    ),
    Mutant(
        "with deny rules alone a uid without an account is refused",
        "fastpty/access/rules.py",
        "        if needs_account and not groups:\n",
        "        if False:\n",
        "access/test_denied.py::test_with_deny_rules_alone_a_uid_without_an_account_is_refused",
    ),
    Mutant(
        "limits count a subordinate id as its owner",
        "fastpty/access/rules.py",
        "min(self._subuids.owners(peer.uid), default=peer.uid)",
        "peer.uid",
        "access/test_denied.py::test_limits_count_a_subordinate_id_as_its_owner",
    ),
    Mutant(
        "the overflow uid is treated as an unknown user",
        "fastpty/system/user_namespace.py",
        "    return uid == _OVERFLOW_UID and (_users_differ or not _sees_all_users())\n",
        "    return False\n",
        "access/test_denied.py::test_a_uid_that_is_not_mapped_here_is_recognised",
    ),
    Mutant(
        "a file of subordinate ids that is too large is refused",
        "fastpty/access/subordinates.py",
        "    if len(data) > _BYTES_MOST:\n",
        "    if False:\n",
        "access/test_denied.py::test_a_file_of_subordinate_ids_that_cannot_be_used_is_refused",
    ),
)

DOORS = (*INHERITED, *FILES, *REFUSED, *STATISTICS, *DENIED)
