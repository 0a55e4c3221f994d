"""Users by the names of their certificates."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

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
)
