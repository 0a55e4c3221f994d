"""Socket files and their directories, what is open to the network, and TLS."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FILES = (
    Mutant(
        "a socket file is private from its first instant",
        "fastpty/listening/bind.py",
        "            os.fchmod(sock.fileno(), 0o600)\n",
        "            pass\n",
        "listening/test_bind.py::test_a_socket_file_is_private_from_its_first_instant",
    ),
    Mutant(
        "a socket file is private by default",
        "fastpty/configuration/options.py",
        'default="0600"',
        'default="0666"',
        "listening/test_router_sockets.py::test_a_socket_file_is_private_to_its_owner",
    ),
    Mutant(
        "a socket file belongs to the user that the router becomes",
        "fastpty/listening/places.py",
        "        owner = (-1 if config.uid is None",
        "        owner = None and (-1 if config.uid is None",
        "listening/test_router_sockets.py::test_a_socket_file_belongs_to_the_user_that_the_router_becomes",
    ),
    Mutant(
        "a symbolic link at the socket's path is not followed",
        "fastpty/listening/bind.py",
        "        found = os.lstat(path)\n    except FileNotFoundError:",
        "        found = os.stat(path)\n    except FileNotFoundError:",
        "listening/test_socket_attacks.py::test_a_symbolic_link_in_a_shared_directory_is_not_followed",
    ),
    Mutant(
        "a symbolic link created between the check and the bind is not followed",
        "fastpty/listening/bind.py",
        "        sock.bind(target)\n",
        "        sock.bind(os.path.realpath(target) if isinstance(address, UnixAddress) else target)\n",
        "listening/test_socket_attacks.py::test_a_symbolic_link_created_just_before_the_bind_is_not_followed",
    ),
    Mutant(
        "a file that is not a socket is left alone",
        "fastpty/listening/bind.py",
        "    if not stat.S_ISSOCK(found.st_mode):\n",
        "    if False:\n",
        "listening/test_bind.py::test_a_file_that_is_no_socket_is_left_alone",
    ),
    Mutant(
        "the mode is set on the socket, not on a file that its new owner puts there",
        "fastpty/listening/bind.py",
        "                os.chmod(file, mode)\n",
        "                os.chmod(path, mode)\n",
        "listening/test_socket_attacks.py::test_the_socket_s_new_owner_cannot_change_the_mode_of_a_file_of_root_s",
    ),
    Mutant(
        "the owner is set on the bound socket, not on a file that replaced it",
        "fastpty/listening/bind.py",
        "        if not (stat.S_ISSOCK(found.st_mode) and found.st_nlink == 1 and listener.owns_file()):\n",
        "        if False:\n",
        "listening/test_socket_attacks.py::test_a_file_that_replaces_the_socket_before_the_chown_keeps_its_owner",
    ),
    Mutant(
        "a stranger's stale socket in a shared directory stays",
        "fastpty/listening/bind.py",
        "    _check_owner(path, found.st_uid, owner)\n",
        "",
        "listening/test_socket_attacks.py::test_a_stranger_s_stale_socket_in_a_shared_directory_is_not_removed",
    ),
    Mutant(
        "a live socket is not taken over",
        "fastpty/listening/bind.py",
        "    if result == errno.ECONNREFUSED:\n",
        "    if result in (errno.EPROTOTYPE, errno.ECONNREFUSED):\n",
        "listening/test_bind.py::test_a_live_socket_is_not_stolen",
    ),
    Mutant(
        "a live socket with a full queue is not taken over",
        "fastpty/listening/bind.py",
        "socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n",
        "socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n"
        "        result = errno.ECONNREFUSED if result == errno.EAGAIN else result\n",
        "listening/test_bind.py::test_a_live_socket_with_a_full_queue_is_not_stolen",
    ),
    Mutant(
        "a socket that is about to listen is not taken over",
        "fastpty/listening/bind.py",
        "            _flock(lock)\n",
        "",
        "listening/test_bind.py::test_checking_and_binding_wait_for_another_router_that_does_the_same",
    ),
    Mutant(
        "a file that another program put there is not removed at the end",
        "fastpty/listening/bind.py",
        "            elif self._file is not None and self.owns_file():\n",
        "            elif self._file is not None:\n",
        "listening/test_bind.py::test_closing_does_not_remove_a_file_that_somebody_else_put_there",
    ),
    Mutant(
        "a directory in which everybody may replace files is refused",
        "fastpty/net/socket_directory.py",
        "        if writers & stat.S_IWOTH:\n",
        "        if False:\n",
        "listening/test_socket_attacks.py::test_a_directory_in_which_everybody_may_replace_files_is_refused",
    ),
    Mutant(
        "the directories above the socket's are checked, too",
        "fastpty/net/socket_directory.py",
        "place, above = above, os.path.dirname(above)",
        "place = above",
        "listening/test_socket_attacks.py::test_a_directory_in_which_everybody_may_replace_files_is_refused",
    ),
    Mutant(
        "a directory that a group may write to causes a warning",
        "fastpty/net/socket_directory.py",
        "        if writers & stat.S_IWGRP and ",
        "        if False and ",
        "listening/test_socket_attacks.py::test_a_directory_of_another_user_or_group_is_warned_of",
    ),
    Mutant(
        "a directory of another user causes a warning",
        "fastpty/net/socket_directory.py",
        "        if found.st_uid not in (0, *trusted):\n",
        "        if False:\n",
        "listening/test_socket_attacks.py::test_a_directory_of_another_user_or_group_is_warned_of",
    ),
    Mutant(
        "a sticky directory of another user causes a warning",
        "fastpty/net/socket_directory.py",
        "        writers = 0 if found.st_mode & stat.S_ISVTX else found.st_mode\n",
        "        if found.st_mode & stat.S_ISVTX:\n            continue\n        writers = found.st_mode\n",
        "listening/test_socket_attacks.py::test_a_sticky_directory_of_another_user_is_warned_of",
    ),
)

NETWORK = (
    Mutant(
        "TCP beyond loopback needs TLS or insecure-tcp",
        "fastpty/configuration/checks.py",
        "        if not (address.is_loopback or config.insecure_tcp or speaks_tls):\n",
        "        if False:\n",
        "supervision/test_router.py::test_a_mistake_is_reported_in_one_line_with_a_status",
    ),
    Mutant(
        "TLS for sessions does not open the statistics to the network",
        "fastpty/configuration/checks.py",
        "config.tls_identity and address in for_sessions\n",
        "config.tls_identity\n",
        "configuration/test_config.py::test_tls_does_not_open_the_statistics_to_the_network",
    ),
    Mutant(
        "an address without a host does not count as loopback",
        "fastpty/net/address.py",
        "bool(self.host) and all(",
        "all(",
        "supervision/test_router.py::test_a_mistake_is_reported_in_one_line_with_a_status",
    ),
    Mutant(
        "a name with an address beyond loopback does not count as loopback",
        "fastpty/net/address.py",
        "bool(self.host) and all(",
        "bool(self.host) and any(",
        "net/test_address.py::test_a_name_that_resolves_to_one_address_of_the_network_is_not_loopback",
    ),
    Mutant(
        "incomplete TLS options do not give plain TCP",
        "fastpty/configuration/checks.py",
        "    if any(files) and not all(files):\n",
        "    if False:\n",
        "gateways/test_tls.py::test_unusable_tls_options_are_refused_at_the_start",
    ),
    Mutant(
        "allow-tls-name without TLS does not give plain TCP",
        "fastpty/configuration/checks.py",
        "        if names and not any(files):\n",
        "        if False:\n",
        "gateways/test_tls.py::test_unusable_tls_options_are_refused_at_the_start",
    ),
)

TLS = (
    Mutant(
        "an address open to the network speaks TLS",
        "fastpty/gateways/tls_gateway.py",
        "            if place.listener.socket.family != socket.AF_UNIX:\n",
        "            if False:\n",
        "gateways/test_tls.py::test_an_open_address_is_allowed_with_tls",
    ),
    Mutant(
        "a client without a certificate gets no session",
        "fastpty/net/tls.py",
        "    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.verify_mode = ssl.CERT_OPTIONAL\n",
        "gateways/test_tls.py::test_a_client_without_a_trusted_certificate_gets_no_session[none]",
    ),
    Mutant(
        "a client with another authority's certificate gets no session",
        "fastpty/net/tls.py",
        "    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.verify_mode = ssl.CERT_NONE if server else ssl.CERT_REQUIRED\n",
        "gateways/test_tls.py::test_a_client_without_a_trusted_certificate_gets_no_session[a stranger's]",
    ),
    Mutant(
        "TLS older than 1.3 is refused",
        "fastpty/net/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_3\n",
        "",
        "gateways/test_tls.py::test_a_client_that_offers_only_tls_1_2_is_refused",
    ),
    Mutant(
        "only certificates with an allowed name get a session",
        "fastpty/gateways/tls_connections.py",
        "        if self._allowed and not self._allowed.intersection(names):\n",
        "        if False:\n",
        "gateways/test_tls.py::test_allow_tls_name_decides_by_the_certificate_s_names",
    ),
    Mutant(
        "the client accepts only a certificate of its authority",
        "fastpty/net/tls.py",
        "    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.check_hostname = False\n"
        "    context.verify_mode = ssl.CERT_REQUIRED if server else ssl.CERT_NONE\n",
        "gateways/test_tls.py::test_the_client_refuses_a_router_without_a_valid_certificate",
    ),
    Mutant(
        "the client accepts only a certificate for the router's name",
        "fastpty/net/tls.py",
        "    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.verify_mode = ssl.CERT_REQUIRED\n    context.check_hostname = False\n",
        "gateways/test_tls.py::test_the_client_refuses_a_router_without_a_valid_certificate",
    ),
    Mutant(
        "a connection that is cut is not taken for the end of the input",
        "fastpty/net/tls.py",
        '                raise ConnectionError("it was cut off: the other side sent no close_notify") from None\n',
        '                data = b""\n',
        "gateways/test_tls.py::test_a_connection_that_is_cut_hangs_up_and_does_not_end_the_input",
    ),
    Mutant(
        "the key is read while the router is still root",
        "fastpty/gateways/tls_gateway.py",
        "Connections(fronts, contexts, allowed",
        "Connections(fronts, {False: context_of(identity, server=True)}, allowed",
        "gateways/test_tls.py::test_only_root_needs_to_read_the_key_and_the_proxy_runs_as_the_router_s_user",
    ),
    Mutant(
        "only the proxy can connect to the relay behind it",
        "fastpty/gateways/tls_front.py",
        "        os.unlink(path)\n",
        "        pass\n",
        "gateways/test_tls.py::test_the_socket_between_the_proxy_and_the_relay_has_no_name_in_the_file_system",
    ),
)

SOCKETS = (*FILES, *NETWORK, *TLS)
