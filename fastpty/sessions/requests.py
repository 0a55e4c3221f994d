"""Parses what a client of the extension asks for in START, and applies it as far as the configuration allows.

The worker's loop waits while it reads a START, so the work for the longest one is bounded: the number of items, the
length of names, and no search for the command (the child does that).
"""

from __future__ import annotations

import os
import re
import shlex
import struct
from fnmatch import translate
from functools import cached_property, partial

from fastpty._spawn import Command
from fastpty.configuration.choice import ORDINARY_SHELL, choice
from fastpty.configuration.config import Config
from fastpty.errors import RefusedError, printable
from fastpty.sessions import copies
from fastpty.sessions.program import Program
from fastpty.sessions.starter import Window
from fastpty.system.names import shown
from fastpty.system.records import dataclass, replace
from fastpty.wire import extension

_TERM = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_ENTRY = re.compile(rb"[^=]{1,255}=")
_OFFERED_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{0,63}=")
_OFFERED_MOST = 64
_ACCEPTED_VALUE = re.compile(rb"[^/%\x00-\x1f\x7f]{0,64}")
_GIT_COMMAND = re.compile(rb"git-[a-z-]+")
_SHOWN_WORDS_MOST = 16
_SHOWN_BYTES_MOST = 80


class RequestError(Exception):
    """A START cannot be granted.

    code: the ERROR frame's. kind: what happened, without words of the client's. about: what the client sent.
    """

    def __init__(self, code: int, kind: str, about: bytes | None = None) -> None:
        super().__init__(kind if about is None else f"{kind}: {_printable(about)}")
        self.code = code
        self.kind = kind


_KNOWN_ITEMS = (
    extension.ARGUMENT,
    extension.ENVIRONMENT,
    extension.OFFERED_ENVIRONMENT,
    extension.DIRECTORY,
    extension.TERM,
    extension.WINDOW,
    extension.STREAMS_ITEM,
    extension.COPY_ITEM,
)


@dataclass
class Request:
    """The items of a START."""

    argv: list[bytes]
    environment: list[bytes]
    offered: list[bytes]
    directory: bytes | None
    term: bytes | None
    window: Window | None
    streams: tuple[bool, int | None] | None
    """For exec: whether standard error goes into standard output, and the drain time in milliseconds."""
    copy: int | None
    """For cp: the direction. Then the words of `argv` are paths."""

    @property
    def chooses(self) -> bool:
        """True if it asks for a command, a directory or streams. The worker must not wait for such a start."""
        return bool(self.argv) or self.directory is not None or self.streams is not None


def parse(payload: bytes) -> Request:
    """Parses the payload of START. Raises RequestError for one that docs/protocol.md does not allow."""
    values: dict[int, list[bytes]] = {tag: [] for tag in _KNOWN_ITEMS}
    try:
        for tag, value in extension.read_items(payload):
            values.setdefault(tag, []).append(value)
    except extension.ProtocolError as error:
        raise _malformed(str(error)) from error
    for tag in values:
        if tag % 2 and tag not in _KNOWN_ITEMS:
            raise RequestError(extension.UNSUPPORTED, f"START: the router does not know item {tag}")
    argv, environment, offered, directories, terms, windows, streams, copies = (values[tag] for tag in _KNOWN_ITEMS)
    if b"\0" in b"".join([*argv, *environment, *directories]):
        raise _malformed("a text contains a NUL byte")
    if not all(map(_ENTRY.match, environment)):
        raise _malformed("a variable is not NAME=VALUE with a name of at most 255 bytes")
    if len(offered) > _OFFERED_MOST:
        raise _malformed(f"more than {_OFFERED_MOST} variables are offered")
    if streams and not argv:
        raise _malformed("a program without a terminal needs a command")
    return Request(
        argv,
        environment,
        offered,
        directories[-1] if directories else None,
        terms[-1] if terms and _TERM.fullmatch(terms[-1]) else None,
        _window(windows[-1]) if windows else None,
        _streams(streams[-1]) if streams else None,
        _direction(copies[-1], len(argv) if streams else 0) if copies else None,
    )


def _direction(value: bytes, paths: int) -> int:
    (direction,) = value if len(value) == 1 else (0,)
    is_receiver = direction in (extension.RECEIVES, extension.RECEIVES_INTO_DIRECTORY)
    if not (direction == extension.SENDS or is_receiver) or paths < 1 or (is_receiver and paths > 1):
        raise _malformed("COPY needs a direction, streams, and a path")
    return direction


def _window(value: bytes) -> Window:
    try:
        rows, columns, width, height = struct.unpack("<4H", value)
    except struct.error as error:
        raise _malformed("WINDOW has another length") from error
    return rows, columns, width, height


def _streams(value: bytes) -> tuple[bool, int | None]:
    try:
        return extension.read_streams(value)
    except extension.ProtocolError as error:
        raise _malformed(str(error)) from error


def _malformed(what: str) -> RequestError:
    return RequestError(extension.PROTOCOL, f"START: {what}")


class Requests:
    """Applies clients' requests as `client-command` and `accept-env` allow."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._may_copy = config.entered is None or not config.entered.relabels
        self._own_names = {os.fsencode(name) for name, _ in config.environment}
        allowed = choice(config)
        self.may_choose = allowed.commands
        self._may_set_any = allowed.variables

    @cached_property
    def _accepted(self) -> re.Pattern[bytes]:
        patterns = [translate(pattern) for pattern in self._config.accepted_environment.split()]
        return re.compile(os.fsencode("|".join(patterns) or "(?!)"))

    @property
    def capabilities(self) -> int:
        """The capabilities that WELCOME announces."""
        if not self.may_choose:
            return extension.CAN_TERMINAL
        copies_files = extension.CAN_COPY if self._may_copy else 0
        return extension.CAN_TERMINAL | extension.CAN_COMMAND | extension.CAN_STREAMS | copies_files

    def grant(self, request: Request, program: Program) -> Program:
        """Returns the configured `program` with the client's choices.

        Raises RequestError if the client may not choose it. The program's `complete` may raise RefusedError.
        """
        if request.chooses and not self.may_choose:
            raise _refused("a command" if request.argv else "a directory")
        for entry in request.environment:
            if not (self._may_set_any or self._is_accepted(entry)):
                raise _refused("this variable", _name(entry))
        if request.copy is not None and not self._may_copy:
            raise RequestError(
                extension.UNSUPPORTED, "no files can be copied: only programs get the container's label"
            )
        complete = program.complete
        if complete is None and request.copy is None:
            return self._granted(request, program)
        if complete is None:
            granted = self._granted(request, program)
            return replace(granted, complete=lambda: granted)
        return replace(program, complete=lambda: self._granted(request, complete()))

    def _granted(self, request: Request, program: Program) -> Program:
        command = program.command
        directory = command.directory
        if request.directory is not None:
            if not (self._may_set_any or ORDINARY_SHELL.fullmatch(os.fsdecode(command.path))):
                # git-shell(1) runs commands from a folder below the directory in which it starts.
                raise RefusedError("clients whose shell is restricted may not choose a directory here")
            directory = os.path.join(directory or b"", request.directory)
        text, argv, path, work = program.text, command.argv, command.path, None
        if request.copy is not None:
            if program.uid is not None and not ORDINARY_SHELL.fullmatch(os.fsdecode(path)):
                raise RefusedError("clients whose shell is restricted may not copy files here")
            text, work = f"cp {_described(request.argv)}", partial(copies.run, request.copy, request.argv)
        elif request.argv and program.uid is not None:
            text, argv = _for_shell(program, request.argv)
        elif request.argv:
            text, argv, path = _described(request.argv), tuple(request.argv), request.argv[0]
        granted = Command(
            argv,
            self._environment(request, command.environment).values(),
            directory,
            path=path,
            account=command.account,
            needs_directory=request.directory is not None,
        )
        return replace(program, text=text, command=granted, work=work)

    def _environment(self, request: Request, configured: tuple[bytes, ...]) -> dict[bytes, bytes]:
        """Returns the configured variables combined with those of the request: NAME=VALUE entries by name."""
        entries = {_name(entry): entry for entry in configured}
        if request.term is not None and b"TERM" not in self._own_names:
            entries[b"TERM"] = b"TERM=" + request.term
        entries.update((_name(entry), entry) for entry in request.offered if self._is_accepted(entry))
        entries.update((_name(entry), entry) for entry in request.environment)
        return entries

    def _is_accepted(self, entry: bytes) -> bool:
        if not _OFFERED_NAME.match(entry):
            return False
        name, _, value = entry.partition(b"=")
        is_named = self._accepted.match(name) is not None
        return is_named and name not in self._own_names and _ACCEPTED_VALUE.fullmatch(value) is not None


def _for_shell(program: Program, argv: list[bytes]) -> tuple[str, tuple[bytes, ...]]:
    """Returns the text for the log and the arguments of the account's shell that make it run a client's command.

    sshd does the same, so an account whose shell is nologin, rbash or git-shell stays restricted. git-shell expects its
    command without quotes and the argument in quotes. All other words are quoted, so that the shell sees no variable,
    keyword or pattern in them.
    """
    shell = os.path.basename(program.command.path)
    words = _quoted(argv, is_for_git=shell == b"git-shell")
    if _GIT_COMMAND.fullmatch(argv[0]):
        words = argv[0] + words[len(argv[0]) + 2 :]
    _, _, account = program.text.rpartition(" as ")
    return f"{_described(argv)} as {account}", (shell, b"-c", words)


def _quoted(words: list[bytes], *, is_for_git: bool) -> bytes:
    """Quotes words, which have no NUL byte, for sh(1), fish(1), csh(1) and, if is_for_git, git-shell(1).

    Within single quotes, a backslash is an ordinary character to sh but not to fish, and csh interprets an exclamation
    mark. So both are put outside the quotes, except a backslash for git-shell, which accepts it only inside. A few
    calls of replace() are faster than a regular expression.
    """
    outside = {b"'": b"\0q", b"!": b"\0e"} if is_for_git else {b"'": b"\0q", b"!": b"\0e", b"\\": b"\0b"}
    text = b"\0s".join(words)
    for character, mark in outside.items():
        text = text.replace(character, mark)
    for character, mark in outside.items():
        text = text.replace(mark, b"'\\" + character + b"'")
    return b"'" + text.replace(b"\0s", b"' '") + b"'"


def _described(argv: list[bytes]) -> str:
    """Returns the beginning of a client's command for the log."""
    words = shlex.join(os.fsdecode(word[: _SHOWN_BYTES_MOST + 1]) for word in argv[:_SHOWN_WORDS_MOST])
    return printable(shown(words if len(argv) <= _SHOWN_WORDS_MOST else f"{words} …"))


def _printable(value: bytes) -> str:
    return printable(shown(value[: _SHOWN_BYTES_MOST + 1].decode(errors="surrogateescape")))


def _name(entry: bytes) -> bytes:
    return entry.partition(b"=")[0]


def _refused(what: str, about: bytes | None = None) -> RequestError:
    return RequestError(extension.REFUSED, f"refused: clients may not choose {what} here", about)
