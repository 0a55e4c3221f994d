"""Parses the command line of `fastpty connect`."""

from __future__ import annotations

import os

from fastpty.client import arguments as command_line
from fastpty.errors import UsageError
from fastpty.net.address import TcpAddress, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastpty.client.arguments import Arguments
    from fastpty.net.address import Address
    from fastpty.net.tls_files import Identity

_CONNECT_SECONDS = 10.0

_PROTOCOLS = ("auto", "fpty", "raw", "uwsgi")

# Each option, and whether it takes a value.
OPTIONS = {
    "--protocol": True,
    "--uwsgi": False,
    "-e": True,
    "-w": True,
    "-n": False,
    "-q": False,
    "-v": False,
    "--raise": False,
    "--status-fd": True,
    "--connect-timeout": True,
    "--tls-cert": True,
    "--tls-key": True,
    "--tls-ca": True,
    "--tls-name": True,
    "--pty-no-isig": False,
    "-h": False,
    "--help": False,
}


class Wanted:
    """What a command line asks for. Raises UsageError if it is not valid.

    `framed`: with a router that does not speak the extension, the client speaks uwsgi instead of raw. `need`: the first
    option that only a router with the extension can fulfil, for messages, or None.
    """

    def __init__(self, given: Arguments, words: list[str], *, framed: bool) -> None:
        options = given.options
        self.escape = _escape_character([value for value in given.values("-e") if not _is_variable(value)])
        self.reads_input = "-n" not in options
        self.is_quiet = "-q" in options
        self.is_verbose = "-v" in options
        self.connect_seconds = seconds(options, "--connect-timeout", _CONNECT_SECONDS)
        self.address = parse(words[0])
        self.tls = _identity(options, self.address)
        self.tls_name = options.get("--tls-name") or _host(self.address)
        self.command = words[1:]
        self.environment = [value for value in given.values("-e") if _is_variable(value)]
        self.directory = options.get("-w")
        self.raises = "--raise" in options
        self.status_fd = _descriptor(options.get("--status-fd"))
        self.protocol = _protocol(options.get("--protocol", "auto"))
        self.framed = framed or "--uwsgi" in options or self.protocol == "uwsgi"
        self.need = self._need()
        if self.framed and self.protocol in ("raw", "fpty"):
            raise UsageError(f"--protocol {self.protocol} and --uwsgi are two protocols: give one")
        if self.need and self.protocol in ("raw", "uwsgi"):
            raise UsageError(f"{self.need} does not work with --protocol {self.protocol}")

    def _need(self) -> str | None:
        wants = {
            "a command": self.command,
            "-e NAME=VALUE": self.environment,
            "-w": self.directory,
            "--status-fd": self.status_fd is not None,
            "--raise": self.raises,
        }
        return next((name for name, is_wanted in wants.items() if is_wanted), None)


def read(arguments: Sequence[str], *, framed: bool) -> Wanted | None:
    """Parses `arguments`; returns None if they ask for the help. `framed`: the command is `uconnect`."""
    found = split(arguments, OPTIONS, "fastpty uconnect" if framed else "fastpty connect")
    return None if found is None else Wanted(*found, framed=framed)


def split(arguments: Sequence[str], known: Mapping[str, bool], program: str) -> tuple[Arguments, list[str]] | None:
    """Returns the options and the words: the address, and a command for the router. None if they ask for the help."""
    given = command_line.split(arguments, known, program)
    if given.options.keys() & {"-h", "--help"}:
        return None
    words = given.words
    if not words:
        raise UsageError(f"ADDR is missing (see {program} --help)")
    if given.words_before == 0 and words[1:2] == ["--"]:  # the address began with a dash
        words = [words[0], *words[2:]]
    elif given.words_before is None and len(words) > 1:
        raise UsageError(
            f"one address at a time, not {' '.join(words)}; a command follows `--` (see {program} --help)"
        )
    elif given.words_before is not None and given.words_before > 1:
        raise UsageError(f"one address at a time, not {' '.join(words[: given.words_before])} (see {program} --help)")
    return given, words


def _is_variable(value: str) -> bool:
    return value.find("=") > 0


def _identity(options: dict[str, str], address: Address) -> Identity | None:
    """The files for TLS; None if none is wanted."""
    files = [options.get(name) for name in ("--tls-cert", "--tls-key", "--tls-ca")]
    certificate, key, authorities = files
    if not any(files):
        if "--tls-name" in options:
            raise UsageError("--tls-name needs TLS: give --tls-cert, --tls-key and --tls-ca")
        return None
    if not (certificate and key and authorities):
        raise UsageError("TLS needs all three of --tls-cert, --tls-key and --tls-ca")
    if not isinstance(address, TcpAddress):
        raise UsageError(f"{address.text}: TLS is for TCP addresses")
    from fastpty.net.tls_files import Identity  # `dataclasses` is slow to load

    return Identity(certificate, key, authorities)


def _host(address: Address) -> str:
    return address.host or "localhost" if isinstance(address, TcpAddress) else ""


def _escape_character(texts: list[str]) -> bytes | None:
    text = texts[-1] if texts else "~"
    if text == "none":
        return None
    if len(text) == 1 and " " < text < "\x7f":
        return text.encode()
    raise UsageError(f"-e: {text!r} is neither NAME=VALUE, nor one printable ASCII character, nor none")


def _protocol(text: str) -> str:
    if text not in _PROTOCOLS:
        raise UsageError(f"--protocol: {text!r} is none of {', '.join(_PROTOCOLS)}")
    return text


def _descriptor(text: str | None) -> int | None:
    if text is None:
        return None
    import fcntl

    try:
        number = int(text)
        flags = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except (ValueError, OverflowError, OSError):
        flags = os.O_RDONLY
    if flags == os.O_RDONLY:
        raise UsageError(f"--status-fd: {text!r} is not the number of a descriptor that is open for writing")
    return number


def seconds(options: Mapping[str, str], name: str, default: float) -> float:
    """The value of an option that is a number of seconds, 0 to 86400. Raises UsageError."""
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86400:
        raise UsageError(f"{name}: {text!r} is not a number of seconds from 0 to 86400")
    return number
