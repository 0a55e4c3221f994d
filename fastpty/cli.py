"""The `fastpty` command: picks a client command, and loads only that one."""

from __future__ import annotations

import os
import sys

from fastpty import __version__
from fastpty.client import arguments as command_line
from fastpty.errors import FastptyError, SessionError, UsageError
from fastpty.system.standard_descriptors import open_standard_descriptors, write_error, write_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BROKEN = 255
"""Exit status when the session did not run to its end, as in ssh(1): not connected, broken, disconnected."""

_COMMANDS = ("connect", "cp", "exec", "uconnect")

# uWSGI's spellings of the commands, and the word that stands for each.
_SPELLINGS = {"--pty-connect": "connect", "--pty-uconnect": "uconnect"}

_OPTIONS = {"--help": False, "-h": False, "--version": False, "--pty-no-isig": False} | dict.fromkeys(
    _SPELLINGS, True
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with `arguments`, by default those of the process, and returns the exit status."""
    open_standard_descriptors(os.O_RDONLY)  # so that writing to a closed standard output fails
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except (UsageError, SessionError) as error:
        complain(str(error))
        return error.exit_status
    except FastptyError as error:
        complain(str(error))
        return BROKEN
    except (OSError, MemoryError) as error:  # a system call failed where no cause is known
        complain(getattr(error, "strerror", None) or "out of memory")
        return BROKEN


def _run(arguments: Sequence[str]) -> int:
    given = command_line.split(arguments, _OPTIONS, "fastpty", stop_at_word=True)
    if given.options.keys() & {"--help", "-h"}:
        return _show_help("fastpty")
    if "--version" in given.options:
        write_output(f"fastpty {__version__}\n")
        return 0
    calls = [[_SPELLINGS[name], value] for name, value in given.options.items() if name in _SPELLINGS]
    if given.words:
        calls.append(given.words)
    if len(calls) != 1:
        problem = "two addresses: give one" if calls else "nothing to do: try fastpty connect ADDR"
        raise UsageError(f"{problem} (see fastpty --help)")
    command, *rest = calls[0]
    if command not in _COMMANDS:
        raise UsageError(_unknown(command))
    if not given.words:
        rest.insert(0, "--")  # the address may begin with a dash
    if command == "exec":
        return _execute(rest)
    if command == "cp":
        return _copy(rest)
    from fastpty.client import connect

    wanted = connect.read(rest, framed=command == "uconnect")
    if wanted is None:
        return _show_help(f"fastpty {command}")
    return connect.run(wanted, complain)


def _execute(rest: Sequence[str]) -> int:
    from fastpty.client import execute

    wanted = execute.read(rest)
    if wanted is None:
        return _show_help("fastpty exec")
    return execute.run(wanted, complain)


def _copy(rest: Sequence[str]) -> int:
    from fastpty.client import copy

    wanted = copy.read(rest)
    if wanted is None:
        return _show_help("fastpty cp")
    return copy.run(wanted, complain)


def _unknown(word: str) -> str:
    if any(character in word for character in "/:@") or os.path.exists(word):
        return f"unknown command {word}: did you mean fastpty connect {word}?"
    near = command_line.nearest(word, _COMMANDS)
    return f"unknown command {word}" + (f": did you mean {near}?" if near else " (see fastpty --help)")


def _show_help(command: str) -> int:
    from fastpty.client.help import TEXTS

    write_output(TEXTS[command])
    return 0


def complain(text: str) -> None:
    """Writes a line of this command to standard error."""
    write_error(f"fastpty: {text}")
