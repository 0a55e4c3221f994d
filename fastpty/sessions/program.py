"""The program of a session: its command, environment, working directory and account."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fastpty._spawn import Command
from fastpty.access import accounts
from fastpty.access.peer import Peer
from fastpty.configuration.config import DEFAULT_PATH, Config
from fastpty.errors import FastptyError, RefusedError
from fastpty.jail import inherited
from fastpty.system import child, executables, foreign_root

DEFAULT_TERM = "xterm-256color"
_LOOK_UP_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """What a client gets. `text` names it in the log; `uid` is the account that it becomes, or None."""

    text: str
    command: Command
    uid: int | None = None


class Programs:
    """Chooses the programs that clients get, as configured."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._account_of = accounts.lookup(config.changes_root)
        self._base = base_environment(config)
        self._own = self._of_router(config.command)
        self.shared = self._of_router(config.shared_command)

    def for_peer(self, peer: Peer) -> Program:
        """The program for this client; raises RefusedError if it should run as the client and there is no account."""
        if self._config.run_as != "peer":
            return self._own
        if peer.uid is None:
            raise RefusedError("sessions run as the client's user, which this connection does not carry")
        account = self._account_of(peer.uid)
        command = self._config.given_command
        argv = account.login_argv if command is None else command_argv(command)
        environment = self._environment(account.environment)
        path = account.shell if command is None else _file(argv[0], environment)
        to_run = Command(
            _encoded(argv),
            _entries(environment),
            os.fsencode(account.home),
            path=os.fsencode(path),
            account=(account.uid, account.gid, list(account.groups)),
        )
        return Program(f"{command or path} as {account.name}", to_run, account.uid)

    def _of_router(self, command: str) -> Program:
        """The program for a command that runs as the router's own user."""
        argv = command_argv(command)
        environment = self._environment({})
        path = os.fsencode(_file(argv[0], environment))
        return Program(command, Command(_encoded(argv), _entries(environment), path=path))

    def _environment(self, account: Mapping[str, str]) -> dict[str, str]:
        return self._config.environ({**self._base, **account})


def check(config: Config) -> None:
    """Raises FastptyError for a command that sessions cannot execute. To be called inside the jail."""
    if not foreign_root.is_entered():
        _look_up_commands(config)
        return
    try:  # a file system of that root may never answer
        child.ask("command", partial(_look_up_commands, config), _LOOK_UP_SECONDS)
    except TimeoutError as error:
        raise FastptyError("the search for the command takes too long: give its full path") from error
    except OSError as error:
        raise FastptyError(f"cannot look for the command: {error.strerror}") from error


def _look_up_commands(config: Config) -> child.Answer:
    path = config.environ(base_environment(config)).get("PATH")
    for option, command in config.commands:
        if problem := executables.why_not(command_argv(command)[0], path):
            raise FastptyError(f"{option}: {problem}")
    return b"", ()


def base_environment(config: Config) -> dict[str, str]:
    """The environment of sessions, before the variables of a client's account and `env` are added.

    This process's environment, or that of the container that the router has entered with the variables of the account
    of `uid`.
    """
    # Clients that log in as themselves must not see variables that root has set for the router.
    clear = config.clear_environment or config.run_as == "peer"
    if clear:
        return {"TERM": DEFAULT_TERM, "PATH": DEFAULT_PATH}
    if config.entered is None or config.entered.environment is None:
        return {"TERM": DEFAULT_TERM, **os.environ}
    found = {"TERM": DEFAULT_TERM, "PATH": DEFAULT_PATH, **inherited.handed_on(config.entered.environment)}
    if config.uid is not None:
        inherited.take_account(found, config.uid, config, in_changed_root=True)
    return found


def _file(name: str, environment: Mapping[str, str]) -> str:
    """Returns the file to execute. A name that cannot be found stays: the client learns why it cannot be executed.

    A path is not looked at: in a foreign root that could block the worker.
    """
    if "/" in name:
        return name
    try:
        return executables.find(name, environment.get("PATH"))
    except OSError:
        return name


def _entries(environment: Mapping[str, str]) -> list[bytes]:
    return [os.fsencode(f"{name}={value}") for name, value in environment.items()]


def _encoded(words: Sequence[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def command_argv(command: str) -> list[str]:
    """The argument vector for a command: the command itself, or /bin/sh -c COMMAND if it contains a blank."""
    if any(blank in command for blank in " \t"):
        return ["/bin/sh", "-c", command]
    return [command]
