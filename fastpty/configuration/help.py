"""The texts of `--help` and `--help-all`, made from the table of options."""

from __future__ import annotations

import textwrap

from fastpty.configuration.option import Option
from fastpty.configuration.options import OPTIONS

PROGRAM = "fastpty-router"
_WIDTH = 79
_INDENT = 26

_USAGE = f"""\
usage: {PROGRAM} [OPTION]... SOCKET    serve raw clients on SOCKET
       {PROGRAM} [OPTION]... FILE.ini  read options from FILE.ini

Give each client of a socket a shell on a new pseudo-terminal.
ADDR and SOCKET are a path, @name, HOST:PORT, :PORT, [IPV6]:PORT or fd://N.
"""
_FORMS = f"""\
TIME is a number of seconds or has a unit: 90, 90s, 5m, 1h, 2d.
SIZE is a number of bytes or has a unit: 65536, 64K, 1M.
FILE may end with .ini, .json, .yaml, .yml, .toml or .xml. In such a file an
option is NAME = VALUE, in the environment FASTPTY_NAME=VALUE.
Flags only:
{", ".join(f"--{option.name}" for option in OPTIONS if not option.in_files)}.
"""
_EXAMPLES = f"""\
Examples:
  {PROGRAM} --listen-uwsgi /tmp/fpty.socket
  {PROGRAM} --command 'bash -l' --uid nobody /tmp/bash.socket
  {PROGRAM} --check jail.ini

Attach to the first one with: fastpty connect --uwsgi /tmp/fpty.socket
"""
_MORE = f"All options: {PROGRAM} --help-all\n"


def short() -> str:
    """What `--help` prints: the usual options, one line each, on one screen."""
    return "\n".join([_USAGE, *(_summary(option) for option in OPTIONS if option.usual), "", _EXAMPLES + _MORE])


def full() -> str:
    """What `--help-all` prints: every option, at most 80 columns wide."""
    parts = ["\n".join([_USAGE, _FORMS])]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines = [_entry(option) for option in OPTIONS if option.group == group]
        parts.append("\n".join([f"{group.title}:", *lines, ""]))
    return "\n".join([*parts, _EXAMPLES])


def _summary(option: Option) -> str:
    default = "" if option.default is None else f" Default: {option.default}."
    return _columns(_head(option), option.summary + default)


def _entry(option: Option) -> str:
    also = f" Also --{', --'.join(option.aliases)}." if option.aliases else ""
    return _columns(_head(option), option.notes + also)


def _head(option: Option) -> str:
    return f"  {'-h, ' if option.name == 'help' else ''}{option.spelling}"


def _columns(head: str, text: str) -> str:
    indent = " " * _INDENT
    body = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(head) + 2 <= _INDENT:
        body[0] = head.ljust(_INDENT) + body[0].lstrip()
        return "\n".join(body)
    return "\n".join([head, *body])
