"""TLS clients that try to hold resources for too long."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "gateways/test_tls_attacks.py::test_"

TLS_ATTACKS = (
    Mutant(
        "a slow handshake times out",
        "fastpty/net/tls.py",
        '    if left <= 0:\n        raise TimeoutError("timed out")\n    return left',
        "    return max(1.0, left)",
        f"{TESTS}a_slow_handshake_times_out_and_the_next_client_is_served",
    ),
    Mutant(
        "a refused client that goes on sending is cut off",
        "fastpty/net/tcp.py",
        "        while (left := deadline - time.monotonic()) > 0:\n            connection.settimeout(left)\n",
        "        while True:\n            connection.settimeout(_LINGER_SECONDS)\n",
        f"{TESTS}a_refused_client_that_goes_on_sending_is_cut_off",
    ),
    Mutant(
        "a client that requests key updates without reading the answers has to wait",
        "fastpty/net/tls.py",
        "len(self._to_plain) < self._high_water_bytes and len(self._to_network) < without_answers\n",
        "len(self._to_plain) < self._high_water_bytes\n",
        f"{TESTS}a_client_that_requests_keys_without_reading_waits_and_loses_nothing",
    ),
    Mutant(
        "a client that never reads is dropped after its session",
        "fastpty/net/tls.py",
        "            if self._received_by_peer - before < _LEFTOVER_BYTES:\n",
        "            if False:\n",
        f"{TESTS}a_client_that_never_reads_is_dropped_after_its_session",
    ),
    Mutant(
        "the proxy notices that the relay has hung up while it neither reads nor writes there",
        "fastpty/net/tls.py",
        "        if wanted or self._check_at is None:\n",
        "        if wanted or not (self._plain_open and self._to_network):\n",
        f"{TESTS}a_client_that_never_reads_is_dropped_after_its_session",
    ),
    Mutant(
        "a slow client gets the rest of the output after its session",
        "fastpty/net/tls.py",
        "            if self._received_by_peer - before < _LEFTOVER_BYTES:\n",
        "            if True:\n",
        f"{TESTS}a_slow_client_gets_the_rest_after_its_session",
    ),
    Mutant(
        "clients over the limit do not add up",
        "fastpty/net/tls.py",
        'a deadline for the rest."""\n        self._network_open = False\n',
        'a deadline for the rest."""\n',
        f"{TESTS}clients_over_the_limit_that_never_read_do_not_add_up",
    ),
    Mutant(
        "a plain client on a TLS port gets a line",
        "fastpty/gateways/tls_connections.py",
        "            if not begins_with_hello(network, deadline):\n",
        "            if False:\n",
        "gateways/test_tls_strays.py::test_a_plain_client_on_a_tls_port_gets_a_line_and_a_close",
    ),
    Mutant(
        "a plain client that waits for a prompt of a TLS port gets a line",
        "fastpty/net/tls.py",
        "    except TimeoutError:\n        return False\n",
        "    except ZeroDivisionError:\n        return False\n",
        "gateways/test_tls_strays.py::test_a_plain_client_that_waits_for_a_prompt_of_a_tls_port_gets_a_line_in_time",
    ),
    Mutant(
        "a plain client that stays holds no place of TLS clients",
        "fastpty/net/tcp.py",
        "        while (left := deadline - time.monotonic()) > 0:\n            connection.settimeout(left)\n",
        "        while True:\n            connection.settimeout(None)\n",
        "gateways/test_tls_strays.py::test_plain_clients_that_stay_hold_no_place_of_tls_clients",
    ),
)
