"""What TLS clients would keep for longer than is their due."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "test_tls_attacks.py::test_"

TLS_ATTACKS = (
    Mutant(
        "a handshake that trickles ends in time",
        "fastpty/tls.py",
        '    if left <= 0:\n        raise TimeoutError("timed out")\n    return left',
        "    return max(0.01, left)",
        f"{TESTS}a_handshake_that_trickles_ends_in_time_and_who_waits_is_served",
    ),
    Mutant(
        "who was refused and goes on sending is cut off",
        "fastpty/tls.py",
        "                self._network.settimeout(_left(deadline))\n                if not",
        "                self._network.settimeout(_LINGER_SECONDS)\n                if not",
        f"{TESTS}who_was_refused_and_goes_on_sending_is_cut_off",
    ),
    Mutant(
        "who asks for new keys without reading the answers waits",
        "fastpty/tls.py",
        "len(self._to_plain) < self._high_water_bytes and len(self._to_network) < without_answers\n",
        "len(self._to_plain) < self._high_water_bytes\n",
        f"{TESTS}who_asks_for_new_keys_without_reading_the_answers_waits_and_loses_nothing",
    ),
)
