"""Creates listening sockets. Socket files are private from their first instant, and never another program's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator

from fastpty.errands.processes import close_elsewhere
from fastpty.errors import FastptyError, UsageError
from fastpty.net.address import (
    AbstractAddress,
    Address,
    FdAddress,
    SharedAddress,
    Target,
    TcpAddress,
    UnixAddress,
    why,
)
from fastpty.system.passed_descriptors import refuse_descriptors

_LOCK_WAIT_SECONDS = 2.0
_LOCK_POLL_SECONDS = 0.02
_UNSENT_BYTES = 16384
_SIOCUNIXFILE = 0x89E0  # linux/un.h: an O_PATH descriptor of the file that a socket is bound to; Linux 4.13


class Listener:
    """A listening socket, non-blocking and close-on-exec, and its socket file if it has one.

    `address`: with the real port number if port 0 was requested.
    """

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.socket = sock
        self.address = address
        if sock.family == socket.AF_UNIX:
            refuse_descriptors(sock)
        self._file: tuple[str, tuple[int, int]] | None = None
        self._pin: int | None = None

    def remember_file(self, path: str) -> None:
        """Remembers the socket file that was just bound, so that close() removes it; raises OSError."""
        self._file = os.path.abspath(path), _identity(path)  # absolute: a router changes its directory later
        self._pin = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def find_file(self) -> None:
        """Finds the file of an inherited socket for file_status() and lost_file(). close() leaves that file alone."""
        name = self.socket.getsockname()
        if self.socket.family != socket.AF_UNIX or isinstance(name, bytes) or not name:
            return
        with contextlib.suppress(OSError):
            self._pin = fcntl.ioctl(self.socket, _SIOCUNIXFILE)
            return
        # SIOCUNIXFILE needs CAP_NET_ADMIN. Without it, the name that the socket was bound to is the only clue.
        if os.path.isabs(name):
            with contextlib.suppress(OSError):
                self._pin = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    @property
    def file(self) -> tuple[str, int] | None:
        """Path and O_PATH descriptor of the socket file that close() would remove."""
        return None if self._file is None or self._pin is None else (self._file[0], self._pin)

    def file_status(self) -> os.stat_result | None:
        """The status of its socket file, even if that was renamed or removed; None if it has none."""
        return None if self._pin is None else os.fstat(self._pin)

    def owns_file(self) -> bool:
        """True if the path still leads to the file that was bound."""
        try:
            return self._file is not None and _identity(self._file[0]) == self._file[1]
        except OSError:
            return False

    def lost_file(self) -> bool:
        """True if its socket file was removed or replaced, so that nobody can connect any more.

        Does not use the path, which may lead elsewhere in another root or mount namespace.
        """
        return self._pin is not None and os.fstat(self._pin).st_nlink == 0

    def close(self, remove: Callable[[Listener], None] | None = None) -> None:
        """Stops listening and removes the socket file if the path still leads to it. May be called again.

        remove: called to remove the file instead. Raises OSError if the file cannot be removed; the next start replaces
        it then.
        """
        # The file is removed first: while the socket is open, no other router takes the file for stale and replaces it,
        # and no other file gets its inode number.
        try:
            if self._file is not None and remove is not None:
                remove(self)
            elif self._file is not None and self.owns_file():
                os.unlink(self._file[0])
        finally:
            self._file = None
            self.close_copy()

    def close_copy(self) -> None:
        """Closes this process's copy of the socket, if it is still open. The file stays."""
        if self.socket.fileno() >= 0:
            close_elsewhere(self.socket)
        if self._pin is not None:
            os.close(self._pin)
            self._pin = None


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


class AddressInUseError(FastptyError):
    """Another program listens there. It may be a worker of a killed router that is about to close the socket."""


def listen(
    address: Address,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    backlog: int = 100,
    reuse_port: bool = False,
) -> list[Listener]:
    """Listens on `address`; raises FastptyError with one line that says why that fails.

    An abstract address gives two listeners, one for each of its spellings; every other address gives one.
    mode, owner: of a socket file; owner is (uid, gid), -1 for unchanged. An abstract name has no permissions: everybody
    in the same network namespace can connect. backlog: the number of connections that may wait to be accepted.
    reuse_port: other processes of the same user may listen on the same TCP port (SO_REUSEPORT, socket(7)).

    A stale socket file is replaced. A socket that somebody listens on, or a file of another kind, is an error.
    """
    listeners: list[Listener] = []
    try:
        match address:
            case UnixAddress():
                listeners = [_listen_unix(address, mode, owner, backlog)]
            case AbstractAddress():
                for name in address.spellings:
                    listeners.append(_bound(address, socket.AF_UNIX, name))
                    listeners[-1].socket.listen(backlog)
            case TcpAddress():
                listeners = [_listen_tcp(address, backlog, reuse_port)]
            case FdAddress():
                listeners = [_inherited(address, backlog)]
            case SharedAddress():
                raise UsageError(f"{address.text}: there is no such shared-socket")
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise _cannot_listen(address, error) from error
    return listeners


def _bound(
    address: Address, family: int, target: Target, *, v6only: bool = True, reuse_port: bool = False
) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if isinstance(address, TcpAddress):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
            _tune(sock)
        if isinstance(address, UnixAddress):
            # Linux creates the file with the socket's own mode, minus the umask.
            os.fchmod(sock.fileno(), 0o600)
        sock.bind(target)
    except OSError:
        sock.close()
        raise
    return Listener(sock, address)


def _tune(sock: socket.socket) -> None:
    """Sets options that accepted TCP sockets inherit.

    TCP_NODELAY: an echoed key does not wait for an acknowledgement. TCP_NOTSENT_LOWAT: few bytes wait to be sent, so
    that a slow client that types ^C does not first get megabytes of old output.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def _listen_unix(address: UnixAddress, mode: int, owner: tuple[int, int] | None, backlog: int) -> Listener:
    path = address.path
    with _directory_locked(os.path.dirname(path) or "."):
        _remove_stale_file(address, owner)
        listener = _bound(address, socket.AF_UNIX, path)
        try:
            listener.remember_file(path)
            with _pinned(listener, path) as file:
                if owner is not None:
                    os.chown(file, *owner)
                if not listener.owns_file():
                    raise _replaced(path)
                os.chmod(file, mode)
            # Last, since connections are refused until now.
            listener.socket.listen(backlog)
        except BaseException:
            with contextlib.suppress(OSError):
                listener.close()
            raise
        return listener


@contextlib.contextmanager
def _pinned(listener: Listener, path: str) -> Iterator[str]:
    """Gives a path in /proc that leads to the listener's own file even if the file is replaced.

    The account that the file is given to can replace it before its mode is set, for example by a link to a file of
    root's. Raises FastptyError if it has been replaced already.
    """
    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(held)
        if not (stat.S_ISSOCK(found.st_mode) and found.st_nlink == 1 and listener.owns_file()):
            raise _replaced(path)
        if not os.path.exists(f"/proc/self/fd/{held}"):
            raise FastptyError(f"cannot listen on {path}: its mode cannot be set safely without /proc: mount /proc")
        yield f"/proc/self/fd/{held}"
    finally:
        os.close(held)


def _replaced(path: str) -> FastptyError:
    return FastptyError(f"cannot listen on {path}: somebody else replaced the socket: try again")


def _check_owner(path: str, uid: int, owner: tuple[int, int] | None) -> None:
    """Raises FastptyError for another user's socket file in a directory that everybody may write to, such as /tmp."""
    directory = os.stat(os.path.dirname(path) or ".")
    known = {0, os.geteuid(), -1 if owner is None else owner[0]}
    if directory.st_mode & stat.S_IWOTH and uid not in known:
        raise FastptyError(
            f"cannot listen on {path}: a socket of uid {uid} is there: remove it, or choose a directory of your own"
        )


def _remove_stale_file(address: UnixAddress, owner: tuple[int, int] | None) -> None:
    """Removes a stale socket file; raises FastptyError if the path is in use otherwise."""
    path = address.path
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "device")
        raise FastptyError(f"cannot listen on {path}: a {kind} is there: choose another path, or remove it")
    _check_owner(path, found.st_uid, owner)
    # A datagram socket cannot connect to a stream socket: if somebody listens there, the kernel returns EPROTOTYPE, and
    # the other router does not notice this attempt.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif result in (0, errno.EPROTOTYPE, errno.EPERM):  # 0 and EPERM: from a datagram socket
        raise AddressInUseError(f"another router is listening on {path}: stop it, or choose another path")
    elif result != errno.ENOENT:
        why = os.strerror(result)
        raise FastptyError(f"cannot listen on {path}: the socket there cannot be tried ({why}): remove it")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "FIFO",
}


@contextlib.contextmanager
def _directory_locked(directory: str) -> Iterator[None]:
    """Locks a directory, so that two routers that start together do not take each other's new socket for stale.

    Any user who can read the directory can hold this lock for ever. So the wait is limited, and the start goes on
    without the lock.
    """
    lock = None
    try:
        with contextlib.suppress(OSError):
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _flock(lock)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _flock(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_LOCK_POLL_SECONDS)


def _listen_tcp(address: TcpAddress, backlog: int, reuse_port: bool) -> Listener:
    if address.host:
        # One socket has one family. A name with both, such as localhost, gets IPv4, as in uWSGI.
        family, target = min(address.resolve(), key=lambda info: info[0] != socket.AF_INET)
        listener = _bound(address, family, target, reuse_port=reuse_port)
    elif socket.has_dualstack_ipv6():
        listener = _bound(address, socket.AF_INET6, ("::", address.port), v6only=False, reuse_port=reuse_port)
    else:
        anywhere = ("0.0.0.0", address.port)  # noqa: S104
        listener = _bound(address, socket.AF_INET, anywhere, reuse_port=reuse_port)
    try:
        listener.socket.listen(backlog)  # fails if another socket bound with SO_REUSEADDR listens already
    except OSError:
        listener.close()
        raise
    listener.address = TcpAddress(address.host, listener.socket.getsockname()[1])
    return listener


def _inherited(address: FdAddress, backlog: int) -> Listener:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(address.number).st_mode)
    except OSError:
        raise FastptyError(f"cannot listen on {address.text}: no such descriptor was inherited") from None
    sock = socket.socket(fileno=address.number) if is_socket else None
    if sock is None or not _is_listening_stream(sock):
        if sock is not None:
            sock.detach()  # so that it stays open
        raise FastptyError(f"cannot listen on {address.text}: this is not a listening stream socket")
    if sock.family != socket.AF_UNIX:
        _tune(sock)
    sock.setblocking(False)
    os.set_inheritable(address.number, False)
    sock.listen(backlog)  # changes the backlog of a listening socket
    listener = Listener(sock, address)
    listener.find_file()
    return listener


def _is_listening_stream(sock: socket.socket) -> bool:
    if sock.family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return False
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


_WHY_NOT_LISTEN = {
    errno.EADDRINUSE: "another program is listening there: stop it, or choose another address",
    errno.EACCES: "permission denied: choose a directory that this user may write to, or a port above 1023",
    errno.EPERM: "only root can give the socket to another owner",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENOENT: "its directory does not exist: create it first",
    errno.ENOTDIR: "its directory does not exist: create it first",
    errno.EROFS: "the file system is read-only: choose another path",
}


def _cannot_listen(address: Address, error: OSError) -> FastptyError:
    text = f"cannot listen on {address.text}: {why(error, _WHY_NOT_LISTEN)}"
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(text)
    return FastptyError(text)
