"""Whether the options of a Config go together: errors, and warnings about what may not be meant."""

from __future__ import annotations

from collections.abc import Iterable

from fastpty.configuration.config import Config
from fastpty.configuration.values import LISTENERS_MOST
from fastpty.errors import UsageError
from fastpty.net.address import AbstractAddress, TcpAddress


def check(config: Config) -> list[str]:
    """Lines of warning about what may not be meant; raises UsageError for options that do not go together."""
    _check_addresses(config)
    _check_jail(config)
    return [*_idle_hooks(config), *_doubts_of_rules(config), *_check_shared_terminal(config)]


def check_user_namespace(config: Config) -> None:
    """Raises UsageError for rules and limits about users, in a user namespace where users have other numbers.

    Another user's process could pass there for one that the rules let in, and all users of outside for one.
    """
    if config.has_rules or config.max_sessions_per_uid is not None:
        raise UsageError(
            "in another user namespace clients have other numbers than outside, so allow-user, allow-group, deny-user, "
            "deny-group and max-sessions-per-uid would mean other users: leave them out, and give the socket a mode "
            "and an owner (chmod-socket, chown-socket)"
        )
    if config.tls_users:
        raise UsageError(
            "in another user namespace users have other numbers than outside, so a certificate of tls-user would stand "
            "for another user: leave tls-user out, and use allow-tls-name"
        )


def _check_addresses(config: Config) -> None:
    for_sessions = config.raw_addresses + config.uwsgi_addresses + config.pty_addresses
    if config.is_client:
        if config.addresses or None not in (config.pty_connect, config.pty_uconnect):
            raise UsageError("pty-connect and pty-uconnect make this a client of one address, which listens nowhere")
        return
    if not for_sessions:
        raise UsageError(
            "nothing to listen on: give a socket, as in 'fastpty-router /tmp/fpty.socket' (--help has more)"
        )
    if len(for_sessions) > LISTENERS_MOST:
        raise UsageError(f"{len(for_sessions)} sockets for sessions are too many: give {LISTENERS_MOST} at the most")
    texts = [address.text for address in config.addresses]
    for text in texts:
        if texts.count(text) > 1:
            raise UsageError(f"{text} is given twice: a socket speaks one protocol, for one router")
    for address in config.addresses:
        speaks_tls = config.tls_identity and address in for_sessions
        if not (address.is_loopback or config.insecure_tcp or speaks_tls):
            tls = " or TLS (tls-cert)" if address in for_sessions else ""
            raise UsageError(
                f"{address.text} is open to the network, and nobody is asked for a password: "
                f"use a socket file, 127.0.0.1{tls}, or insist with insecure-tcp"
            )


def _check_jail(config: Config) -> None:
    if config.pivot_root and "mount" not in config.unshare and (config.setns, config.setns_pid) == (None, None):
        raise UsageError("pivot-root would change the root of the whole machine: add unshare = mount")


def _idle_hooks(config: Config) -> Iterable[str]:
    if not (config.unshare or config.jailed):
        for hook in config.hooks:
            if hook.phase == "post-jail":
                yield f"{hook.what} is not run, as in uWSGI: there is no unshare (jailed = true runs it nevertheless)"


def _check_shared_terminal(config: Config) -> list[str]:
    """Warnings about what is asked of the shared terminal; raises UsageError for what cannot be."""
    if config.pty_input and (config.daemonize or config.daemonize2):
        raise UsageError("pty-input needs the terminal that the router was started on: leave daemonize out")
    if config.pty_addresses and config.run_as is not None:
        raise UsageError("a shared terminal runs as one account, not as each of its clients: leave run-as out")
    asked = {
        "pty-exec": config.pty_command is not None,
        "pty-once": config.pty_once,
        "pty-log": config.pty_log,
        "pty-input": config.pty_input,
    }
    if config.pty_addresses:
        return []
    return [f"{name} does nothing without pty-socket" for name, is_set in asked.items() if is_set]


def _doubts_of_rules(config: Config) -> Iterable[str]:
    """Warnings about addresses that are open to more than their owner may think.

    Raises UsageError for an address at which the rules could let nobody in, and where run-as and the jail contradict
    each other.
    """
    if config.run_as == "peer" and (config.uid, config.gid) != (None, None):
        raise UsageError("run-as peer needs root at every start of a session: leave out uid and gid")
    _check_tls(config)
    has_names = bool(config.tls_users or (config.allow_tls_names and config.run_as != "peer"))
    wants_users = config.has_rules or config.run_as == "peer"
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
    """As `_doubts_of_rules`. Statistics are served without TLS, and `run-as` means nothing here."""
    for address in config.stats_addresses:
        if config.has_rules and isinstance(address, TcpAddress):
            raise UsageError(
                f"{address.text} can tell nobody statistics: rules are about the users of socket files and abstract "
                "names, and TCP has none: leave one of the two out, or use a socket file"
            )
        if isinstance(address, AbstractAddress) and not config.has_rules:
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
