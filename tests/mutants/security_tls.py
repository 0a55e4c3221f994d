"""TLS: what a certificate is believed for, where its files come from, and the process that ends it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TRUST = "gateways/test_tls_trust.py::test_"
FILES = "gateways/test_tls_files.py::test_"
PROCESS = "gateways/test_tls_process.py::test_"

_TRUST = (
    Mutant(
        "TCP's end alone is no end of the input, whatever is the default of Python's ssl",
        "fastpty/net/tls.py",
        "    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        "    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF if server else 0\n",
        "gateways/test_tls.py::test_a_connection_that_is_cut_hangs_up_and_is_no_end_of_input",
    ),
    Mutant(
        "TCP's end alone is no end of the session for the client either",
        "fastpty/net/tls.py",
        "    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        "    context.options |= 0 if server else ssl.OP_IGNORE_UNEXPECTED_EOF\n",
        f"{TRUST}output_that_was_cut_is_no_end_of_the_session_for_the_client",
    ),
    Mutant(
        "no session without showing the certificate, not by TLS resumption either",
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
        "OpenSSL's own configuration does not change which TLS is spoken",
        "fastpty/net/tls.py",
        "    context.maximum_version = ssl.TLSVersion.TLSv1_3\n",
        "",
        f"{TRUST}a_configuration_of_openssl_and_the_environment_change_nothing",
    ),
    Mutant(
        "the environment does not have the keys of sessions written down",
        "fastpty/net/tls.py",
        "    context.post_handshake_auth = False\n",
        '    context.keylog_filename = os.environ.get("SSLKEYLOGFILE")\n',
        f"{TRUST}a_configuration_of_openssl_and_the_environment_change_nothing",
    ),
    Mutant(
        "a certificate with a name that is no text of any kind is used by its others",
        "fastpty/net/tls.py",
        "        if kind in _NAME_KINDS and value != _NO_ADDRESS:\n",
        "        if value != _NO_ADDRESS:\n",
        f"{TRUST}a_certificate_with_odd_names_is_taken_by_those_that_are_allowed_and_leaves_no_traceback"
        "[a directory name]",
    ),
    Mutant(
        "Python's word for a kind of names that it cannot show is no name",
        "fastpty/net/tls.py",
        "        if kind in _NAME_KINDS and value != _NO_ADDRESS:\n",
        "        if isinstance(value, str) and value != _NO_ADDRESS:\n",
        f"{TRUST}python_s_description_of_an_unprintable_name_is_not_a_name",
    ),
    Mutant(
        "Python's word for an address that it cannot show is no name",
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
        "a name that no certificate can have is one line of the client",
        "fastpty/client/tunnel.py",
        "    except ValueError as error:  # empty",
        "    except KeyError as error:  # empty",
        f"{TRUST}a_name_that_no_certificate_can_have_is_one_line_of_the_client",
    ),
)

_FILES = (
    Mutant(
        "no file of TLS that belongs to another user",
        "fastpty/net/tls_files.py",
        "    if status.st_uid not in {0, os.geteuid()}:\n",
        "    if False:\n",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[another user's-tls-ca]",
    ),
    Mutant(
        "no file of TLS that a group may write to",
        "fastpty/net/tls_files.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWOTH",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[the group may write-tls-cert]",
    ),
    Mutant(
        "no file of TLS that everybody may write to",
        "fastpty/net/tls_files.py",
        "(stat.S_IWGRP | stat.S_IWOTH)",
        "stat.S_IWGRP",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[everybody may write-tls-key]",
    ),
    Mutant(
        "a FIFO in place of a file of TLS does not hold up the start",
        "fastpty/net/tls_files.py",
        "flags | os.O_NONBLOCK | os.O_NOCTTY",
        "flags | os.O_NOCTTY",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[a fifo-tls-ca]",
    ),
    Mutant(
        "a huge file of TLS is not read into memory",
        "fastpty/net/tls_files.py",
        "    if not problem and len(content) > _BYTES_MOST:\n",
        "    if False:\n",
        f"{FILES}a_tls_file_that_others_may_write_or_that_is_no_file_is_refused[huge-tls-cert]",
    ),
    Mutant(
        "no key that everybody may read",
        "fastpty/net/tls_files.py",
        "    if is_secret and status.st_mode & stat.S_IROTH:\n",
        "    if False:\n",
        f"{FILES}a_key_that_every_user_may_read_is_refused",
    ),
    Mutant(
        "the client, too, looks at who may write to its key",
        "fastpty/net/tls.py",
        'read_pem("tls-key", identity.key, is_secret=True)',
        'open(identity.key, "rb").read()',
        f"{FILES}the_client_refuses_a_key_that_others_may_read_or_that_is_no_file[everybody may write]",
    ),
)

_PROCESS = (
    Mutant(
        "the TLS process of root is another user",
        "fastpty/gateways/tls_gateway.py",
        "            privileges.drop(number, number, [])\n",
        "            pass\n",
        f"{PROCESS}the_tls_process_of_root_runs_as_an_unused_user_without_rights[root]",
    ),
    Mutant(
        "the TLS process is out of reach for what runs as nobody",
        "fastpty/gateways/tls_gateway.py",
        "            privileges.drop(number, number, [])\n",
        "            privileges.drop(65534, 65534, [])\n",
        f"{PROCESS}a_process_of_user_nobody_cannot_signal_the_tls_process",
    ),
    Mutant(
        "two routers do not share the user of their TLS processes",
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
        "the memory of the TLS process is out of a session's reach",
        "fastpty/gateways/tls_gateway.py",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 0)",
        "    linux.prctl(linux.PR_SET_DUMPABLE, 1)",
        f"{PROCESS}no_session_can_read_the_tls_process_s_memory",
    ),
    Mutant(
        "the TLS process holds its sockets and the log only",
        "fastpty/gateways/tls_gateway.py",
        "    child.keep_only([0, 1, 2, *log.descriptors(), *own])\n",
        "    assert own\n",
        f"{PROCESS}the_tls_process_holds_its_sockets_and_the_log_and_nothing_else",
    ),
    Mutant(
        "the TLS process has no memory in common with the workers",
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
        "a TLS process that stands still does not hold up the router's end",
        "fastpty/gateways/gateway.py",
        "            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)\n",
        "            pass\n",
        f"{PROCESS}a_stopped_tls_process_does_not_delay_the_end_of_the_router",
    ),
)

TLS = (*_TRUST, *_FILES, *_PROCESS)
