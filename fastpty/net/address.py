"""Parses addresses and connects to them.

The forms are uWSGI's (a path, `@abstract`, `host:port`, `:port`, `fd://N`) and `[::1]:port`.
"""

from __future__ import annotations

import _socket  # for the client: loading `socket` takes as long as all its other modules
import errno
import os

from fastpty.errors import FastptyError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Final, TypeAlias

# unix(7): sun_path has 108 bytes. A path ends with a NUL byte. An abstract name begins with one and, as uWSGI writes
# it, also ends with one.
_PATH_LIMIT = 107
_ABSTRACT_LIMIT = 106

_IPV6_LOOPBACK = bytes(15) + b"\1"  # ::1
_IPV4_LOOPBACK_IN_IPV6 = bytes(10) + b"\xff\xff\x7f"  # the beginning of ::ffff:127.0.0.0 to ::ffff:127.255.255.255


class _Address:
    """An immutable value, equal to another of its class with the same parts. (Loading `dataclasses` takes 15 ms.)"""

    _PARTS: tuple[str, ...]

    def _parts(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._PARTS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Address) and type(self) is type(other) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash((type(self), *self._parts()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._parts()}"


class _Local(_Address):
    @property
    def is_loopback(self) -> bool:
        """True: only this machine can reach it. An inherited socket counts too: its opener decided who can."""
        return True


class UnixAddress(_Local):
    """A socket file."""

    _PARTS = ("path",)

    def __init__(self, path: str) -> None:
        self.path: Final = path

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return self.path


class AbstractAddress(_Local):
    """A name in Linux's abstract socket namespace, without the leading NUL."""

    _PARTS = ("name",)

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"@{self.name}"

    @property
    def spellings(self) -> tuple[bytes, bytes]:
        """Its two names in the kernel: the usual one, and uWSGI's, which includes C's closing NUL."""
        name = b"\0" + os.fsencode(self.name)
        return name, name + b"\0"


class TcpAddress(_Address):
    """A TCP port. No host means all interfaces to a listener and this machine to a client."""

    _PARTS = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host: Final = host
        self.port: Final = port
        self._found: list[tuple[int, Target]] | None = None

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
        if self._found is None:
            self._found = self._look_up()
        return self._found

    def _look_up(self) -> list[tuple[int, Target]]:
        import socket

        try:
            found = socket.getaddrinfo(self.host or None, self.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # part of the name is empty or too long (IDNA)
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
        return [(info[0], info[4]) for info in found]


class FdAddress(_Local):
    """An inherited listening socket with this descriptor number."""

    _PARTS = ("number",)

    def __init__(self, number: int) -> None:
        self.number: Final = number

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"fd://{self.number}"


class SharedAddress(_Local):
    """uWSGI's `=N`: the address of the N-th shared-socket, from 0."""

    _PARTS = ("index",)

    def __init__(self, index: int) -> None:
        self.index: Final = index

    @property
    def text(self) -> str:
        """The address as the user writes it."""
        return f"={self.index}"


Address = UnixAddress | AbstractAddress | TcpAddress | FdAddress | SharedAddress

Target: TypeAlias = "tuple[Any, ...] | str | bytes"
"""What socket.bind() and socket.connect() take."""


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
    host, port = text.rsplit(":", 1)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        _check_ipv6(text, host)
    elif ":" in host:
        raise UsageError(f"{text}: an IPv6 address needs brackets: [{host}]:{port}")
    elif any(character in "[]" or character.isspace() for character in host):
        raise UsageError(f"{text}: {host!r} is not a host")
    return TcpAddress(host, _number(text, port, "the port", 65535))


def _check_ipv6(text: str, host: str) -> None:
    import ipaddress

    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise UsageError(f"{text}: {host!r} is not an IPv6 address") from None


def _number(text: str, digits: str, what: str, limit: int) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) <= limit:
        return int(digits)
    raise UsageError(f"{text}: {what} must be a number from 0 to {limit}, not {digits!r}")


def _is_loopback(host: str) -> bool:
    if ":" not in host:
        return _socket.inet_pton(_socket.AF_INET, host)[0] == 127
    packed = _socket.inet_pton(_socket.AF_INET6, host.partition("%")[0])
    return packed == _IPV6_LOOPBACK or packed.startswith(_IPV4_LOOPBACK_IN_IPV6)


def connect(address: Address, timeout: float | None = None) -> socket.socket:
    """Connects to `address` with a blocking, close-on-exec socket; raises FastptyError with one line.

    timeout: seconds for each socket address that a host name resolves to.
    """
    import socket

    return socket.socket(fileno=dial(address, timeout).detach())


def dial(address: Address, timeout: float | None = None, name: bytes | None = None) -> _socket.socket:
    """Does what connect() does, without loading the `socket` module for a local address.

    A local socket is first bound to the abstract `name`, if that can be done.
    """
    failure: OSError = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    try:
        for family, target in _targets(address):
            try:
                return _dial(family, target, timeout, name)
            except OSError as error:
                failure = error
    except _socket.gaierror as error:
        failure = error
    raise FastptyError(f"cannot connect to {address.text}: {_why_not_connected(address, failure)}") from failure


def _dial(family: int, target: Target, timeout: float | None, name: bytes | None) -> _socket.socket:
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        if family == _socket.AF_UNIX:
            if name is not None:
                _try_to_bind(sock, name)
            _dial_local(sock, target, timeout)
        else:
            from fastpty.net import tcp

            sock.settimeout(timeout)
            sock.connect(target)
            sock.settimeout(None)
            tcp.prepare(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _try_to_bind(sock: _socket.socket, name: bytes) -> None:
    try:
        sock.bind(name)
    except OSError:  # it is taken, or a security module forbids it
        return


def _dial_local(sock: _socket.socket, target: Target, timeout: float | None) -> None:
    """Waits in connect(2) for room in the listener's queue. A non-blocking connect(2) would fail at once (EAGAIN)."""
    _set_send_timeout(sock, timeout or 0.0)
    sock.connect(target)
    _set_send_timeout(sock, 0.0)


def _set_send_timeout(sock: _socket.socket, seconds: float) -> None:
    import struct

    sock.setsockopt(
        _socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    )


def _targets(address: Address) -> list[tuple[int, Target]]:
    match address:
        case UnixAddress():
            return [(_socket.AF_UNIX, address.path)]
        case AbstractAddress():
            return [(_socket.AF_UNIX, name) for name in address.spellings]
        case TcpAddress():
            return address.resolve()
        case FdAddress() | SharedAddress():
            raise UsageError(f"{address.text}: this address is for listening only")


_WHY_NOT_CONNECT = {
    errno.ENOENT: "no such socket: is the router running?",
    errno.ECONNREFUSED: "no program is listening there: is the router running?",
    errno.EACCES: "permission denied: its mode or owner keeps this user out",
    errno.EAGAIN: "the router does not accept connections: is it stopped or overloaded?",
    errno.EPROTOTYPE: "it is a socket of another type than the router's",
}


def _why_not_connected(address: Address, error: OSError) -> str:
    found = _what_is_there(address.path, error) if isinstance(address, UnixAddress) else None
    return found or why(error, _WHY_NOT_CONNECT)


def _what_is_there(path: str, error: OSError) -> str | None:
    """Says what is wrong with the file at `path`; None if nothing is."""
    import stat

    if error.errno == errno.ENOENT and "/" not in path:
        return f"there is no socket of this name here (a TCP address is HOST:PORT, as {path}:4000)"
    try:
        found = os.stat(path)
    except OSError:
        return None
    if stat.S_ISREG(found.st_mode):
        return "it is a regular file, not a socket"
    if stat.S_ISDIR(found.st_mode):
        return "it is a directory, not a socket"
    if not stat.S_ISSOCK(found.st_mode):
        return "it is not a socket"
    if error.errno == errno.EACCES:
        mode = stat.S_IMODE(found.st_mode)
        return f"permission denied: the socket belongs to {_user(found.st_uid)} and has mode {mode:04o}"
    return None


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def why(error: OSError, known: dict[int, str]) -> str:
    """Describes an error about an address: with the text in `known` for its errno, else with the system's."""
    if isinstance(error, _socket.gaierror):
        return f"its host cannot be resolved ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "no answer: is this the right address?"
    return known.get(error.errno or 0, error.strerror or str(error))
