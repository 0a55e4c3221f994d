"""The command line of fastpty-router, made from the table of options."""

from __future__ import annotations

import argparse
import signal
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fastpty import __version__
from fastpty.configuration import report as check
from fastpty.configuration.build import build
from fastpty.configuration.config import Config
from fastpty.configuration.language import blocks, files, loader
from fastpty.configuration.language.budget import Budget
from fastpty.configuration.language.setting import Setting
from fastpty.configuration.options import OPTIONS, Option
from fastpty.configuration.uwsgi_keys import WITHOUT_MEANING, instead, is_confining, nearest
from fastpty.errors import FastptyError, UsageError, printable
from fastpty.service import pidfile
from fastpty.system.names import shown
from fastpty.system.standard_descriptors import write_error, write_output

PROGRAM = "fastpty-router"
_OF_ARGUMENTS = frozenset({"forkpty-router", *files.FORMATS})
_WIDTH = 79
_INDENT = 26

_USAGE = f"""\
usage: {PROGRAM} [OPTION]... SOCKET
       {PROGRAM} [OPTION]... FILE.ini

Gives each client of a socket a shell on a new pseudo-terminal.
SOCKET stands for --forkpty-router SOCKET, FILE.ini for --ini FILE.ini; so do
files that end with .json, .yaml, .yml and .toml.
ADDR is a path, @name, host:port, :port, [::1]:port or fd://N.
"""
_EXAMPLES = f"""\
Examples:
  {PROGRAM} /tmp/fpty.socket
  {PROGRAM} --forkpty-urouter /run/fpty.socket --uid www-data
  {PROGRAM} --unshare uts --exec-as-root 'hostname iaminajail' @jail
  {PROGRAM} --strict jail.ini

Without the dashes, every option but check, stop, reload, help and version is
also a key of the [uwsgi] section of FILE.ini.
Attach with: fastpty connect SOCKET
"""


def configure(argv: Sequence[str], *, is_reload: bool = False) -> tuple[Config, list[str]]:
    """The Config and the warnings for a command line (without the program's name); see `read`."""
    return read(argv, lambda config: None, is_reload=is_reload)[:2]


def read(
    argv: Sequence[str], preflight: Callable[[Config], None], *, is_reload: bool = False
) -> tuple[Config, list[str], Sequence[Setting]]:
    """The Config and the warnings for a command line, and the settings that they were made from.

    preflight: for --check; raises FastptyError for what would end a start.
    Ends the process for --help, --version, --check, --stop and --reload (status 0), and with one line on stderr
    where something is wrong (status 2, with --check whatever it is). What `print` and `show-config` ask for goes to
    stderr.
    """
    is_check = False
    try:
        flags = parse(argv)
        is_check = any(flag.name == "check" for flag in flags)
        _tell_another(flags)
        budget = Budget()
        loaded = loader.load(flags, is_reload=is_reload, budget=budget)
        with budget.deadline():
            config, warnings = build(loaded.settings)
            if is_check:
                preflight(config)
    except FastptyError as error:
        write_error(f"{PROGRAM}: {error}")
        raise SystemExit(UsageError.exit_status if is_check else error.exit_status) from None
    for line in [*loaded.printed, *(check.as_ini(loaded.listing) if loaded.listing is not None else ())]:
        write_error(printable(line))
    warnings = [printable(warning) for warning in loaded.warnings + warnings]
    if is_check:
        for warning in warnings:
            write_error(f"{PROGRAM}: warning: {warning}")
        write_output("".join(f"{printable(line)}\n" for line in check.report(loaded.settings)))
        raise SystemExit(0)
    return config, warnings, loaded.settings


def parse(argv: Sequence[str]) -> list[Setting]:
    """The flags and arguments of a command line, in their order; --help and --version end the process.

    Raises UsageError for an unknown flag, a flag that lacks its value and a flag that takes none but has one.
    """
    before, after = _split(argv)
    namespace, rest = _parser().parse_known_args(before, argparse.Namespace(settings=[]))
    settings: list[Setting] = namespace.settings
    for argument in rest:
        if argument.startswith("-"):
            raise UsageError(_unknown_flag(argument))
    return settings + [_positional(argument) for argument in [*rest, *after]]


def help_text() -> str:
    """What --help shows, at most 80 columns wide."""
    parts = [_USAGE]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines = [_help_entry(option) for option in OPTIONS if option.group == group]
        parts.append("\n".join([f"{group}:", *lines, ""]))
    return "\n".join([*parts, _EXAMPLES])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        raise UsageError(message.replace("ignored explicit argument", "takes no value, but was given"))


class _Record(argparse.Action):
    """Adds a Setting to the list, under the name as it was spelled."""

    def __call__(self, _parser: Any, namespace: Any, values: Any, spelled: str | None = None) -> None:
        name = (spelled or "").lstrip("-")
        namespace.settings.append(Setting(name, None if values == [] else values))


class _ShowHelp(argparse.Action):
    def __call__(self, *_: Any) -> None:
        write_output(help_text())
        raise SystemExit(0)


class _ShowVersion(argparse.Action):
    def __call__(self, *_: Any) -> None:
        write_output(f"{PROGRAM} {__version__}\n")
        raise SystemExit(0)


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    actions = {"help": _ShowHelp, "version": _ShowVersion}
    for option in OPTIONS:
        action = actions.get(option.name, _Record)
        # Each spelling is an argument of its own, so that messages name the one that was used.
        for name in option.names:
            parser.add_argument(f"--{name}", action=action, nargs=0 if option.is_flag else None)
    parser.add_argument("-h", action=_ShowHelp, nargs=0)
    return parser


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before and after `--`; before it, every bare `--chmod-socket` gets its value spelled out.

    Without that, argparse would take the next argument for the value.
    """
    end = list(argv).index("--") if "--" in argv else len(argv)
    bare = {f"--{name}": o.bare for o in OPTIONS if o.bare and not o.is_flag for name in o.names}
    before = [f"{argument}={bare[argument]}" if argument in bare else argument for argument in argv[:end]]
    return before, list(argv[end + 1 :])


def _positional(argument: str) -> Setting:
    return Setting(files.ending(argument) or "forkpty-router", argument)


def _tell_another(flags: Sequence[Setting]) -> None:
    """For --stop and --reload: signals the router of that pid file, and ends this process. Raises FastptyError.

    Whatever stands beside one of them would be ignored, or contradict it, as --check does, which changes nothing.
    """
    signals = {"stop": signal.SIGTERM, "reload": signal.SIGHUP}
    told = next((flag for flag in flags if flag.name in signals), None)
    if told is None:
        return
    others = [flag.value if flag.name in _OF_ARGUMENTS else f"--{flag.name}" for flag in flags if flag is not told]
    if others:
        raise UsageError(f"--{told.name} does nothing else: leave out {shown(', '.join(map(str, others)))}")
    pidfile.send(told.value or "", signals[told.name])
    raise SystemExit(0)


def _unknown_flag(argument: str) -> str:
    flag = argument.partition("=")[0]
    name = flag.lstrip("-")
    if name in blocks.WORDS:
        return f"{flag} can stand in files only"
    if name in WITHOUT_MEANING:
        return f"{flag}: {WITHOUT_MEANING[name]}"
    if is_confining(name):
        advice = instead(name)
        return f"{flag} is not supported: {advice}" if advice else f"{flag} is not supported yet"
    near = nearest(name, in_files=False)
    return f"unknown flag {flag}" + (f" (did you mean --{near}?)" if near else " (--help lists all)")


def _help_entry(option: Option) -> str:
    value = "" if option.is_flag else f"[={option.metavar}]" if option.bare else f" {option.metavar}"
    notes = option.help
    if option.default is not None:
        notes += f" (default: {option.default})"
    if option.repeatable:
        notes += "; may be repeated"
    if option.aliases:
        notes += f"; also --{', --'.join(option.aliases)}"
    head = f"  {'-h, ' if option.name == 'help' else ''}--{option.name}{value}"
    indent = " " * _INDENT
    body = textwrap.wrap(notes, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(head) + 2 <= _INDENT:
        body[0] = head.ljust(_INDENT) + body[0].lstrip()
        return "\n".join(body)
    return "\n".join([head, *body])
