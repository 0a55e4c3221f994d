"""Inherited sockets, socket files, refusals, statistics, and who a denied user can pass for."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INHERITED = (
    Mutant(
        "an inherited socket that others may write to is refused",
        "fastpty/inherited.py",
        "    if there & ~wanted and not has_rule:\n",
        "    if False:\n",
        "test_inherited.py::test_an_inherited_socket_that_others_may_write_to_is_refused",
    ),
    Mutant(
        "a mode that an inherited socket lacks is refused",
        "fastpty/inherited.py",
        "    if wanted & ~there:\n",
        "    if False:\n",
        "test_inherited.py::test_a_mode_that_was_asked_for_and_is_not_there_is_refused",
    ),
    Mutant(
        "run-as peer says nothing of the statistics",
        "fastpty/inherited.py",
        "(for_sessions and config.run_as == \"peer\")",
        "config.run_as == \"peer\"",
        "test_inherited.py::test_run_as_peer_opens_no_inherited_socket_of_the_statistics",
    ),
    Mutant(
        "an inherited socket of another user is refused",
        "fastpty/inherited.py",
        "        if owner[0] not in (0, os.geteuid(), config.uid) and not has_rule:\n",
        "        if False:\n",
        "test_inherited.py::test_an_inherited_socket_of_another_user_is_refused",
    ),
    Mutant(
        "an owner that an inherited socket lacks is refused",
        "fastpty/inherited.py",
        "    elif any(wanted not in (-1, there)",
        "    elif False and any(wanted not in (-1, there)",
        "test_inherited.py::test_an_inherited_socket_of_another_user_is_refused",
    ),
    Mutant(
        "the mode is that of the inherited socket's own file",
        "fastpty/listening.py",
        "            self._pin = fcntl.ioctl(self.socket, _SIOCUNIXFILE)\n            return\n",
        "            pass\n",
        "test_inherited.py::test_the_file_is_the_socket_s_own_also_where_its_name_means_another",
    ),
    Mutant(
        "an inherited socket without a file that can be seen is refused",
        "fastpty/inherited.py",
        "        if not has_rule:\n            raise",
        "        if False:\n            raise",
        "test_inherited.py::test_an_inherited_socket_whose_file_is_not_to_be_found_is_refused_without_a_rule",
    ),
    Mutant(
        "an inherited abstract name is as open as a file of mode 666",
        "fastpty/inherited.py",
        "is as mode 666\", 0o666, ",
        "is as mode 666\", 0o600, ",
        "test_inherited.py::test_an_inherited_abstract_name_needs_to_be_meant",
    ),
    Mutant(
        "an inherited port that is open to the network is refused",
        "fastpty/inherited.py",
        "    if not (where.is_loopback or ",
        "    if not (True or ",
        "test_inherited.py::test_an_inherited_port_that_is_open_to_the_network_needs_to_be_insisted_on",
    ),
    Mutant(
        "reuse-port is not left out in silence",
        "fastpty/inherited.py",
        "    if config.reuse_port and not ",
        "    if False and not ",
        "test_inherited.py::test_options_that_an_inherited_port_cannot_have_are_refused",
    ),
    Mutant(
        "listen holds for an inherited socket",
        "fastpty/listening.py",
        "    sock.listen(backlog)  # again: ",
        "    # again: ",
        "test_inherited.py::test_listen_holds_for_an_inherited_socket",
    ),
    Mutant(
        "a socket that is neither local nor TCP is refused",
        "fastpty/listening.py",
        "    if sock.family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) or ",
        "    if ",
        "test_inherited.py::test_what_is_neither_local_nor_tcp_is_refused",
    ),
    Mutant(
        "a reload looks at inherited sockets",
        "fastpty/listeners.py",
        "                self._look_at_inherited(self._places[where], config)\n",
        "                if not known:\n                    self._look_at_inherited(self._places[where], config)\n",
        "test_inherited.py::test_a_reload_does_not_open_an_inherited_socket",
    ),
)

FILES = (
    Mutant(
        "a second start opens no session",
        "fastpty/listening.py",
        "socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n",
        "socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:\n        result = probe.connect_ex(path)\n",
        "test_socket_files.py::test_a_second_start_opens_no_session_in_the_router_that_is_there",
    ),
    Mutant(
        "a datagram socket is not taken for stale",
        "fastpty/listening.py",
        "    elif result in (0, errno.EPROTOTYPE, errno.EPERM):",
        "    elif result in (errno.EPROTOTYPE, errno.EPERM):",
        "test_socket_files.py::test_a_datagram_socket_is_alive_too",
    ),
    Mutant(
        "a socket file that the router may not remove is removed",
        "fastpty/listeners.py",
        "    return jail.hides_files(config) or (",
        "    return False and (",
        "test_socket_files.py::test_no_socket_file_stays_behind",
    ),
    Mutant(
        "what removes the socket files ends with its router",
        "fastpty/removal.py",
        "    poll.register(maker, select.POLLIN)\n",
        "    orders.dup().detach()\n    os.dup(maker)\n",
        "test_socket_files.py::test_what_removes_the_socket_files_ends_with_a_router_that_is_killed",
    ),
    Mutant(
        "what removes the socket files holds none of the router's descriptors",
        "fastpty/removal.py",
        "        os.dup2(null, standard)\n",
        "        pass\n",
        "test_socket_files.py::test_what_removes_the_socket_files_ends_with_a_router_that_is_killed",
    ),
    Mutant(
        "no file of another program is removed in the router's name",
        "fastpty/removal.py",
        "            return _DONE  # another program's\n",
        "            pass\n",
        "test_socket_files.py::test_a_file_of_somebody_else_s_is_not_removed_in_the_router_s_name",
    ),
    Mutant(
        "whoever may replace a directory has no other file removed",
        "fastpty/removal.py",
        "        os.unlink(name, dir_fd=directory)\n",
        "        os.unlink(path)\n",
        "test_socket_files.py::test_whoever_may_replace_a_directory_above_has_no_other_file_removed",
    ),
)

DOORS = (*INHERITED, *FILES)
