"""The router's environment: which of it hooks and sessions inherit, and what changes when the router becomes a user.

Hooks inherit this process's environment, and so do sessions. Variables that are about the router's own process are
removed from it before the first hook runs. `env` or a hook can still set them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

from fastpty.access import accounts
from fastpty.configuration.config import Config

# Settings of this program; see fastpty.environment.
_OPTIONS = ("UWSGI_", "FASTPTY_")

# What a service manager says to the one process that it starts (systemd.exec(5), sd_listen_fds(3), sd_notify(3)): its
# sockets, its watchdog, its log. In a session they would be wrong: its standard error, for one, is not the journal.
_SERVICE = ("LISTEN_", "WATCHDOG_")
_SERVICE_NAMES = frozenset(
    ("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "FDSTORE")
) | {"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"}


def leave_what_is_the_router_s() -> None:
    """Removes from this process's environment what neither hooks nor sessions are to inherit.

    To be called before ids change: /proc/self/environ may be closed to this process afterwards.
    """
    kept = handed_on(as_given(os.environ, names_at_start()))
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]


def as_given(environ: Mapping[str, str], at_start: Collection[str] | None) -> dict[str, str]:
    """`environ` without what the interpreter has put there: LC_CTYPE (PEP 538) and names that begin with PYTHON.

    `at_start`: the names that this process was started with; None where that is not known, and then all stays. This
    is also the environment for a process that takes this one's place, which could not see the difference any more.
    """
    if at_start is None:
        return dict(environ)
    return {
        name: value
        for name, value in environ.items()
        if name in at_start or not (name == "LC_CTYPE" or name.startswith("PYTHON"))
    }


def handed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what is about the router's own process."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith((*_OPTIONS, *_SERVICE)) and name not in _SERVICE_NAMES
    }


def become(uid: int, config: Config, in_changed_root: bool) -> None:
    """Gives this process's environment the variables of this uid's account."""
    take_account(os.environ, uid, config, in_changed_root)


def take_account(environ: MutableMapping[str, str], uid: int, config: Config, in_changed_root: bool) -> None:
    """Sets the variables of this uid's account, but for those that `env`, `unenv` or a hook sets or removes."""
    explicit = {name for name, _ in config.environment} | {hook.variable for hook in config.hooks}
    for name, value in accounts.environment_of(uid, in_changed_root).items():
        if name in explicit:
            continue
        environ.pop(name, None)
        if value is not None:
            environ[name] = value


def names_at_start() -> frozenset[str] | None:
    """The names of the variables that execve(2) gave to this process, or None without a /proc to tell."""
    try:
        data = Path("/proc/self/environ").read_bytes()
    except OSError:
        return None
    return frozenset(os.fsdecode(entry.partition(b"=")[0]) for entry in data.split(b"\0"))
