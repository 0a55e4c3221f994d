"""The `fastpty` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from fastpty import __version__
from fastpty.client.attach import attach, check_streams
from fastpty.client.terminal import die_of
from fastpty.errors import FastptyError, UsageError
from fastpty.net.address import Address, TcpAddress, connect, parse
from fastpty.net.socket_directory import stranger
from fastpty.net.tls_files import Identity
from fastpty.system.standard_descriptors import open_standard_descriptors

BROKEN = 255
"""Exit status where there is no saying how the session ended, as in ssh(1): not connected, broken,
disconnected.
"""

_DESCRIPTION = "Attaches this terminal to a shell, or another program, behind a router's socket."

_EXAMPLES = """\
examples:
  fastpty connect /tmp/fpty.socket          a shell, over the raw protocol
  fastpty connect --uwsgi /tmp/fpty.socket  the same, and resizing works
  echo hostname | fastpty connect @jail     input from a pipe

uWSGI's spellings work, too:
  fastpty --pty-connect ADDR                is fastpty connect ADDR
  fastpty --pty-uconnect ADDR               is fastpty connect --uwsgi ADDR

exit status: 0 when the session ended, 255 when it could not be reached, the
connection broke or you disconnected, 2 for bad usage.
"""

_ESCAPES = """\
ADDR is a path, @abstract, HOST:PORT, :PORT or [IPV6]:PORT.

^C, ^\\ and ^Z go to the remote terminal. To speak to the client itself, at the
beginning of a line:
  ~.  disconnect        ~?  help        ~~  one ~
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command with `arguments`, or those of the process; gives the exit status."""
    open_standard_descriptors(os.O_RDONLY)  # so that output is not lost there
    try:
        return _run(_parser().parse_args(arguments))
    except UsageError as error:
        _complain(str(error))
        return error.exit_status
    except FastptyError as error:
        _complain(str(error))
        return BROKEN
    except KeyboardInterrupt:  # while it was connecting; a traceback would help nobody
        die_of(signal.SIGINT)
        return BROKEN


def _run(wanted: argparse.Namespace) -> int:
    framed = wanted.uwsgi or wanted.pty_uconnect is not None
    given = [text for text in (wanted.address, wanted.pty_connect, wanted.pty_uconnect) if text is not None]
    if len(given) != 1:
        problem = "two addresses: give one" if given else "nothing to do: try fastpty connect ADDR"
        raise UsageError(f"{problem} (see fastpty --help)")
    address = parse(given[0])
    identity = _identity(wanted, address)
    check_streams()
    with connect(address) as sock:
        doubt = stranger(sock, address)
        if doubt is not None:
            _complain(f"warning: {doubt}")
        if identity is None:
            attach(sock, framed, escape=wanted.escape)
        else:
            from fastpty.net.tls import tunnel  # it takes a while to load

            with tunnel(sock, identity, wanted.tls_name or _host(address)) as plain:
                attach(plain, framed, escape=wanted.escape)
    return 0


def _complain(text: str) -> None:
    if sys.stderr is not None:  # it was closed; print would choose standard output
        print(f"fastpty: {text}", file=sys.stderr)


def _identity(wanted: argparse.Namespace, address: Address) -> Identity | None:
    """The files for TLS, or None if none is wanted."""
    files = [wanted.tls_cert, wanted.tls_key, wanted.tls_ca]
    if not any(files):
        if wanted.tls_name:
            raise UsageError("--tls-name needs TLS: give --tls-cert, --tls-key and --tls-ca")
        return None
    if not all(files):
        raise UsageError("TLS needs all three of --tls-cert, --tls-key and --tls-ca")
    if not isinstance(address, TcpAddress):
        raise UsageError(f"{address.text}: TLS is for TCP addresses")
    return Identity(*files)


def _host(address: Address) -> str:
    return address.host or "localhost" if isinstance(address, TcpAddress) else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastpty",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(
        address=None, uwsgi=False, escape=b"~", tls_cert=None, tls_key=None, tls_ca=None, tls_name=None
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--pty-connect", metavar="ADDR", help="attach over the raw protocol")
    parser.add_argument("--pty-uconnect", metavar="ADDR", help="attach over the uwsgi protocol")
    parser.add_argument(
        "--pty-no-isig",
        action="store_true",
        help="accepted, and no change: ^C, ^\\ and ^Z always go to the remote terminal",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    connect_parser = _add_command(commands, "connect", "attach to a router's socket")
    connect_parser.add_argument(
        "--uwsgi", action="store_true", help="speak the uwsgi protocol, for --forkpty-urouter sockets"
    )
    _add_command(commands, "uconnect", "the same as connect --uwsgi").set_defaults(uwsgi=True)
    return parser


def _add_command(commands: argparse._SubParsersAction[_Parser], name: str, summary: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=_DESCRIPTION,
        epilog=_ESCAPES,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    command.add_argument(
        "-e",
        dest="escape",
        metavar="CHAR",
        type=_escape_character,
        default=b"~",
        help="the escape character instead of ~; none switches escapes off",
    )
    for name, text in (
        ("cert", "speak TLS, with this certificate (PEM)"),
        ("key", "its key"),
        ("ca", "the authorities that the router's certificate must be from"),
    ):
        command.add_argument(f"--tls-{name}", metavar="FILE", help=text)
    command.add_argument("--tls-name", metavar="NAME", help="the name in its certificate, if that is not the host's")
    command.add_argument("address", metavar="ADDR", help="where the router listens")
    return command


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=79)


def _escape_character(text: str) -> bytes | None:
    if text == "none":
        return None
    if len(text) == 1 and " " < text < "\x7f":
        return text.encode()
    raise argparse.ArgumentTypeError(f"{text!r} is neither one printable ASCII character nor none")
