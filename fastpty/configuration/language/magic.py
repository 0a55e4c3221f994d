"""Replaces uWSGI's magic variables (`%n` and the like) with facts about the file, while the file is read.

Measured with uWSGI 2.0.21. It replaces `%` and the byte after it in keys, values and section names, before it splits
the file into lines. An unknown variable is replaced by nothing; here this is a warning. A `%` at the end of a line
joins the next line to it; here this is an error. `%(` stays for placeholders, and `%%` is one `%`. Names of files,
directories, hosts and users may have been chosen by somebody else, so they are data here (text.py): a `@(…)` in them is
not expanded.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping

from fastpty import __version__
from fastpty.configuration.language.text import Text

_VARIABLE = re.compile(r"%(.?)", re.DOTALL)
_WRITTEN = {"%": "%", "(": "%(", "[": "\033"}

_OF_FIRST_FILE = "opsdencxij"
"""Variables whose capital letters mean the same for the first file."""


def of_process() -> dict[str, str]:
    """The variables that are the same in every file: user, host, time, versions."""
    now = time.time_ns()
    uid, gid = os.getuid(), os.getgid()
    return {
        "v": os.getcwd(),
        "V": __version__,
        "h": socket.gethostname(),
        "u": str(uid),
        "U": _name(lambda: pwd.getpwuid(uid).pw_name, uid),
        "g": str(gid),
        "G": _name(lambda: grp.getgrgid(gid).gr_name, gid),
        "t": str(now // 1_000_000_000),
        "T": str(now // 1000),
        "k": str(os.sysconf("SC_NPROCESSORS_ONLN")),
        "b": os.path.abspath(sys.argv[0]),
    }


def of_file(given: str, path: str, section: str | None) -> dict[str, str]:
    """The variables of a file: its name as `given`, its path, the wanted section.

    For a symbolic link they describe the link, not its target.
    """
    whole = os.path.abspath(path) if os.path.islink(path) else os.path.realpath(path)
    folder, _, base = whole.rpartition("/")
    folder += "/"
    parts = [part for part in folder.split("/") if part]
    stem, dot, ending = base.rpartition(".")
    return {
        "o": given,
        "p": whole,
        "s": base,
        "d": folder,
        "c": parts[-1] if parts else "",
        "n": stem if dot else base,
        "e": ending if dot else "",
        "x": section or "",
        "i": _inode(path),
        "j": _djb33x(os.fsencode(whole)),
        **{str(number): parts[number] if number < len(parts) else "" for number in range(10)},
    }


def of_first_file(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables with capital letters, from those of the first file."""
    return {letter.upper(): variables[letter] for letter in _OF_FIRST_FILE}


def expand(text: str, variables: Mapping[str, str]) -> tuple[Text, list[str]]:
    """Returns the text with its variables replaced, and the unknown variables that were removed.

    Raises ValueError for a `%` at the end.
    """
    parts = []
    unknown = []
    done = 0
    for found in _VARIABLE.finditer(text):
        parts.append(Text.written(text[done : found.start()]))
        done = found.end()
        name = found[1]
        if not name:
            raise ValueError(f"{text!r} ends with a single %: write %% for a %")
        if name in _WRITTEN:
            parts.append(Text.written(_WRITTEN[name]))
        elif name in variables:
            parts.append(Text.outside(variables[name]))
        else:
            unknown.append(found[0])
    return Text.join([*parts, Text.written(text[done:])]), unknown


def _name(find: Callable[[], str], number: int) -> str:
    try:
        return find()
    except KeyError:
        return str(number)


def _inode(path: str) -> str:
    try:
        return str(os.lstat(path).st_ino)
    except (OSError, ValueError):
        return ""


def _djb33x(data: bytes) -> str:
    """Bernstein's hash with xor, in hex, in little-endian byte order."""
    value = 5381
    for byte in data:
        value = (value * 33 & 0xFFFF_FFFF) ^ byte
    return value.to_bytes(4, "little").hex().upper()
