"""`fastpty connect`: reads its options, connects, and attaches to the session."""

from __future__ import annotations

import _socket
import os
import time

from fastpty.client import arguments as command_line
from fastpty.client.attach import DisconnectedError, attach
from fastpty.client.link import Link
from fastpty.client.peer import stranger
from fastpty.client.streams import check_streams
from fastpty.client.terminal import window_size
from fastpty.errors import UsageError, printable
from fastpty.net.address import TcpAddress, dial, parse
from fastpty.system.credentials import peer_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastpty.net.address import Address
    from fastpty.net.tls_files import Identity

_CONNECT_SECONDS = 10.0

# Each option, and whether it takes a value.
_OPTIONS = {
    "--uwsgi": False,
    "-e": True,
    "-n": False,
    "-q": False,
    "-v": False,
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
    """What a command line asks for. Raises UsageError if that cannot be."""

    def __init__(self, options: dict[str, str], text: str, *, framed: bool) -> None:
        self.framed = framed or "--uwsgi" in options
        self.escape = _escape_character(options.get("-e", "~"))
        self.reads_input = "-n" not in options
        self.is_quiet = "-q" in options
        self.is_verbose = "-v" in options
        self.connect_seconds = _seconds(options.get("--connect-timeout", str(_CONNECT_SECONDS)))
        self.address = parse(text)
        self.tls = _identity(options, self.address)
        self.tls_name = options.get("--tls-name") or _host(self.address)


def read(arguments: Sequence[str], *, framed: bool) -> Wanted | None:
    """What `arguments` ask for; None for the help. `framed`: the command is `uconnect`."""
    program = "fastpty uconnect" if framed else "fastpty connect"
    given = command_line.split(arguments, _OPTIONS, program)
    if given.options.keys() & {"-h", "--help"}:
        return None
    if len(given.words) != 1:
        problem = f"one address at a time, not {' '.join(given.words)}" if given.words else "ADDR is missing"
        raise UsageError(f"{problem} (see {program} --help)")
    return Wanted(given.options, given.words[0], framed=framed)


def run(wanted: Wanted, complain: Callable[[str], None]) -> int:
    """Connects and attaches; returns the exit status 0. Raises FastptyError if the session did not run to its end."""
    check_streams()
    stdin_fd = 0 if wanted.reads_input else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    size = (window_size(0) or window_size(1)) if wanted.framed else None
    deadline = time.monotonic() + wanted.connect_seconds if wanted.connect_seconds else None
    sock = dial(wanted.address, wanted.connect_seconds or None)
    try:
        if wanted.tls is None:
            link = Link(sock, wanted.framed, printable(wanted.address.text))
            # At once, so that the program does not start in a window of another size.
            link.announce(size)
            _send_at_once(link)
            _warn(wanted, sock, complain)
            _attach(wanted, link, stdin_fd, complain)
        else:
            _attach_over_tls(wanted, sock, stdin_fd, deadline, complain)
    finally:
        sock.close()
    return 0


def _send_at_once(link: Link) -> None:
    try:
        link.send()
    except OSError:  # for lack of memory: the loop will send it
        return


def _warn(wanted: Wanted, sock: _socket.socket, complain: Callable[[str], None]) -> None:
    doubt = stranger(sock, wanted.address)
    if doubt is not None and not wanted.is_quiet:
        complain(f"warning: {doubt}")
    if wanted.is_verbose:
        protocol = "uwsgi" if wanted.framed else "raw"
        process = ""
        if sock.family == _socket.AF_UNIX:
            peer = peer_credentials(sock)
            process = f" (listening: process {peer.pid}, uid {peer.uid})"
        complain(f"connected to {printable(wanted.address.text)}{process}, {protocol} protocol")


def _attach(wanted: Wanted, link: Link, stdin_fd: int, complain: Callable[[str], None]) -> None:
    began = time.monotonic()
    try:
        attach(
            link,
            stdin_fd,
            escape_character=wanted.escape,
            accept_seconds=wanted.connect_seconds,
        )
    except DisconnectedError:
        if wanted.is_quiet:
            raise SystemExit(255) from None
        raise
    finally:
        if wanted.is_verbose:
            counts = f"{link.bytes_sent} bytes sent, {link.bytes_received} bytes received"
            complain(f"{counts} in {time.monotonic() - began:.1f} s")


def _attach_over_tls(
    wanted: Wanted, sock: _socket.socket, stdin_fd: int, deadline: float | None, complain: Callable[[str], None]
) -> None:
    from fastpty.client.tunnel import tunnel, wait_for_mark  # `ssl` is slow to load

    assert wanted.tls is not None
    _warn(wanted, sock, complain)
    with tunnel(sock, wanted.tls, wanted.tls_name, wanted.address.text, deadline) as plain:
        link = Link(plain, wanted.framed, printable(wanted.address.text))
        link.ask_mark = lambda: wait_for_mark(sock)
        _attach(wanted, link, stdin_fd, complain)


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


def _escape_character(text: str) -> bytes | None:
    if text == "none":
        return None
    if len(text) == 1 and " " < text < "\x7f":
        return text.encode()
    raise UsageError(f"-e: {text!r} is not one printable ASCII character, nor the word none")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise UsageError(f"--connect-timeout: {text!r} is not a number of seconds from 0 to 86400")
    return seconds
