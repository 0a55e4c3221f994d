"""Parses the command line of fastpty-router, which is made from the table of options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NoReturn

from fastpty import __version__
from fastpty.configuration import help as help_texts
from fastpty.configuration.build import build
from fastpty.configuration.choice import choice
from fastpty.configuration.config import Config
from fastpty.configuration.help import PROGRAM
from fastpty.configuration.language import blocks, files, loader
from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.setting import COMMAND_LINE, Setting
from fastpty.configuration.options import OPTIONS, find
from fastpty.configuration.report import as_ini, report
from fastpty.configuration.uwsgi_keys import WITHOUT_MEANING, instead, is_confining, nearest
from fastpty.errors import FastptyError, UsageError, printable
from fastpty.service import pidfile
from fastpty.system.names import shown
from fastpty.system.standard_descriptors import ERROR, WARNING, write_error, write_output

_SOCKET = "listen-raw"
_POSITIONAL_NAMES = frozenset({_SOCKET, *files.FORMATS})
_ENDINGS_OF_FILES = (".conf", ".cfg", ".config")


def configure(argv: Sequence[str], *, is_reload: bool = False) -> tuple[Config, list[str]]:
    """The Config and the warnings for a command line (without the program's name); see `read`."""
    return read(argv, lambda config: [], is_reload=is_reload)[:2]


def read(
    argv: Sequence[str], preflight: Callable[[Config], list[str]], *, is_reload: bool = False
) -> tuple[Config, list[str], Sequence[Setting]]:
    """Returns the Config for a command line, warnings, and the settings from which it was made.

    preflight: called for --check; raises FastptyError for what would make a start fail, and returns warnings.
    Ends the process with status 0 for --help, --version, --check, --stop and --reload. Ends it with one line on stderr
    for an error, after the warnings: status 2 for bad usage, and for every error under --check. The output of `print`
    and `show-config` goes to stderr.
    """
    is_check = False
    warnings: list[str] = []
    try:
        flags = parse(argv)
        is_check = any(flag.name == "check" for flag in flags)
        _control_another(flags)
        budget = Budget()
        loaded = loader.load(flags, is_reload=is_reload, budget=budget)
        with budget.deadline():
            config, warnings = build(loaded.settings)
            if is_check:
                warnings += _preflight(preflight, config, loaded.settings)
    except FastptyError as error:
        for warning in warnings:
            write_error(f"{PROGRAM}: warning: {printable(warning)}", WARNING)
        write_error(f"{PROGRAM}: {error}", ERROR)
        raise SystemExit(UsageError.exit_status if is_check else error.exit_status) from None
    for line in [*loaded.printed, *(as_ini(loaded.listing) if loaded.listing is not None else ())]:
        write_error(printable(line))
    warnings = [printable(warning) for warning in loaded.warnings + warnings]
    if is_check:
        for warning in warnings:
            write_error(f"{PROGRAM}: warning: {warning}")
        remarks = {"client-command": choice(config).why}
        write_output("".join(f"{printable(line)}\n" for line in report(loaded.settings, remarks)))
        raise SystemExit(0)
    return config, warnings, loaded.settings


def _preflight(preflight: Callable[[Config], list[str]], config: Config, settings: Sequence[Setting]) -> list[str]:
    """Calls `preflight`. An error that begins with an option's name gets the place of that option."""
    try:
        return preflight(config)
    except FastptyError as error:
        option = find(str(error).partition(":")[0])
        for setting in reversed(settings):
            if option is not None and find(setting.name) is option and setting.origin != COMMAND_LINE:
                raise UsageError(f"{setting.origin}: {error}") from error
        raise


def parse(argv: Sequence[str]) -> list[Setting]:
    """The flags and arguments of a command line, in their order. --help and --version end the process.

    Raises UsageError for an unknown flag, a missing or superfluous value, and a second SOCKET.
    """
    before, after = _split(argv)
    namespace, rest = _parser().parse_known_args(before, argparse.Namespace(settings=[]))
    settings: list[Setting] = namespace.settings
    for argument in rest:
        if argument.startswith("-"):
            raise UsageError(_unknown_flag(argument))
    arguments = [_positional(argument) for argument in [*rest, *after]]
    sockets = [argument for argument in arguments if argument.name == _SOCKET]
    if len(sockets) > 1:
        raise UsageError(f"{sockets[1].value} is a second SOCKET: write --listen-raw before each one that you want")
    return settings + arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        message = message.replace("expected one argument", "needs a value")
        raise UsageError(message.replace("ignored explicit argument", "takes no value, but was given"))


class _Record(argparse.Action):
    """Adds a Setting to the list, under the name as it was spelled."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, spelled: str | None = None) -> None:
        name = (spelled or "").lstrip("-")
        namespace.settings.append(Setting(name, None if values == [] else values))


class _ShowHelp(argparse.Action):
    def __call__(self, *_: Any) -> None:
        write_output(help_texts.short())
        raise SystemExit(0)


class _ShowHelpAll(argparse.Action):
    def __call__(self, *_: Any) -> None:
        write_output(help_texts.full())
        raise SystemExit(0)


class _ShowVersion(argparse.Action):
    def __call__(self, *_: Any) -> None:
        write_output(f"{PROGRAM} {__version__}\n")
        raise SystemExit(0)


def _parser() -> _Parser:
    # Without a width, argparse would load a library to ask for the terminal's. help.py shows the help.
    formatter = partial(argparse.HelpFormatter, width=80)
    parser = _Parser(prog=PROGRAM, formatter_class=formatter, add_help=False, allow_abbrev=False)
    actions = {"help": _ShowHelp, "help-all": _ShowHelpAll, "version": _ShowVersion}
    for option in OPTIONS:
        action = actions.get(option.name, _Record)
        # Each spelling is an argument of its own, so that messages name the one that was used.
        for name in option.names:
            parser.add_argument(f"--{name}", action=action, nargs=0 if option.is_flag else None)
    parser.add_argument("-h", action=_ShowHelp, nargs=0)
    return parser


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before and after `--`. Before it, `--chmod-socket` without a value becomes `--chmod-socket=0666`.

    Otherwise argparse would take the next argument for the value. Raises UsageError if that looks like one.
    """
    end = list(argv).index("--") if "--" in argv else len(argv)
    bare = {f"--{name}": o.bare for o in OPTIONS if o.bare and not o.is_flag for name in o.names}
    for argument, following in pairwise(argv[:end]):
        if argument in bare and following.isdecimal():
            raise UsageError(
                f"{argument} {following} would listen on a socket file named {following}: "
                f"write {argument}={following}, or ./{following} for such a file"
            )
    before = [f"{argument}={bare[argument]}" if argument in bare else argument for argument in argv[:end]]
    return before, list(argv[end + 1 :])


def _is_plain_file(path: str) -> bool:
    """True for a regular file, but not for a symbolic link to one: the start refuses that with another message."""
    return os.path.isfile(path) and not os.path.islink(path)


def _positional(argument: str) -> Setting:
    """The Setting for a FILE or a SOCKET. A file whose name has no known ending is an error: it would not be read."""
    format_ = files.ending(argument)
    if format_ is None and (argument.endswith(_ENDINGS_OF_FILES) or _is_plain_file(argument)):
        raise UsageError(
            f"{argument} is a file, not a socket: write --ini {argument} to read options from it "
            "(or --json, --yaml, --toml, --xml)"
        )
    return Setting(format_ or _SOCKET, argument)


def _control_another(flags: Sequence[Setting]) -> None:
    """For --stop and --reload: controls the router of that pid file and ends this process. Raises FastptyError.

    Other options beside them would be ignored or, like --check, contradict them, so they are refused.
    """
    command = next((flag for flag in flags if flag.name in ("stop", "reload")), None)
    wait = not any(flag.name == "no-wait" for flag in flags)
    if command is None:
        if not wait:
            raise UsageError("--no-wait goes with --stop or --reload only")
        return
    unused = [flag for flag in flags if flag is not command and flag.name != "no-wait"]
    if unused:
        names = [flag.value if flag.name in _POSITIONAL_NAMES else f"--{flag.name}" for flag in unused]
        raise UsageError(f"--{command.name} takes no other options: remove {shown(', '.join(map(str, names)))}")
    path = command.value or ""
    if command.name == "stop":
        pidfile.stop(path, wait=wait)
    elif message := pidfile.reload(path, wait=wait):
        write_output(f"{message}\n")
    raise SystemExit(0)


def _unknown_flag(argument: str) -> str:
    flag = argument.partition("=")[0]
    name = flag.lstrip("-")
    if name in blocks.WORDS:
        return f"{flag} works in configuration files only"
    if name in WITHOUT_MEANING:
        return f"{flag} is not supported: {WITHOUT_MEANING[name]}"
    if is_confining(name):
        advice = instead(name)
        return f"{flag} is not supported: {advice}" if advice else f"{flag} is not supported"
    near = nearest(name, in_files=False)
    return f"unknown option {flag}" + (f" (did you mean --{near}?)" if near else f": {PROGRAM} --help-all shows all")
