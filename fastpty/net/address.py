"""Parses addresses and connects to them.

The forms are uWSGI's (a path, `@abstract`, `host:port`, `:port`, `fd://N`) and `[::1]:port`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastpty.errors import FastptyError, UsageError
from fastpty.net import tcp

# unix(7): sun_path has 108 bytes. A path ends with a NUL byte. An abstract name begins with one and, as uWSGI writes
# it, also ends with one.
_PATH_LIMIT = 107
_ABSTRACT_LIMIT = 106


class _Local:
    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it. For an inherited socket, its opener has decided that."""
        return True


@dataclass(frozen=True)
class UnixAddress(_Local):
    """A socket file."""

    path: str

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return self.path


@dataclass(frozen=True)
class AbstractAddress(_Local):
    """A name in Linux's abstract socket namespace, without the leading NUL."""

    name: str

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"@{self.name}"

    @property
    def spellings(self) -> tuple[bytes, bytes]:
        """Its two names in the kernel: the usual one, and uWSGI's, which includes C's closing NUL."""
        name = b"\0" + os.fsencode(self.name)
        return name, name + b"\0"


@dataclass(frozen=True)
class TcpAddress:
    """A TCP port. Without a host, a listener uses all interfaces and a client this machine."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it: the host resolves to loopback addresses only."""
        try:
            return bool(self.host) and all(_is_loopback(str(target[0])) for _, target in self.resolve())
        except OSError:
            return False

    def resolve(self) -> list[tuple[int, Target]]:
        """The address families and socket addresses of the host; raises socket.gaierror.

        The host is looked up once, so that the router listens on the addresses that it has checked. A pickled object
        keeps them.
        """
        return self._targets

    @cached_property
    def _targets(self) -> list[tuple[int, Target]]:
        try:
            found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # part of the name is empty or too long (IDNA)
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
        return [(info[0], info[4]) for info in found]


@dataclass(frozen=True)
class FdAddress(_Local):
    """An inherited listening socket with this descriptor number."""

    number: int

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"fd://{self.number}"


@dataclass(frozen=True)
class SharedAddress(_Local):
    """uWSGI's `=N`: the address of the N-th shared-socket, from 0."""

    index: int

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"={self.index}"


Address = UnixAddress | AbstractAddress | TcpAddress | FdAddress | SharedAddress

Target = tuple[Any, ...] | str | bytes
"""The argument of socket.bind() and socket.connect()."""


def parse(text: str) -> Address:
    """Parses an address; raises UsageError if it is not valid.

    Text with a slash is a path, so a file name with a colon is written `./a:1`. TCP port 0 is allowed: a listener then
    gets a free port.
    """
    if not text:
        raise UsageError("the address is empty: give a path, @name, HOST:PORT or fd://N")
    if "\0" in text:
        raise UsageError(f"{text!r}: an address cannot hold a NUL byte")
    if text.startswith("@"):
        return _parse_abstract(text)
    if text.startswith("="):
        return SharedAddress(_number(text, text[1:], "the shared socket", 1023))
    if text.startswith("fd://"):
        return FdAddress(_number(text, text.removeprefix("fd://"), "the descriptor", 2**31 - 1))
    if "/" not in text and ":" in text:
        return _parse_tcp(text)
    size = len(os.fsencode(text))
    if size > _PATH_LIMIT:
        raise UsageError(
            f"{text}: this path has {size} bytes, and a socket's path can have {_PATH_LIMIT}: use a shorter one"
        )
    return UnixAddress(text)


def _parse_abstract(text: str) -> AbstractAddress:
    name = text[1:]
    size = len(os.fsencode(name))
    if not 1 <= size <= _ABSTRACT_LIMIT:
        raise UsageError(f"{text}: an abstract name can have 1 to {_ABSTRACT_LIMIT} bytes, and this has {size}")
    return AbstractAddress(name)


def _parse_tcp(text: str) -> TcpAddress:
    bracketed = re.fullmatch(r"\[([^][]+)\]:(.*)", text)
    host, port = bracketed.groups() if bracketed else text.rsplit(":", 1)
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise UsageError(f"{text}: {host!r} is not an IPv6 address") from None
    elif ":" in host:
        raise UsageError(f"{text}: an IPv6 address needs brackets: [{host}]:{port}")
    elif not re.fullmatch(r"[^][\s]*", host):
        raise UsageError(f"{text}: {host!r} is not a host")
    return TcpAddress(host, _number(text, port, "the port", 65535))


def _number(text: str, digits: str, what: str, limit: int) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= limit:
        return int(digits)
    raise UsageError(f"{text}: {what} must be a number from 0 to {limit}, not {digits!r}")


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def connect(address: Address, timeout: float | None = None) -> socket.socket:
    """Connects to `address` with a blocking, close-on-exec socket; raises FastptyError with one line.

    timeout: seconds for each socket address that a host name resolves to.
    """
    failure: OSError = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    try:
        targets = _targets(address)
    except socket.gaierror as error:
        raise _cannot_connect(address, error) from error
    for family, target in targets:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(target)
            sock.settimeout(None)
            if family != socket.AF_UNIX:
                tcp.prepare(sock)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise _cannot_connect(address, failure) from failure


def _targets(address: Address) -> list[tuple[int, Target]]:
    match address:
        case UnixAddress():
            return [(socket.AF_UNIX, address.path)]
        case AbstractAddress():
            return [(socket.AF_UNIX, name) for name in address.spellings]
        case TcpAddress():
            return address.resolve()
        case FdAddress() | SharedAddress():
            raise UsageError(f"{address.text}: this address is for listening only")


_WHY_NOT_CONNECT = {
    errno.ENOENT: "no such socket: is the router running?",
    errno.ECONNREFUSED: "no program is listening there: is the router running?",
    errno.EACCES: "permission denied: its mode or owner keeps this user out",
    errno.EAGAIN: "the router is busy: try again",
}


def _cannot_connect(address: Address, error: OSError) -> FastptyError:
    return FastptyError(f"cannot connect to {address.text}: {why(error, _WHY_NOT_CONNECT)}")


def why(error: OSError, known: dict[int, str]) -> str:
    """The text for an error with an address: from `known` for its errno, or the system's."""
    if isinstance(error, socket.gaierror):
        return f"its host cannot be resolved ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "no answer: is this the right address?"
    return known.get(error.errno or 0, error.strerror or str(error))
