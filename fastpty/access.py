"""Whether the rules about users and groups fit the addresses that are listened on; `rules` applies them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastpty.address import AbstractAddress, TcpAddress
from fastpty.errors import UsageError

if TYPE_CHECKING:
    from fastpty.config import Config


def has_rules(config: Config) -> bool:
    """Whether there is any rule about users or groups."""
    return bool(config.allow_users or config.allow_groups or config.deny_users or config.deny_groups)


def check_user_namespace(config: Config) -> None:
    """Raises UsageError for rules and limits that are about users, in a user namespace where these have other numbers.

    Another user's process could pass there for one that the rules let in, and all of outside for one user.
    """
    if has_rules(config) or config.max_sessions_per_uid is not None:
        raise UsageError(
            "in another user namespace clients have other numbers than outside, so allow-user, allow-group, deny-user, "
            "deny-group and max-sessions-per-uid would mean other users: leave them out, and give the socket a mode "
            "and an owner (chmod-socket, chown-socket)"
        )


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
