"""What TLS clients would keep for longer than is their due."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "gateways/test_tls_attacks.py::test_"

TLS_ATTACKS = (
    Mutant(
        "a handshake that trickles ends in time",
        "fastpty/net/tls.py",
        '    if left <= 0:\n        raise TimeoutError("timed out")\n    return left',
        "    return max(1.0, left)",
        f"{TESTS}a_handshake_that_trickles_ends_in_time_and_who_waits_is_served",
    ),
    Mutant(
        "who was refused and goes on sending is cut off",
        "fastpty/net/tls.py",
        "                self._network.settimeout(_left(deadline))\n                if not",
        "                self._network.settimeout(_LINGER_SECONDS)\n                if not",
        f"{TESTS}who_was_refused_and_goes_on_sending_is_cut_off",
    ),
    Mutant(
        "who asks for new keys without reading the answers waits",
        "fastpty/net/tls.py",
        "len(self._to_plain) < self._high_water_bytes and len(self._to_network) < without_answers\n",
        "len(self._to_plain) < self._high_water_bytes\n",
        f"{TESTS}who_asks_for_new_keys_without_reading_the_answers_waits_and_loses_nothing",
    ),
    Mutant(
        "who never reads does not stay when the session has ended",
        "fastpty/net/tls.py",
        "            if self._taken - before < _LEFTOVER_BYTES:\n",
        "            if False:\n",
        f"{TESTS}who_never_reads_does_not_stay_when_the_session_has_ended",
    ),
    Mutant(
        "the plain end's hang-up is noticed while nothing is wanted of it",
        "fastpty/net/tls.py",
        "        if wanted or self._look_at is None:\n",
        "        if wanted or not (self._plain_open and self._to_network):\n",
        f"{TESTS}who_never_reads_does_not_stay_when_the_session_has_ended",
    ),
    Mutant(
        "who reads slowly gets what was left when the session had ended",
        "fastpty/net/tls.py",
        "            if self._taken - before < _LEFTOVER_BYTES:\n",
        "            if True:\n",
        f"{TESTS}who_reads_slowly_gets_what_was_left_when_the_session_had_ended",
    ),
    Mutant(
        "clients over the limit do not add up",
        "fastpty/net/tls.py",
        'is to be taken in time."""\n        self._network_open = False\n',
        'is to be taken in time."""\n',
        f"{TESTS}clients_over_the_limit_that_never_read_do_not_add_up",
    ),
)
