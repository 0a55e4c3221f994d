"""`--check`: looks for reasons why a start would fail, without changing anything.

Not checked: what depends on running processes (an address in use or a pid file may belong to the router that runs now),
inherited sockets (fd://N), and paths that a hook may create first or that lie in another root.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from fastpty.access import accounts
from fastpty.configuration.config import DEFAULT_PATH, Config
from fastpty.errors import FastptyError, UsageError
from fastpty.jail import join, steps
from fastpty.log import SYSLOG_SOCKET, LogFile
from fastpty.net.address import FdAddress, TcpAddress, UnixAddress
from fastpty.system import executables, linux
from fastpty.system.names import CAPABILITIES

_PLAIN_WORDS = re.compile(r"[\w@%+:,./ -]+", re.ASCII)  # nothing in it is special to a shell
_BUILTINS = frozenset({".", ":", "cd", "command", "eval", "exec", "exit", "export", "set", "trap", "ulimit", "umask"})
_FIRST_PORT_FOR_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check(config: Config) -> list[str]:
    """Raises FastptyError for the first thing that would end a start. Returns warnings about what may end one."""
    steps.check(config)
    accounts.check(config.run_as)
    if config.is_client:
        return []
    _check_tls(config)
    for address in config.addresses:
        if isinstance(address, TcpAddress):
            _check_tcp(address)
    if config.pty_input and config.pty_addresses and all(isinstance(a, FdAddress) for a in config.pty_addresses):
        raise FastptyError("pty-input needs a pty-socket with an address that can be connected to")
    _check_jail(config)
    if not any(hook.phase == "asap" for hook in config.hooks):
        _check_files(config)
    return _check_commands(config)


def _check_files(config: Config) -> None:
    """The files that are written outside the jail."""
    for address in config.addresses:
        if isinstance(address, UnixAddress):
            _check_socket_file(address.path, config)
    if not (all(isinstance(where, LogFile) for where in config.loggers) or os.path.exists(SYSLOG_SOCKET)):
        raise FastptyError(f"cannot log to {SYSLOG_SOCKET}: {os.strerror(errno.ENOENT)}")
    for option, path in _files(config):
        _check_file(f"{option}: cannot write {path}", path, config)
        if option != "pidfile" and os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=True):
            raise FastptyError(
                f"{option}: cannot write {path}: permission denied"
            )  # a pid file is replaced, not written


def _check_commands(config: Config) -> list[str]:
    """Raises FastptyError for a command that cannot be executed; returns warnings where only the jail could tell."""
    base = os.environ if not config.clear_environment and config.run_as is None else {"PATH": DEFAULT_PATH}
    path = config.environ(base).get("PATH")
    warnings = []
    for option, command in config.commands:
        words = command.split()
        problem = executables.why_not("/bin/sh" if len(words) > 1 else command, path)
        if problem and not (config.hides_files or config.hooks):
            raise FastptyError(f"{option}: {problem}")
        if not problem and _PLAIN_WORDS.fullmatch(command) and words[0] not in _BUILTINS:
            problem = executables.why_not(words[0], path)
        if problem:
            outside = "outside the jail: " if config.hides_files or config.hooks else ""
            warnings.append(f"{option}: {outside}{problem}")
    return warnings


def _check_tls(config: Config) -> None:
    if config.tls_identity is None:
        return
    from fastpty.net.tls import context_of  # it takes a while to load

    context_of(config.tls_identity, server=True)
    if not any(isinstance(address, TcpAddress | FdAddress) for address in config.session_addresses):
        raise UsageError("tls-cert: there is no TCP address to serve TLS on: add one, or remove tls-cert")


def _check_tcp(address: TcpAddress) -> None:
    """Raises FastptyError if the host is not an address of this machine, or if the port needs more rights."""
    try:
        if address.host:
            family, target = min(address.resolve(), key=lambda info: info[0] != socket.AF_INET)
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((target[0], 0))
    except OSError as error:
        raise FastptyError(f"cannot listen on {address.text}: {error.strerror}: choose another address") from error
    effective, _, _ = linux.capget()
    try:
        first = int(_FIRST_PORT_FOR_ALL.read_text())
    except (OSError, ValueError):
        return
    if 0 < address.port < first and not effective >> CAPABILITIES["net_bind_service"] & 1:
        raise FastptyError(f"cannot listen on {address.text}: permission denied: choose a port from {first} on")


def _check_socket_file(path: str, config: Config) -> None:
    if config.socket_owner is not None and os.geteuid() != 0 and config.socket_owner[0] not in (-1, os.geteuid()):
        raise FastptyError(f"cannot listen on {path}: only root can give the socket to another owner")
    _check_file(f"cannot listen on {path}", path, config, stat.S_IFSOCK)


def _files(config: Config) -> Iterator[tuple[str, str]]:
    """The files that the router writes before it enters the jail, each with its option."""
    for option, path in (("daemonize", config.daemonize), ("logto", config.logto)):
        if path is not None:
            yield option, path
    yield from (("logger", where.path) for where in config.loggers if isinstance(where, LogFile))
    yield from (("pidfile", path) for path in config.pidfiles)


def _files_of_jail(config: Config) -> Iterator[tuple[str, str]]:
    """The files that are written in the jail, each with the option that asks for it."""
    for option, path in (("daemonize2", config.daemonize2), ("logto2", config.logto2)):
        if path is not None:
            yield option, path
    yield from (("pidfile2", path) for path in config.pidfiles2)


def _check_file(what: str, path: str, config: Config, kind: int | None = None) -> None:
    """Raises FastptyError unless a file can be created at `path` or an existing one has this kind.

    kind: a type of stat(2), or None for anything but a directory.
    """
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise FastptyError(f"{what}: its directory does not exist: create it first")
    try:
        found = stat.S_IFMT(os.stat(path, follow_symlinks=kind is None).st_mode)
    except OSError:
        becomes_another = config.immediate_uid is not None and os.geteuid() == 0
        if not (becomes_another or os.access(directory, os.W_OK | os.X_OK, effective_ids=True)):
            raise FastptyError(f"{what}: permission denied: choose a directory that this user may write to") from None
        return
    if found == stat.S_IFDIR or (kind is not None and found != kind):
        raise FastptyError(f"{what}: something else is there: choose another path, or remove it")


def _check_jail(config: Config) -> None:
    """Checks what the jail needs. Directories are checked only if no earlier step could change what a path means."""
    if config.setns is not None and not config.setns.startswith("@") and not os.path.exists(config.setns):
        raise FastptyError(f"setns: cannot enter {config.setns}: {os.strerror(errno.ENOENT)}")
    join.check(config)
    cgroup = config.session_cgroup
    if cgroup not in (None, "own") and not os.path.exists(f"{cgroup}/cgroup.procs"):
        raise FastptyError(f"session-cgroup: {cgroup} is not a version 2 cgroup")
    _, permitted, _ = linux.capget()
    for name, number in CAPABILITIES.items():
        if number in config.cap and "user" not in config.unshare and not permitted >> number & 1:
            raise FastptyError(f"cap: {name} cannot be kept, since this process does not have it")
    if config.hooks or config.waits or config.setns is not None or config.setns_pid is not None:
        return
    root = config.chroot or (config.pivot_root[0] if config.pivot_root else None)
    for option, directory in (("chroot", config.chroot), ("pivot-root", root if config.pivot_root else None)):
        if directory is not None and not os.path.isdir(directory):
            raise FastptyError(f"{option}: cannot enter {directory}: it is not a directory")
    for option, directory in (("chdir", config.chdir), ("chdir2", config.chdir2)):
        outside = f"{root or ''}{directory}"
        # A symbolic link in a new root leads elsewhere outside of it.
        if (
            directory is not None
            and not os.path.isdir(outside)
            and os.path.realpath(outside) == os.path.normpath(outside)
        ):
            raise FastptyError(
                f"{option}: cannot enter {directory}: it is not a directory{' in ' + root if root else ''}"
            )
    if not config.hides_files:
        for option, path in _files_of_jail(config):
            if not os.path.isdir(os.path.dirname(path)):
                raise FastptyError(f"{option}: cannot write {path}: its directory does not exist: create it first")
