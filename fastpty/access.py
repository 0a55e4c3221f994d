"""Who may connect: the rules about users and groups, and whether they fit the addresses that are listened on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastpty.address import AbstractAddress, TcpAddress
from fastpty.errors import RefusedError, UsageError
from fastpty.identity import Peer

if TYPE_CHECKING:
    from fastpty.config import Config


_NOBODY_S = "the rules of this router are about users, and your connection has none"


class Rules:
    """`allow-user`, `allow-group`, `deny-user` and `deny-group`, as sshd_config(5) has them.

    A deny rule wins over every allow rule. Where there is an allow rule, whom none of them names is refused; root
    is nobody special. Whom `tls-user` names is that user here; allow-tls-name is an allow rule as well. Where there
    is any rule, a client that is nobody's (TCP) is refused, unless allow-tls-name has let its certificate in.
    """

    def __init__(self, config: Config) -> None:
        self._allow_users = frozenset(config.allow_users)
        self._allow_groups = frozenset(config.allow_groups)
        self._deny_users = frozenset(config.deny_users)
        self._deny_groups = frozenset(config.deny_groups)
        self._any = has_rules(config)
        self._run_as_peer = config.run_as == "peer"

    @property
    def need_groups(self) -> bool:
        """Whether a client's supplementary groups matter."""
        return bool(self._allow_groups or self._deny_groups)

    def check(self, peer: Peer) -> None:
        """Raises RefusedError, with a text for the client, unless it may have a session."""
        if self._run_as_peer and not peer.is_known:
            raise RefusedError(_NOBODY_S)
        self.check_connection(peer)
        if peer.uid == 0 and self._run_as_peer and 0 not in self._allow_users:
            raise RefusedError("root may not connect here (it needs allow-user root)")

    def check_connection(self, peer: Peer) -> None:
        """Raises RefusedError, with a text for the client, unless it may connect, whatever it is given there."""
        if not peer.is_known:
            if self._any and not peer.is_admitted:
                raise RefusedError(_NOBODY_S)
            return
        denied = peer.uid in self._deny_users or peer.groups & self._deny_groups
        allowed = peer.is_admitted or peer.uid in self._allow_users or peer.groups & self._allow_groups
        if denied or ((self._allow_users or self._allow_groups) and not allowed):
            raise RefusedError(f"uid {peer.uid} may not connect here")


def has_rules(config: Config) -> bool:
    """Whether there is any rule about users or groups."""
    return bool(config.allow_users or config.allow_groups or config.deny_users or config.deny_groups)


def doubts(config: Config) -> Iterable[str]:
    """Warnings about addresses that are open to more than their owner may think.

    Raises UsageError for an address at which the rules could let nobody in, and where run-as and the jail contradict
    each other.
    """
    if config.run_as == "peer" and (config.uid, config.gid) != (None, None):
        raise UsageError("run-as peer needs root at every start of a session: leave out uid and gid")
    _check_tls(config)
    has_names = bool(config.tls_users or (config.allow_tls_names and config.run_as != "peer"))
    wants_users = has_rules(config) or config.run_as == "peer"
    for address in config.raw_addresses + config.uwsgi_addresses + config.pty_addresses:
        if wants_users and isinstance(address, TcpAddress) and not has_names:
            raise UsageError(
                f"{address.text} can let nobody in: rules and run-as are about the users of socket files and abstract "
                "names, and TCP has none: leave one of the two out, or use TLS with tls-user or, without run-as, "
                "allow-tls-name"
            )
        if isinstance(address, AbstractAddress) and not wants_users:
            yield (
                f"{address.text} has no file mode: every process of this network namespace may connect and gets a "
                "shell: say who may with allow-user or allow-group, or use a socket file"
            )
    yield from _doubts_of_statistics(config)


def _doubts_of_statistics(config: Config) -> Iterable[str]:
    """As `doubts`. Here TLS is not spoken, and nobody's rights are needed: run-as says nothing of these addresses."""
    for address in config.stats_addresses:
        if has_rules(config) and isinstance(address, TcpAddress):
            raise UsageError(
                f"{address.text} can tell nobody statistics: rules are about the users of socket files and abstract "
                "names, and TCP has none: leave one of the two out, or use a socket file"
            )
        if isinstance(address, AbstractAddress) and not has_rules(config):
            yield (
                f"{address.text} has no file mode: every process of this network namespace may connect and is told "
                "the statistics: say who may with allow-user or allow-group, or use a socket file"
            )


def _check_tls(config: Config) -> None:
    files = (config.tls_certificate, config.tls_key, config.tls_authorities)
    if any(files) and not all(files):
        raise UsageError("TLS needs all three of tls-cert, tls-key and tls-ca")
    for option, names in (("allow-tls-name", config.allow_tls_names), ("tls-user", config.tls_users)):
        if names and not any(files):
            raise UsageError(f"{option} needs TLS: give tls-cert, tls-key and tls-ca")
    users = dict(config.tls_users)
    for name, uid in config.tls_users:
        if users[name] != uid:
            raise UsageError(f"tls-user: {name} cannot be two users (uids {uid} and {users[name]})")
