"""Users by the names of their certificates."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_NEGOTIATED = "gateways/test_tls_extension.py::"

TESTS = "gateways/test_tls_users.py::test_"

TLS_USERS = (
    Mutant(
        "a session of a certificate runs as the certificate's user",
        "fastpty/access/peer.py",
        'return Peer(f"TLS client {who} uid {user}", int(user), groups, is_admitted)',
        'return Peer(f"TLS client {who} uid {user}", 1, groups, is_admitted)',
        f"{TESTS}a_certificate_s_user_gets_a_session_of_its_own_account",
    ),
    Mutant(
        "a certificate without a user gets no account",
        "fastpty/access/rules.py",
        "        if self._run_as_peer and not peer.is_known:",
        "        if False:",
        f"{TESTS}a_certificate_without_a_user_gets_no_account",
    ),
    Mutant(
        "a certificate for root needs root to be allowed by name",
        "fastpty/access/rules.py",
        "if peer.uid == 0 and self._run_as_peer and 0 not in self._allow_users:",
        "if peer.uid == 0 and not peer.is_admitted and self._run_as_peer and 0 not in self._allow_users:",
        f"{TESTS}a_certificate_for_root_gets_a_session_only_if_root_is_allowed_by_name",
    ),
    Mutant(
        "deny rules apply to a certificate that allow-tls-name allows",
        "fastpty/access/rules.py",
        "        if self._denies:\n",
        "        if self._denies and not peer.is_admitted:\n",
        f"{TESTS}the_rules_about_users_hold_for_those_of_certificates",
    ),
    Mutant(
        "rules about groups apply to the groups of a certificate's user",
        "fastpty/access/peer.py",
        "groups = groups_of(int(user)) if groups_of else frozenset[int]()",
        "groups = frozenset[int]()",
        f"{TESTS}the_rules_about_users_hold_for_those_of_certificates",
    ),
    Mutant(
        "with rules about users, a certificate without a user is refused",
        "fastpty/sessions/handler.py",
        "bool(self._config.allow_tls_names)",
        "True",
        f"{TESTS}with_user_rules_a_certificate_without_a_user_is_refused",
    ),
    Mutant(
        "all certificates of a user share its session limit",
        "fastpty/sessions/handler.py",
        "self._limits.admit(self._config, self._rules.account_uid(client))",
        'self._limits.admit(self._config, None if "TLS" in client.text else client.uid)',
        f"{TESTS}certificates_of_one_user_share_its_session_limit",
    ),
    Mutant(
        "a certificate of two users is refused",
        "fastpty/gateways/tls_connections.py",
        "        if len(uids) > 1:",
        "        if False:",
        f"{TESTS}a_certificate_of_two_users_is_refused",
    ),
    Mutant(
        "a compromised proxy can claim only users of tls-user",
        "fastpty/access/peer.py",
        "    if int(user) not in users:",
        "    if False:",
        f"{TESTS}a_compromised_proxy_can_claim_only_users_of_tls_user",
    ),
    Mutant(
        "negotiation over TLS: the relay believes only a name that says so",
        "fastpty/relay/accept.pxd",
        "            arrival.is_extended = name_negotiated(<const uint8_t *>address.sun_path, size - before)\n",
        "            arrival.is_extended = True\n",
        _NEGOTIATED + "test_a_client_that_offers_no_extension_gets_the_protocol_of_the_address",
    ),
    Mutant(
        "negotiation over TLS: only the TLS process can say so",
        "fastpty/listening/places.py",
        '        return "behind tls" if self.is_behind_tls else "by name"\n',
        '        return "behind tls"\n',
        _NEGOTIATED + "test_a_name_as_of_the_tls_process_negotiates_nothing_without_tls",
    ),
    Mutant(
        "negotiation over TLS: a shared terminal does not offer it",
        "fastpty/gateways/tls_gateway.py",
        "negotiates=not place.is_shared)\n",
        "negotiates=True)\n",
        _NEGOTIATED + "test_a_shared_terminal_over_tls_negotiates_nothing",
    ),
    Mutant(
        "negotiation over TLS: a client that has negotiated is refused in frames",
        "fastpty/gateways/tls_connections.py",
        "_refusal(pump.has_negotiated)",
        "_refusal(False)",
        _NEGOTIATED + "test_a_client_is_refused_in_the_same_words_in_every_protocol",
    ),
    Mutant(
        "negotiation over TLS: the client tells why TLS has failed",
        "fastpty/client/tunnel.py",
        "        if failures and isinstance(error, NoAnswerError):",
        "        if False and isinstance(error, NoAnswerError):",
        "gateways/test_tls.py::test_a_client_without_a_trusted_certificate_gets_no_session",
    ),
)
