"""From settings to a checked, typed Config."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastpty.configuration import doubts as access
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.options import BY_NAME, OPTIONS, Option
from fastpty.configuration.uwsgi_keys import (
    IGNORED,
    PLUGINS_BUILT_IN,
    WITHOUT_MEANING,
    instead,
    is_confining,
    misspelt,
    nearest,
)
from fastpty.configuration.values import LISTENERS_MOST, comma_list
from fastpty.errors import UsageError
from fastpty.hooks.actions import Hook
from fastpty.hooks.waits import Wait
from fastpty.jail.target import Entered
from fastpty.log import Destination
from fastpty.net.address import Address, SharedAddress
from fastpty.net.tls_files import Identity

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Config:
    """What the person asked for, checked. One attribute for each field of the table of options.

    Times are in seconds, and None where there is no limit; `uid` and `gid` are None where the process keeps
    its own; the gid in `socket_owner` is -1 where the group stays as it is. `environment` holds, in the order
    of writing, (name, value), or (name, None) for one to be removed. `unshare` and `unshare2` hold keys of
    NAMESPACE_FLAGS, `cap` numbers of capabilities, `pivot_root` the new root and where in it the old one goes.
    `entered` is no option: the way into the jail sets it where it leads into somebody else's namespaces.
    """

    raw_addresses: tuple[Address, ...]
    uwsgi_addresses: tuple[Address, ...]
    pty_addresses: tuple[Address, ...]
    socket_mode: int
    socket_owner: tuple[int, int] | None
    backlog: int
    reuse_port: bool
    shared_sockets: tuple[Address, ...]
    insecure_tcp: bool
    allow_users: tuple[int, ...]
    allow_groups: tuple[int, ...]
    deny_users: tuple[int, ...]
    deny_groups: tuple[int, ...]
    run_as: str | None
    tls_certificate: str | None
    tls_key: str | None
    tls_authorities: str | None
    allow_tls_names: tuple[str, ...]
    tls_users: tuple[tuple[str, int], ...]
    given_command: str | None
    rows: int
    cols: int
    processes: int
    events: int
    cheap: bool
    cheap_idle_seconds: float | None
    harakiri_seconds: float | None
    stats_addresses: tuple[Address, ...]
    stats_http: bool
    idle_timeout_seconds: float | None
    stop_timeout_seconds: float
    splice: bool
    busy_poll_us: int
    environment: tuple[tuple[str, str | None], ...]
    clear_environment: bool
    no_new_privs: bool
    session_cgroup: str | None
    max_sessions: int | None
    max_sessions_per_uid: int | None
    max_startups: int
    buffer_bytes: int
    lifetime_seconds: float | None
    greeting_timeout_seconds: float | None
    pty_command: str | None
    pty_once: bool
    pty_scrollback_bytes: int
    pty_log: bool
    pty_input: bool
    pty_connect: Address | None
    pty_uconnect: Address | None
    pty_no_isig: bool
    setns: str | None
    setns_pid: int | None
    unshare: tuple[str, ...]
    jailed: bool
    chroot: str | None
    pivot_root: tuple[str, str] | None
    unshare2: tuple[str, ...]
    waits: tuple[Wait, ...]
    wait_interface_seconds: float
    wait_fs_seconds: float
    hooks: tuple[Hook, ...]
    immediate_uid: int | None
    immediate_gid: int | None
    uid: int | None
    gid: int | None
    add_gid: tuple[int, ...]
    no_initgroups: bool
    cap: tuple[int, ...]
    umask: int | None
    chdir: str | None
    chdir2: str | None
    procname: str | None
    procname_master: str | None
    procname_prefix: str | None
    procname_append: str | None
    auto_procname: bool
    strict: bool
    master: bool
    die_on_term: bool
    close_on_exec: bool
    daemonize: str | None
    daemonize2: str | None
    logto: str | None
    logto2: str | None
    loggers: tuple[Destination, ...]
    pidfiles: tuple[str, ...]
    pidfiles2: tuple[str, ...]
    vacuum: bool
    plugins: tuple[str, ...]
    entered: Entered | None = None

    @property
    def changes_root(self) -> bool:
        """Whether somebody else, who has no other rights over the router, may decide what a path means inside.

        A new mount namespace alone begins with the mounts of outside, and who may change them inside has its rights.
        """
        return bool(self.chroot or self.pivot_root or self.setns or self.setns_pid)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All that is listened on."""
        return self.raw_addresses + self.uwsgi_addresses + self.pty_addresses + self.stats_addresses

    @property
    def tls_identity(self) -> Identity | None:
        """The files for TLS, or None: TCP is plain."""
        if self.tls_certificate is None or self.tls_key is None or self.tls_authorities is None:
            return None
        return Identity(self.tls_certificate, self.tls_key, self.tls_authorities)

    @property
    def command(self) -> str:
        """What a session runs, unless it runs its client's login shell."""
        return self.given_command or "/bin/sh"

    @property
    def shared_command(self) -> str:
        """What runs on the shared terminal."""
        return self.command if self.pty_command is None else self.pty_command

    @property
    def is_client(self) -> bool:
        """Whether this is to be a client, as `uwsgi --pty-connect` is, and no router."""
        return (self.pty_connect, self.pty_uconnect) != (None, None)

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """A copy of `base` with the wanted variables set and removed; the later one wins, as in uWSGI."""
        result = dict(base)
        for name, value in self.environment:
            if value is None:
                result.pop(name, None)
            else:
                result[name] = value
        return result


def build(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """The Config that `settings` ask for, and lines of warning about those that may not do what was meant.

    Raises UsageError where `assemble` or `check` does.
    """
    config, warnings = assemble(settings)
    return config, [*warnings, *check(config)]


def check(config: Config) -> list[str]:
    """Lines of warning about what may not be meant; raises UsageError for options that do not go together."""
    _check_addresses(config)
    _check_jail(config)
    return [*_idle_hooks(config), *access.doubts(config), *_check_shared_terminal(config)]


def assemble(settings: Iterable[Setting]) -> tuple[Config, list[str]]:
    """The Config that `settings` ask for, each option checked by itself alone, and lines of warning.

    Of an option that is not repeatable the last setting counts. Raises UsageError for a bad value, for a
    uWSGI option that would confine the shell and is not supported, and for an unknown option that must be a mistake:
    one in a place of our own, or near to an option, or under `strict` any.
    """
    values: dict[str, Any] = {option.field: option.default_value() for option in OPTIONS if option.field}
    unknown: list[str] = []
    warnings: list[str] = []
    for setting in settings:
        option = BY_NAME.get(setting.name)
        if option is not None and option.field is not None:
            value = _parse(option, setting)
            values[option.field] = values[option.field] + value if option.repeatable else value
            warnings += _doubts(option, setting)
        elif setting.name not in IGNORED:
            unknown.append(_unknown(setting))
            # What something looked up is of use as a placeholder.
            if not setting.is_used:
                warnings.append(f"{unknown[-1]}; ignored")
    if unknown and values["strict"]:
        raise UsageError(unknown[0])
    values["gid"] = _primary_group(values["uid"], values["gid"])
    warnings += _unused_sockets(values)
    for kind in ("raw_addresses", "uwsgi_addresses", "pty_addresses", "stats_addresses"):
        values[kind] = tuple(_address_meant(where, values["shared_sockets"]) for where in values[kind])
    return Config(**values), warnings


def command_argv(command: str) -> list[str]:
    """A session's argument vector: the command itself, or /bin/sh -c and the command if it holds a blank."""
    if any(blank in command for blank in " \t"):
        return ["/bin/sh", "-c", command]
    return [command]


def _parse(option: Option, setting: Setting) -> Any:
    text = option.bare if setting.value is None else setting.value
    if text is None:
        raise UsageError(f"{setting.label} needs a value: {option.metavar}")
    try:
        return option.parse(text)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{setting.label}: {error}") from error


def _unknown(setting: Setting) -> str:
    """What to say of an option that is not in the table; raises UsageError if ignoring it is not safe.

    It is safe where the name serves as a placeholder, and in uWSGI's own files where it is far from all our options.
    """
    if setting.name in WITHOUT_MEANING:
        raise UsageError(f"{setting.label}: {WITHOUT_MEANING[setting.name]}")
    if is_confining(setting.name):
        advice = instead(setting.name)
        raise UsageError(
            f"{setting.label} is not supported: {advice}"
            if advice
            else f"{setting.label} is not supported yet, and going on without it would not be safe"
        )
    meant = misspelt(setting.name)
    near = meant or nearest(setting.name, in_files=setting.origin != COMMAND_LINE)
    hint = f" (did you mean {near!r}?)" if near else ""
    line = f"{setting.origin}: unknown option {setting.name!r}{hint}"
    if (meant or setting.is_ours or setting.origin == COMMAND_LINE) and not setting.is_used:
        raise UsageError(line)
    return line


def _doubts(option: Option, setting: Setting) -> Iterable[str]:
    """Warnings about a setting that was understood, but perhaps not as it was meant."""
    value = setting.value or ""
    if option.field == "plugins":
        for plugin in comma_list(value):
            if plugin not in PLUGINS_BUILT_IN:
                yield f"{setting.label}: no plugin {plugin!r} here; ignored"


def _primary_group(uid: int | None, gid: int | None) -> int | None:
    """The group to become: the user's own if only the user is given. uWSGI would stay in group 0."""
    if uid is None or gid is not None:
        return gid
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise UsageError(f"uid {uid} has no account to take the group from: give gid, too") from None


def _address_meant(where: Address, shared: Sequence[Address]) -> Address:
    """The address that =N stands for; any other as it is."""
    if not isinstance(where, SharedAddress):
        return where
    if where.index >= len(shared):
        raise UsageError(f"{where.text}: there are {len(shared)} shared-socket options, numbered from 0")
    return shared[where.index]


def _unused_sockets(values: Mapping[str, Any]) -> Iterable[str]:
    """Warnings about those shared sockets that no address names."""
    kinds = ("raw_addresses", "uwsgi_addresses", "pty_addresses", "stats_addresses")
    named = {where.index for kind in kinds for where in values[kind] if isinstance(where, SharedAddress)}
    for index, where in enumerate(values["shared_sockets"]):
        if index not in named:
            yield f"shared-socket {where.text} is not listened on: no address names it as ={index}"


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
