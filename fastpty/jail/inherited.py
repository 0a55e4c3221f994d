"""The environment variables that hooks and sessions inherit, and those that change with the router's user.

Hooks and sessions inherit this process's environment. Variables that concern the router's own process are removed
before the first hook runs. `env` or a hook can set them again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, MutableMapping

from fastpty.access import accounts
from fastpty.configuration.config import Config
from fastpty.system.files import read_bytes
from fastpty.system.records import replace

# Settings of this program; see configuration/language/environment.py.
_OPTIONS = ("UWSGI_", "FASTPTY_")

# A service manager sets these for the one process that it starts (systemd.exec(5), sd_listen_fds(3), sd_notify(3)).
# They would be wrong in a session, whose standard error, for example, is not the journal.
_SERVICE = ("LISTEN_", "WATCHDOG_")
_SERVICE_NAMES = frozenset(
    ("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "FDSTORE")
) | {"MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"}


def remove_own_variables() -> None:
    """Removes the variables that hooks and sessions must not inherit from this process's environment.

    Call it before ids change: afterwards this process may be unable to read /proc/self/environ.
    """
    kept = without_router_variables(without_interpreter_variables(os.environ, names_at_start()))
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]


def without_interpreter_variables(environ: Mapping[str, str], at_start: Collection[str] | None) -> dict[str, str]:
    """Returns `environ` without the variables that the interpreter added: LC_CTYPE (PEP 538) and PYTHON*.

    at_start: the names that this process was started with. If it is None, unknown, all variables stay. Use the result
    also for executing this program anew: the new process could not tell which variables were added.
    """
    if at_start is None:
        return dict(environ)
    return {
        name: value
        for name, value in environ.items()
        if name in at_start or not (name == "LC_CTYPE" or name.startswith("PYTHON"))
    }


def without_router_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns `environ` without the variables that concern the router's own process."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith((*_OPTIONS, *_SERVICE)) and name not in _SERVICE_NAMES
    }


def set_account_variables(uid: int, config: Config, in_changed_root: bool) -> Config:
    """Sets the variables of this uid's account, such as HOME, in this process's environment and in that of sessions.

    Variables that `env`, `unenv` or a hook controls stay. Returns the config for the sessions. Raises FastptyError.
    """
    explicit = {name for name, _ in config.environment} | {hook.variable for hook in config.hooks}
    found = accounts.environment_of(uid, in_changed_root)
    variables = {name: value for name, value in found.items() if name not in explicit}
    _set(os.environ, variables)
    if config.entered is None or config.entered.environment is None:
        return config
    environment = dict(config.entered.environment)
    _set(environment, variables)
    return replace(config, entered=replace(config.entered, environment=environment))


def _set(environ: MutableMapping[str, str], variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value


def names_at_start() -> frozenset[str] | None:
    """Returns the names of the variables that execve(2) passed to this process, or None without /proc."""
    try:
        data = read_bytes("/proc/self/environ")
    except OSError:
        return None
    return frozenset(os.fsdecode(entry.partition(b"=")[0]) for entry in data.split(b"\0"))
