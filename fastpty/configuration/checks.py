"""Checks whether the options of a Config contradict each other, or may not do what was meant."""

from __future__ import annotations

from collections.abc import Iterable

from fastpty.configuration.config import LISTENERS_MOST, Config
from fastpty.errors import UsageError
from fastpty.net.address import AbstractAddress, Address, TcpAddress


def check(config: Config) -> list[str]:
    """Returns warnings about options that may not do what was meant; raises UsageError for contradictions."""
    _check_addresses(config)
    _check_jail(config)
    return [*_warn_of_idle_hooks(config), *_check_rules(config), *_check_shared_terminal(config)]


def check_user_namespace(config: Config) -> None:
    """Raises UsageError for rules and limits about users, in a user namespace in which users have other numbers.

    There a process of another user could have the number that a rule allows, and all users outside have one number.
    """
    if config.has_rules or config.max_sessions_per_uid is not None:
        raise UsageError(
            "in another user namespace users have other numbers than outside, so allow-user, allow-group, deny-user, "
            "deny-group and max-sessions-per-uid would apply to the wrong users: use chmod-socket and chown-socket"
        )
    if config.tls_users:
        raise UsageError(
            "in another user namespace users have other numbers than outside, so a certificate of tls-user would stand "
            "for another user: remove tls-user, and use allow-tls-name"
        )


def _check_addresses(config: Config) -> None:
    for_sessions = config.session_addresses
    if config.is_client:
        if config.addresses or None not in (config.pty_connect, config.pty_uconnect):
            raise UsageError("pty-connect and pty-uconnect connect to one address: remove all other addresses")
        return
    if not for_sessions:
        raise UsageError("nothing to listen on: give a socket, as in 'fastpty-router /tmp/fpty.socket' (see --help)")
    if len(for_sessions) > LISTENERS_MOST:
        raise UsageError(f"{len(for_sessions)} sockets for sessions are too many: the limit is {LISTENERS_MOST}")
    texts = [address.text for address in config.addresses]
    for text in texts:
        if texts.count(text) > 1:
            raise UsageError(f"{text} is given twice: keep one, because a socket serves one protocol only")
    for address in config.addresses:
        speaks_tls = config.tls_identity and address in for_sessions
        if not (address.is_loopback or config.insecure_tcp or speaks_tls):
            tls = ", TLS (tls-cert)" if address in for_sessions else ""
            raise UsageError(
                f"{address.text} is open to the network without authentication: "
                f"use a socket file, 127.0.0.1{tls} or, if you must, insecure-tcp"
            )


def _check_jail(config: Config) -> None:
    if config.pivot_root and "mount" not in config.unshare and (config.setns, config.setns_pid) == (None, None):
        raise UsageError("pivot-root would change the root of the whole machine: add unshare = mount")


def _warn_of_idle_hooks(config: Config) -> Iterable[str]:
    if not (config.unshare or config.jailed):
        for hook in config.hooks:
            if hook.phase == "post-jail":
                yield f"{hook.what} does not run without unshare (as in uWSGI): add jailed = true to run it"


def _sockets_of_shared(config: Config) -> list[tuple[str, tuple[Address, ...]]]:
    return [
        ("pty-socket", config.pty_addresses),
        ("pty-uwsgi-socket", config.pty_uwsgi_addresses),
        ("pty-viewer-socket", config.pty_viewer_addresses),
    ]


def _check_shared_terminal(config: Config) -> list[str]:
    """Returns warnings about options of the shared terminal; raises UsageError for contradictions."""
    if config.pty_input and (config.daemonize or config.daemonize2):
        raise UsageError("pty-input needs the terminal that the router was started on: remove daemonize")
    if config.shared_addresses and config.run_as is not None:
        option = next(name for name, addresses in _sockets_of_shared(config) if addresses)
        raise UsageError(f"run-as peer and {option} exclude each other: a shared terminal runs as one account")
    wanted = {
        "pty-exec": config.pty_command is not None,
        "pty-once": config.pty_once,
        "pty-size": config.pty_size is not None,
        "pty-log": config.pty_log,
        "pty-input": config.pty_input,
    }
    if config.shared_addresses:
        return []
    return [f"{name} has no effect without pty-socket" for name, is_set in wanted.items() if is_set]


def _check_rules(config: Config) -> Iterable[str]:
    """Warnings about addresses that admit more clients than their owner may think.

    Raises UsageError for an address at which the rules could admit nobody, and if run-as contradicts the jail.
    """
    if config.run_as == "peer" and (config.uid, config.gid) != (None, None):
        raise UsageError("run-as peer needs root to start each session: remove uid and gid")
    _check_tls(config)
    has_names = bool(config.tls_users or (config.allow_tls_names and config.run_as != "peer"))
    wants_users = config.has_rules or config.run_as == "peer"
    for address in config.session_addresses:
        if wants_users and isinstance(address, TcpAddress) and not has_names:
            raise UsageError(
                f"{address.text} would admit nobody: the access rules and run-as need to know the client's user, which "
                "TCP does not carry: use a socket file, or TLS with tls-user or (without run-as) allow-tls-name"
            )
        if isinstance(address, AbstractAddress) and not wants_users:
            yield (
                f"{address.text} has no file mode, so every process in this network namespace can connect and get a "
                "shell: add allow-user or allow-group, or use a socket file"
            )
    yield from _check_rules_for_statistics(config)


def _check_rules_for_statistics(config: Config) -> Iterable[str]:
    """Like _check_rules, for statistics: they are served without TLS, and run-as does not apply."""
    for address in config.stats_addresses:
        if config.has_rules and isinstance(address, TcpAddress):
            raise UsageError(
                f"{address.text} would serve statistics to nobody: the access rules need to know the client's user, "
                "which TCP does not carry: use a socket file"
            )
        if isinstance(address, AbstractAddress) and not config.has_rules:
            yield (
                f"{address.text} has no file mode, so every process in this network namespace can read the statistics: "
                "add allow-user or allow-group, or use a socket file"
            )


def _check_tls(config: Config) -> None:
    files = (config.tls_certificate, config.tls_key, config.tls_authorities)
    if any(files) and not all(files):
        raise UsageError("TLS needs all three of tls-cert, tls-key and tls-ca")
    for option, names in (("allow-tls-name", config.allow_tls_names), ("tls-user", config.tls_users)):
        if names and not any(files):
            raise UsageError(f"{option} needs TLS: add tls-cert, tls-key and tls-ca")
    users = dict(config.tls_users)
    for name, uid in config.tls_users:
        if users[name] != uid:
            raise UsageError(f"tls-user: {name} is given two users (uids {uid} and {users[name]}): keep one")
