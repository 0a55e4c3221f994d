"""Protections that several parts of the router give together."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_NUMBERS = "jail/test_other_side.py::"
_DEVICES = "jail/test_foreign_devices.py::"
_PROCESS = "jail/test_own_process.py::"

TOGETHER = (
    Mutant(
        "rules about users are refused where root gets other ids",
        "fastpty/jail/steps.py",
        "(os.geteuid() != 0 or subordinate.wanted(config))",
        "False",
        _NUMBERS + "test_rules_about_users_are_refused_where_root_gets_other_ids",
    ),
    Mutant(
        "rules about users are refused in a container with other ids",
        "fastpty/jail/steps.py",
        "        check_user_namespace(progress.config)\n",
        "        pass\n",
        _NUMBERS + "test_rules_about_users_are_refused_in_a_container_with_other_ids",
    ),
    Mutant(
        "a reload refuses rules about users where root has other ids",
        "fastpty/configuration/reload_child.py",
        "        if users_differ():\n",
        "        if False:\n",
        _NUMBERS + "test_a_reload_refuses_rules_about_users_where_root_has_other_ids",
    ),
    Mutant(
        "rules about users work in a user namespace with the ids of outside",
        "fastpty/jail/steps.py",
        "    if progress.witness.users_differ():\n",
        "    if progress.config.unshare:\n",
        _NUMBERS + "test_rules_about_users_hold_in_a_user_namespace_with_the_ids_of_outside",
    ),
    Mutant(
        "tls-user is refused in a container with other ids",
        "fastpty/configuration/checks.py",
        "    if config.tls_users:\n        raise",
        "    if False:\n        raise",
        _NUMBERS + "test_no_certificate_stands_for_a_user_in_a_container_with_other_ids",
    ),
    Mutant(
        "an included file that others may replace is refused",
        "fastpty/configuration/language/files.py",
        "                _check_directory(place.path, owners)\n",
        "",
        "configuration/test_trusted_files.py::test_a_file_that_others_may_replace_cannot_be_included",
    ),
    Mutant(
        "a client without an id in the container is refused",
        "fastpty/access/rules.py",
        "        if self._run_as_peer and peer.uid is not None and is_unmapped(peer.uid):\n",
        "        if False:\n",
        _NUMBERS + "test_a_client_without_an_id_in_the_container_is_refused",
    ),
    Mutant(
        "socket files are removed where root gets other ids",
        "fastpty/listening/places.py",
        " or subordinate.wanted(config) is not None",
        "",
        "listening/test_socket_files.py::test_a_socket_file_that_the_router_cannot_remove_is_removed_at_its_end",
    ),
    Mutant(
        "a container does not see the router's arguments",
        "fastpty/jail/steps.py",
        "        process_name.hide_arguments()\n",
        "        pass\n",
        _NUMBERS + "test_a_container_cannot_see_the_router_s_arguments",
    ),
    Mutant(
        "--check reports namespaces and roots that cannot be entered",
        "fastpty/jail/preflight.py",
        "    join.check(config)\n",
        "",
        _NUMBERS + "test_check_reports_what_cannot_be_entered",
    ),
    Mutant(
        "nobody can guess the name of a TLS client's connection",
        "fastpty/gateways/tls_connections.py",
        "secrets.token_hex(16)",
        "'1'",
        _PROCESS + "test_another_user_cannot_take_the_names_of_connections_behind_tls",
    ),
    Mutant(
        "the relay does not open /dev/null of a foreign root",
        "fastpty/system/linux.pxd",
        "    int eventfd(unsigned int value, int flags)\n",
        '    int c_eventfd "eventfd"(unsigned int value, int flags)\n\n'
        "cdef inline int eventfd(unsigned int value, int flags) noexcept nogil:\n"
        '    return c_open("/dev/null", O_RDONLY)\n\n',
        _DEVICES + "test_the_relay_does_not_open_dev_null_of_a_foreign_root",
    ),
    Mutant(
        "the TLS process does not open /dev/null of a foreign root",
        "fastpty/gateways/tls_gateway.py",
        '    nothing = os.memfd_create("nothing")',
        "    nothing = os.open(os.devnull, os.O_RDWR)",
        _DEVICES + "test_the_tls_process_holds_no_file_of_the_root",
    ),
    Mutant(
        "the accounts of a foreign root are not read through links",
        "fastpty/access/accounts.py",
        "foreign_root.open_no_link(path, flags)",
        "os.open(path, flags)",
        _DEVICES + "test_accounts_of_a_foreign_root_are_not_read_through_links",
    ),
    Mutant(
        "the TLS process shares no memory with the supervisor",
        "fastpty/supervision/statistics.py",
        "        self._errands.close_all()\n",
        "",
        "gateways/test_tls_process.py::test_the_tls_process_holds_its_sockets_and_the_log_and_nothing_else",
    ),
    Mutant(
        "errands work without /dev/null",
        "fastpty/system/child.py",
        '    nothing = os.memfd_create("nothing")',
        "    nothing = os.open(os.devnull, os.O_RDWR)",
        _DEVICES + "test_errands_are_run_in_a_root_without_dev_null",
    ),
    Mutant(
        "the directory of a socket file is opened before another user can replace it",
        "fastpty/listening/removal.py",
        "    pins = [file[1] for file in files if file]\n",
        "    pins = [file[1] for file in files if file]\n    select.select([], [], [], 0.5)\n"
        "    directories = [None if file is None else _directory(file[0]) for file in files]\n",
        "listening/test_socket_files.py::test_a_replaced_parent_directory_leads_to_no_removal_of_another_file",
    ),
    Mutant(
        "no socket takes the place of a closed standard descriptor",
        "fastpty/router.py",
        "    open_standard_descriptors(os.O_RDWR)\n",
        "",
        _PROCESS + "test_no_socket_of_the_router_takes_the_place_of_a_closed_standard_descriptor",
    ),
    Mutant(
        "the socket behind TLS is created in a directory of the router's user",
        "fastpty/gateways/tls_front.py",
        "found.st_uid != os.geteuid()",
        "False",
        _PROCESS + "test_the_socket_behind_tls_is_not_made_in_a_directory_of_another_user",
    ),
    Mutant(
        "the client in a jail is loaded before another root is entered",
        "fastpty/jail/imports.py",
        "(*_LATER_FOR_CLIENT, *_modules_of_client()) if config.is_client else ()",
        "()",
        "jail/test_roots.py::test_the_router_as_a_client_connects_from_a_changed_root",
    ),
    Mutant(
        "what pty-input needs is loaded before another root is entered",
        "fastpty/jail/imports.py",
        "_LATER_FOR_TERMINAL if config.pty_input else ()",
        "()",
        "jail/test_roots.py::test_pty_input_works_in_a_changed_root",
    ),
    Mutant(
        "a traceback in the log reads no source file",
        "fastpty/jail/imports.py",
        "    linecache.updatecache = _no_lines\n",
        "",
        _PROCESS + "test_a_traceback_reads_no_source_in_a_foreign_root",
    ),
    Mutant(
        "a traceback at the end reads no source file",
        "fastpty/jail/imports.py",
        "    sys.excepthook = _show\n",
        "",
        _PROCESS + "test_a_traceback_reads_no_source_in_a_foreign_root",
    ),
)
