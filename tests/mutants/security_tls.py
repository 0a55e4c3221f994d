"""TLS: which certificates are accepted, which files are trusted, and the rights of the TLS process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TRUST = "gateways/test_tls_trust.py::test_"
FILES = "gateways/test_tls_files.py::test_"
PROCESS = "gateways/test_tls_process.py::test_"

_TRUST = (
    Mutant(
        "the end of TCP alone is not the end of the input, whatever the default of Python's ssl is",
        "fastpty/net/tls.py",
        "    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        "    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF if server else 0\n",
        "gateways/test_tls.py::test_a_connection_that_is_cut_hangs_up_and_does_not_end_the_input",
    ),
    Mutant(
        "the end of TCP alone is not the end of the session for the client",
        "fastpty/net/tls.py",
        "    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        "    context.options |= 0 if server else ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        f"{TRUST}output_that_was_cut_is_no_end_of_the_session_for_the_client",
    ),
    Mutant(
        "TLS resumption gives no session without a certificate",
        "fastpty/net/tls.py",
        "        context.num_tickets = 0\n",
        "        pass\n",
        f"{TRUST}an_expired_certificate_gets_no_session_by_tls_resumption",
    ),
    Mutant(
        "a name that a restart no longer allows gets no session",
        "fastpty/gateways/tls_connections.py",
        "        if self._allowed and not self._allowed.intersection(names):\n",
        "        if False:\n",
        f"{TRUST}a_name_that_is_no_longer_allowed_gets_no_session_by_tls_resumption",
    ),
    Mutant(
        "OpenSSL's configuration does not change the version of TLS",
        "fastpty/net/tls.py",
        "    context.maximum_version = ssl.TLSVersion.TLSv1_3\n",
        "",
        f"{TRUST}a_configuration_of_openssl_and_the_environment_change_nothing",
    ),
    Mutant(
        "the environment cannot make the router write TLS session keys to a file",
        "fastpty/net/tls.py",
        "    context.post_handshake_auth = False\n",
        '    context.keylog_filename = os.environ.get("SSLKEYLOGFILE")\n',
        f"{TRUST}a_configuration_of_openssl_and_the_environment_change_nothing",
    ),
    Mutant(
        "a certificate with an unreadable name is recognised by its other names",
        "fastpty/net/tls.py",
        "        if kind in _NAME_KINDS and value != _NO_ADDRESS:\n",
        "        if value != _NO_ADDRESS:\n",
        f"{TRUST}a_certificate_with_odd_names_is_taken_by_those_that_are_allowed_and_leaves_no_traceback"
        "[a directory name]",
    ),
    Mutant(
        "Python's placeholder for an unsupported kind of name is not taken for a name",
        "fastpty/net/tls.py",
        "        if kind in _NAME_KINDS and value != _NO_ADDRESS:\n",
        "        if isinstance(value, str) and value != _NO_ADDRESS:\n",
        f"{TRUST}python_s_description_of_an_unprintable_name_is_not_a_name",
    ),
    Mutant(
        "Python's placeholder for an invalid address is not taken for a name",
        "fastpty/net/tls.py",
        "        if kind in _NAME_KINDS and value != _NO_ADDRESS:\n",
        "        if kind in _NAME_KINDS:\n",
        f"{TRUST}python_s_description_of_an_unprintable_name_is_not_a_name",
    ),
    Mutant(
        "a certificate that Python cannot decode is refused in one line",
        "fastpty/gateways/tls_connections.py",
        "    except ValueError as error:\n",
        "    except KeyError as error:\n",
        f"{TRUST}a_certificate_whose_name_is_no_text_is_refused_in_one_line",
    ),
    Mutant(
        "the client reports a name that no certificate can have in one line",
        "fastpty/client/tunnel.py",
        "    except ValueError as error:  # empty",
        "    except KeyError as error:  # empty",
        f"{TRUST}the_client_reports_a_name_that_no_certificate_can_have_in_one_line",
    ),
)

_FILES = (
    Mutant(
        "a TLS file of another user is refused",
        "fastpty/net/tls_files.py",
        "    if status.st_uid not in {0, os.geteuid()}:\n",
        "    if False:\n",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[another user's-tls-ca]",
    ),
    Mutant(
        "a TLS file that a group may write to is refused",
        "fastpty/net/tls_files.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWOTH",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[the group may write-tls-cert]",
    ),
    Mutant(
        "a TLS file that everybody may write to is refused",
        "fastpty/net/tls_files.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWGRP",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[everybody may write-tls-key]",
    ),
    Mutant(
        "a FIFO in place of a TLS file does not block the start",
        "fastpty/net/tls_files.py",
        "flags | os.O_NONBLOCK | os.O_NOCTTY",
        "flags | os.O_NOCTTY",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[a fifo-tls-ca]",
    ),
    Mutant(
        "the size of a TLS file is limited",
        "fastpty/net/tls_files.py",
        "    if not problem and len(content) > _BYTES_MOST:\n",
        "    if False:\n",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[huge-tls-cert]",
    ),
    Mutant(
        "a key that everybody may read is refused",
        "fastpty/net/tls_files.py",
        "    if is_secret and status.st_mode & stat.S_IROTH:\n",
        "    if False:\n",
        f"{FILES}a_key_that_every_user_may_read_is_refused",
    ),
    Mutant(
        "the client also checks who may write to its key",
        "fastpty/net/tls.py",
        'read_pem("tls-key", identity.key, is_secret=True)',
        'open(identity.key, "rb").read()',
        f"{FILES}the_client_refuses_a_key_that_others_may_read_or_that_is_no_file[everybody may write]",
    ),
)

_PROCESS = (
    Mutant(
        "the TLS process of a root router runs as another user",
        "fastpty/gateways/tls_gateway.py",
        "            privileges.drop(number, number, [])\n",
        "            pass\n",
        f"{PROCESS}the_tls_process_of_root_runs_as_an_unused_user_without_rights[root]",
    ),
    Mutant(
        "processes of user nobody cannot signal the TLS process",
        "fastpty/gateways/tls_gateway.py",
        "            privileges.drop(number, number, [])\n",
        "            privileges.drop(65534, 65534, [])\n",
        f"{PROCESS}a_process_of_user_nobody_cannot_signal_the_tls_process",
    ),
    Mutant(
        "the TLS processes of two routers run as different users",
        "fastpty/system/unused_id.py",
        "        if number not in taken and",
        "        number = _RANGE[0]\n        if",
        f"{PROCESS}the_tls_processes_of_two_routers_cannot_signal_each_other",
    ),
    Mutant(
        "the TLS process gains no rights",
        "fastpty/gateways/tls_gateway.py",
        "    linux.capset(0, 0, 0)\n",
        "",
        f"{PROCESS}without_an_unused_user_the_router_warns_and_serves",
    ),
    Mutant(
        "a session cannot read the memory of the TLS process",
        "fastpty/gateways/tls_gateway.py",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 0)",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 1)",
        f"{PROCESS}no_session_can_read_the_tls_process_s_memory",
    ),
    Mutant(
        "the TLS process holds only its sockets and the log",
        "fastpty/gateways/tls_gateway.py",
        "    child.keep_only([0, 1, 2, *log.descriptors(), *own])\n",
        "    assert own\n",
        f"{PROCESS}the_tls_process_holds_its_sockets_and_the_log_and_nothing_else",
    ),
    Mutant(
        "the TLS process does not map the workers' shared memory",
        "fastpty/gateways/gateway.py",
        "            in_child()\n",
        "",
        f"{PROCESS}the_tls_process_holds_its_sockets_and_the_log_and_nothing_else",
    ),
    Mutant(
        "the supervisor replaces the TLS process when it dies, and says so",
        "fastpty/supervision/supervisor.py",
        "                each.reaped(found.si_pid, code)\n",
        "                pass\n",
        f"{PROCESS}a_tls_process_that_dies_is_replaced_also_in_a_jail",
    ),
    Mutant(
        "a stopped TLS process does not delay the router's end",
        "fastpty/gateways/gateway.py",
        "            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)\n",
        "            pass\n",
        f"{PROCESS}a_stopped_tls_process_does_not_delay_the_end_of_the_router",
    ),
)

TLS = (*_TRUST, *_FILES, *_PROCESS)
