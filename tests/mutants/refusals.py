"""Who vanishes without a word."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

VANISHED = (
    Mutant(
        "a TCP client that vanishes while its program prints is noticed",
        "fastpty/tcp.py",
        "        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MOST_MS)\n",
        "        pass\n",
        "test_tcp.py::test_a_client_that_vanishes_while_its_program_prints_is_noticed",
    ),
    Mutant(
        "a TLS client that vanishes is noticed",
        "fastpty/tls_connections.py",
        "            tcp.prepare(network)\n",
        "",
        "test_tcp.py::test_a_tls_client_that_vanishes_is_noticed",
    ),
    Mutant(
        "a client notices that its router has vanished",
        "fastpty/address.py",
        "tcp.prepare(sock)",
        "sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)",
        "test_tcp.py::test_a_router_that_vanishes_is_noticed_by_its_client",
    ),
)
