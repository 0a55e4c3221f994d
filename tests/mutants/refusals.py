"""Clients that are refused again and again, and peers that disappear without closing their connection."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

REFUSALS = (
    Mutant(
        "the number of refused clients whose connection stays open to read the reason is limited",
        "fastpty/relay/refuse.pxd",
        "    if not stays:\n",
        "    if False:\n",
        "access/test_refusals.py::test_a_client_refused_again_and_again_takes_no_descriptor_from_others",
    ),
    Mutant(
        "a refused client that is disconnected at once and has sent something sees an end, not a reset",
        "fastpty/relay/refuse.pxd",
        "    read(fd, dropped, sizeof(dropped))\n",
        "",
        "access/test_refusals.py::test_a_client_refused_again_and_again_takes_no_descriptor_from_others",
    ),
    Mutant(
        "a refused client that has left makes room for another one",
        "fastpty/relay/begin.pxd",
        "    loop.refused -= session.refused\n",
        "",
        "access/test_refusals.py::test_after_a_flood_a_refused_client_reads_why_even_if_it_had_sent_something",
    ),
    Mutant(
        "equal refusals are logged as a count",
        "fastpty/access/refusals.py",
        "        if burst.logged == _LOGGED_MOST:",
        "        if False:",
        "access/test_refusals.py::test_the_log_has_few_lines_about_a_flood_of_refusals_and_their_number",
    ),
    Mutant(
        "the count of further refusals is logged even if no client comes any more",
        "fastpty/sessions/handler.py",
        "        return self._refusals.sum_up() or bool(self._undecided)\n",
        "        self._refusals.sum_up()\n        return bool(self._undecided)\n",
        "access/test_refusals.py::test_the_log_has_few_lines_about_a_flood_of_refusals_and_their_number[False]",
    ),
    Mutant(
        "the count of further refusals is logged at the router's end",
        "fastpty/supervision/worker.py",
        "            self._sessions.close()\n",
        "",
        "access/test_refusals.py::test_the_log_has_few_lines_about_a_flood_of_refusals_and_their_number[True]",
    ),
    Mutant(
        "a refused client has no second line in the log",
        "fastpty/sessions/handler.py",
        "        self._refused.add(number)\n",
        "        pass\n",
        "access/test_refusals.py::test_the_log_has_few_lines_about_a_flood_of_refusals_and_their_number",
    ),
)

VANISHED = (
    Mutant(
        "a TCP client that vanishes while its program prints is noticed",
        "fastpty/net/tcp.py",
        "        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MOST_MS)\n",
        "        pass\n",
        "net/test_tcp.py::test_a_client_that_disappears_during_output_is_detected",
    ),
    Mutant(
        "a TLS client that vanishes is noticed",
        "fastpty/gateways/tls_connections.py",
        "            tcp.prepare(network)\n",
        "",
        "net/test_tcp.py::test_a_tls_client_that_disappears_is_detected",
    ),
    Mutant(
        "a client notices that its router has vanished",
        "fastpty/net/address.py",
        "tcp.prepare(sock)",
        "sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)",
        "net/test_tcp.py::test_the_client_detects_a_router_that_disappears",
    ),
)
