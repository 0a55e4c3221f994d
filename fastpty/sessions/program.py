"""The program of a session: its command, environment, working directory and account."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from fastpty._spawn import Command
from fastpty.access.accounts import Account, ForeignAccounts
from fastpty.access.lookups import account_of
from fastpty.access.peer import Peer
from fastpty.configuration.config import DEFAULT_PATH, Config
from fastpty.errors import FastptyError, RefusedError
from fastpty.jail import inherited
from fastpty.system import child, executables, foreign_root
from fastpty.system.records import dataclass, replace

DEFAULT_TERM = "xterm-256color"


@dataclass(frozen=True)
class Program:
    """The program of a session. text: its name in the log. uid: the account that it runs as; None: the router's.

    complete: if not None, returns the complete program or raises RefusedError. It may block, so only the session's own
    first process calls it. work: what that process calls in place of the command, if not None; returns the exit status.
    """

    text: str
    command: Command
    uid: int | None = None
    complete: Callable[[], Program] | None = None
    work: Callable[[], int] | None = None


class Programs:
    """Chooses the programs that clients get, as configured. foreign_accounts: finds accounts in a foreign root."""

    def __init__(self, config: Config, foreign_accounts: ForeignAccounts) -> None:
        self._config = config
        self._foreign_accounts = foreign_accounts
        self._base = base_environment(config)
        self._own = self._of_router(config.command)
        self.shared = self._of_router(config.shared_command)

    def for_peer(self, peer: Peer) -> Program:
        """Returns the program for this client. Raises RefusedError if it must run as the client, but has no account."""
        if self._config.run_as != "peer":
            return self._own
        if peer.uid is None:
            raise RefusedError("sessions run as the client's user, which this connection does not carry")
        if not self._config.changes_root:
            return self._of_account(account_of(peer.uid))
        what = self._config.given_command or "login shell"
        unknown_yet = Command([b""], [], account=(peer.uid, 0, []))
        complete = partial(self._of_foreign_account, peer.uid)
        return Program(f"{what} as uid {peer.uid}", unknown_yet, peer.uid, complete)

    def _of_foreign_account(self, uid: int) -> Program:
        return self._of_account(self._foreign_accounts.find(uid))

    def _of_account(self, account: Account) -> Program:
        command = self._config.given_command
        argv = account.login_argv if command is None else command_argv(command)
        environment = self._environment(account.environment)
        path = account.shell if command is None else self._file(argv[0], environment)
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
        path = os.fsencode(self._file(argv[0], environment))
        return Program(command, Command(_encoded(argv), _entries(environment), path=path))

    def _file(self, name: str, environment: Mapping[str, str]) -> str:
        """Returns the file to execute. If there is none, returns `name`: the client then gets execve(2)'s error."""
        if self._config.command_files is not None:
            return self._config.command_files.get(name, name)
        try:
            return executables.find(name, environment.get("PATH"))
        except OSError:
            return name

    def _environment(self, account: Mapping[str, str]) -> dict[str, str]:
        return self._config.environ({**self._base, **account})


def check(config: Config) -> Config:
    """Looks up the commands of sessions. Raises FastptyError for one that cannot be executed. Call it in the jail.

    In a foreign root, returns the config with the files that were found, so that they are looked up only once.
    """
    try:
        files, _ = foreign_root.in_time("looking for commands", partial(_look_up_commands, config))
    except OSError as error:
        raise FastptyError(f"cannot look for the command in PATH: {error.strerror}") from error
    return replace(config, command_files=files) if foreign_root.is_entered() else config


def _look_up_commands(config: Config) -> child.Answer:
    path = config.environ(base_environment(config)).get("PATH")
    files = {}
    for option, command in config.commands:
        name = command_argv(command)[0]
        if problem := executables.why_not(name, path):
            raise FastptyError(f"{option}: {problem}")
        files[name] = executables.find(name, path)
    return files, ()


def base_environment(config: Config) -> dict[str, str]:
    """The environment of sessions, before the variables of a client's account and `env` are added.

    This process's environment, or that of the container that the router has entered. Both have the variables of the
    account of `uid`.
    """
    # Clients that log in as themselves must not see variables that root has set for the router.
    clear = config.clear_environment or config.run_as == "peer"
    if clear:
        return {"TERM": DEFAULT_TERM, "PATH": DEFAULT_PATH}
    if config.entered is None or config.entered.environment is None:
        return {"TERM": DEFAULT_TERM, **os.environ}
    return {
        "TERM": DEFAULT_TERM,
        "PATH": DEFAULT_PATH,
        **inherited.without_router_variables(config.entered.environment),
    }


def _entries(environment: Mapping[str, str]) -> list[bytes]:
    return [os.fsencode(f"{name}={value}") for name, value in environment.items()]


def _encoded(words: Sequence[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def command_argv(command: str) -> list[str]:
    """The argument vector for a command: the command itself, or /bin/sh -c COMMAND if it contains a blank."""
    if any(blank in command for blank in " \t"):
        return ["/bin/sh", "-c", command]
    return [command]
