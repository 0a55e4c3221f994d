"""What a client of the extension asks for in START, and what it gets of that."""

from __future__ import annotations

import os
import re
import shlex
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fastpty._spawn import Command
from fastpty.configuration.config import Config
from fastpty.sessions.program import Program, command_argv
from fastpty.sessions.starter import Window
from fastpty.system import foreign_root
from fastpty.system.names import shown
from fastpty.wire import extension

_TERM = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_ENTRY = re.compile(rb"[^=]+=")
_ACCEPTED_VALUE = re.compile(rb"[^/%\0]{0,64}")
_SHELLS = "/etc/shells"
_SHELLS_BYTES_MOST = 1 << 16
_DEFAULT_PATH = b"/bin:/usr/bin"  # as execvp(3)


class RequestError(Exception):
    """A START cannot be granted. code: of the ERROR frame."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Request:
    """The items of a START."""

    argv: list[bytes] = field(default_factory=list)
    environment: list[bytes] = field(default_factory=list)
    offered: list[bytes] = field(default_factory=list)
    directory: bytes | None = None
    term: bytes | None = None
    window: Window | None = None

    @property
    def chooses(self) -> bool:
        """Whether it asks for a command or a directory of its own: the worker must not wait for such a start."""
        return bool(self.argv) or self.directory is not None


def parse(payload: bytes) -> Request:
    """Raises RequestError for a payload that docs/protocol.md does not allow."""
    request = Request()
    try:
        for tag, value in extension.read_items(payload):
            _take(request, tag, value)
    except (extension.ProtocolError, struct.error) as error:
        raise RequestError(extension.PROTOCOL, f"START: {error}") from error
    return request


def _take(request: Request, tag: int, value: bytes) -> None:
    lists = {
        extension.ARGUMENT: request.argv,
        extension.ENVIRONMENT: request.environment,
        extension.OFFERED_ENVIRONMENT: request.offered,
    }
    if tag in (extension.ARGUMENT, extension.ENVIRONMENT, extension.DIRECTORY) and b"\0" in value:
        raise RequestError(extension.PROTOCOL, "START: a text contains a NUL byte")
    if tag == extension.ENVIRONMENT and not _ENTRY.match(value):
        raise RequestError(extension.PROTOCOL, "START: a variable is not NAME=VALUE")
    if tag in lists:
        lists[tag].append(value)
    elif tag == extension.DIRECTORY:
        request.directory = value
    elif tag == extension.TERM:
        request.term = value if _TERM.fullmatch(value) else None
    elif tag == extension.WINDOW:
        rows, columns, width, height = struct.unpack("<4H", value)
        request.window = rows, columns, width, height
    elif tag % 2:
        raise RequestError(extension.UNSUPPORTED, f"START: the router does not know item {tag}")


class Requests:
    """Applies clients' requests as `client-command` and `accept-env` allow."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._accepted = os.fsencode(config.accepted_environment).split()
        self._own_names = {os.fsencode(name) for name, _ in config.environment}
        self.may_choose = _may_choose(config)

    @property
    def capabilities(self) -> int:
        """Those of WELCOME."""
        return extension.CAN_TERMINAL | (extension.CAN_COMMAND if self.may_choose else 0)

    def grant(self, request: Request, program: Program) -> Program:
        """Returns the configured `program` with what the client has chosen; raises RequestError if it may not."""
        if request.chooses and not self.may_choose:
            raise _refused("a command" if request.argv else "a directory")
        for entry in request.environment:
            if not (self.may_choose or self._is_accepted(entry)):
                raise _refused(f"the variable {os.fsdecode(_split(entry)[0])}")
        if program.complete is None:
            return self._granted(request, program)
        complete = program.complete
        return replace(program, complete=lambda: self._granted(request, complete()))

    def _granted(self, request: Request, program: Program) -> Program:
        command = program.command
        environment = self._environment(request, command.environment)
        directory, text, argv, paths = command.directory, program.text, command.argv, command.paths
        if request.directory is not None:
            directory = os.path.join(directory or b"", request.directory)
        if request.argv:
            path = environment.get(b"PATH", _DEFAULT_PATH)
            text, argv, paths = _chosen(program, tuple(request.argv), path)
        granted = Command(
            argv,
            [name + b"=" + value for name, value in environment.items()],
            directory,
            path=paths,
            account=command.account,
            needs_directory=request.directory is not None,
        )
        return replace(program, text=text, command=granted)

    def _environment(self, request: Request, configured: tuple[bytes, ...]) -> dict[bytes, bytes]:
        """Returns the configured variables with those of the request."""
        environment = dict(_split(entry) for entry in configured)
        if request.term is not None and b"TERM" not in self._own_names:
            environment[b"TERM"] = request.term
        environment.update(_split(entry) for entry in request.offered if self._is_accepted(entry))
        environment.update(_split(entry) for entry in request.environment)
        return environment

    def _is_accepted(self, entry: bytes) -> bool:
        if not _ENTRY.match(entry):
            return False
        name, value = _split(entry)
        is_named = any(fnmatchcase(os.fsdecode(name), os.fsdecode(pattern)) for pattern in self._accepted)
        return is_named and name not in self._own_names and _ACCEPTED_VALUE.fullmatch(value) is not None


def _chosen(
    program: Program, argv: tuple[bytes, ...], path: bytes
) -> tuple[str, tuple[bytes, ...], tuple[bytes, ...]]:
    """Returns the text for the log, the arguments and the files to try for a command that the client has chosen."""
    words = shlex.join(os.fsdecode(word) for word in argv)
    text = shown(words)
    if program.uid is not None:
        # As sshd does: so accounts whose shell is nologin, rbash or git-shell stay as restricted as these are.
        shell = program.command.paths[0]
        _, _, account = program.text.rpartition(" as ")
        return f"{text} as {account}", (os.path.basename(shell), b"-c", os.fsencode(words)), (shell,)
    if not argv[0] or b"/" in argv[0]:
        return text, argv, (argv[0],)
    return text, argv, tuple(os.path.join(folder or b".", argv[0]) for folder in path.split(b":"))


def _split(entry: bytes) -> tuple[bytes, bytes]:
    name, _, value = entry.partition(b"=")
    return name, value


def _refused(what: str) -> RequestError:
    return RequestError(extension.REFUSED, f"refused: clients may not choose {what} here")


def _may_choose(config: Config, shells: Callable[[], list[str]] | None = None) -> bool:
    if config.client_command != "auto":
        return config.client_command == "yes"
    if config.given_command is None:
        return True
    argv = command_argv(config.given_command)
    return len(argv) == 1 and argv[0] in (shells or _shells)()


def _shells() -> list[str]:
    """The shells of shells(5); none in a foreign root, whose file may never answer."""
    if foreign_root.is_entered():
        return []
    try:
        with open(_SHELLS, encoding="utf-8", errors="replace") as file:
            lines = file.read(_SHELLS_BYTES_MOST).splitlines()
    except OSError:
        return []
    return [line for line in map(str.strip, lines) if line.startswith("/")]
