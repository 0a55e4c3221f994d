"""Looks accounts up in another process: a database that is slow must not stop the worker, and with it all sessions.

A local user can cause any number of look-ups, of uids that have no account, from a user namespace of its own.
"""

from __future__ import annotations

import _pickle  # `pickle` would take 0.3 MB more
import contextlib
import errno
import os
import signal
import socket
import struct
import time

from fastpty.access import accounts
from fastpty.access.accounts import Account, NoAccountError
from fastpty.errors import RefusedError
from fastpty.system import child
from fastpty.system.linux import PR_SET_NAME, prctl
from fastpty.system.readable import readable

_NO_ANSWER = "the account database does not answer: try again later"

_PATIENCE_SECONDS = 1.0  # how much of its time this process may spend waiting, and how much it regains in a second
_REGAINED = 0.2
_USUAL_SECONDS = 0.02  # an answer within this time costs nothing
_LEAST_SECONDS = 0.05
_LATE_SECONDS = 10.0  # how long an answer that came too late is kept for the client's next try
_LATE_MOST = 1024
_PENDING_MOST = 64
_LOOKUP_SECONDS = 30.0

_REQUEST = struct.Struct("=I")
_LENGTH = struct.Struct("=I")
_READ_BYTES = 65536
_READY = b"."

Answer = Account | str | int
"""An account, why there is none, or the errno of a look-up that failed."""


class Lookups:
    """Finds accounts as `accounts.account_of` does, without waiting long for a database that is slow.

    The look-up goes on, so that the client may succeed later. The process is started with the first look-up, and ends
    with this one. Each process needs an object of its own.
    """

    def __init__(self) -> None:
        self.maker = os.getpid()
        self._channel: socket.socket | None = None
        self._received = bytearray()
        self._pending: list[int] = []
        self._late: dict[int, tuple[float, Answer]] = {}
        self._credit = _PATIENCE_SECONDS
        self._credit_at = time.monotonic()

    def find(self, uid: int) -> Account:
        """Raises NoAccountError, RefusedError if there is no answer yet, or OSError if the look-up fails."""
        answer = self._known(uid)
        if answer is None:
            is_free = not self._pending
            self._ask(uid)
            answer = self._wait_for(uid) if is_free else None
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        if answer is None:
            raise RefusedError(_NO_ANSWER)
        if isinstance(answer, str):
            raise NoAccountError(answer)
        return answer

    def close_copies(self) -> None:
        """Closes the channel, in a process that another one has forked."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _known(self, uid: int) -> Answer | None:
        """The answer to an earlier question that came too late for it."""
        self._receive(0)
        until, answer = self._late.pop(uid, (0.0, None))
        return answer if time.monotonic() < until else None

    def _ask(self, uid: int) -> None:
        if uid in self._pending or len(self._pending) >= _PENDING_MOST:
            return
        if self._channel is None:
            self._channel = _started()
            self._received.clear()
        self._channel.sendall(_REQUEST.pack(uid))
        self._pending.append(uid)

    def _wait_for(self, uid: int) -> Answer | None:
        began = time.monotonic()
        self._credit = min(_PATIENCE_SECONDS, self._credit + (began - self._credit_at) * _REGAINED)
        until = began + max(self._credit, _LEAST_SECONDS)
        while uid in self._pending and (left := until - time.monotonic()) > 0:
            self._receive(left)
        self._credit_at = time.monotonic()
        self._credit -= max(0.0, self._credit_at - began - _USUAL_SECONDS)
        return self._late.pop(uid, (0.0, None))[1]

    def _receive(self, seconds: float) -> None:
        """Takes the answers that come within this time."""
        if self._channel is None or not readable(self._channel, seconds=seconds):
            return
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._channel.recv(_READ_BYTES)
        if not data:  # it was killed, by its deadline or by somebody
            self._lose_channel()
            return
        self._received += data
        while len(self._received) >= _LENGTH.size:
            size = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < size:
                return
            answer = _pickle.loads(self._received[_LENGTH.size : size])
            del self._received[:size]
            if len(self._late) >= _LATE_MOST:
                self._late.clear()
            self._late[self._pending.pop(0)] = time.monotonic() + _LATE_SECONDS, answer

    def _lose_channel(self) -> None:
        assert self._channel is not None
        self._channel.close()
        self._channel = None
        until = time.monotonic() + _LATE_SECONDS
        self._late.update(dict.fromkeys(self._pending[:1], (until, errno.ETIMEDOUT)))
        self._pending.clear()


def _started() -> socket.socket:
    """Starts the process, and returns the channel to it. Raises OSError.

    Waits until it has closed what it has inherited, so that none of its closes is the last one, which could block.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            child.start_orphan("accounts", lambda: _serve(theirs))
        if not readable(ours, seconds=_PATIENCE_SECONDS) or not ours.recv(len(_READY)):
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except BaseException:
        ours.close()
        raise
    return ours


def _serve(channel: socket.socket) -> None:
    prctl(PR_SET_NAME, b"fastpty-account")
    child.replace_standard_descriptors()
    child.keep_only([0, 1, 2, channel.fileno()])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with contextlib.suppress(ConnectionError):
        channel.sendall(_READY)
        while request := channel.recv(_REQUEST.size, socket.MSG_WAITALL):
            signal.setitimer(signal.ITIMER_REAL, _LOOKUP_SECONDS)
            answer = _pickle.dumps(_look_up(*_REQUEST.unpack(request)))
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(_LENGTH.pack(len(answer)) + answer)


def _look_up(uid: int) -> Answer:
    try:
        os.close(os.eventfd(0))  # the C library silently returns too few groups if no descriptor is free
        return accounts.account_of(uid)
    except NoAccountError as error:
        return str(error)
    except OSError as error:
        return error.errno or errno.EIO


_lookups = Lookups()


def account_of(uid: int) -> Account:
    """As `accounts.account_of`, for a process that serves clients. Also raises RefusedError and OSError."""
    global _lookups
    if _lookups.maker != os.getpid():
        close_copies()
        _lookups = Lookups()
    return _lookups.find(uid)


def close_copies() -> None:
    """In a forked process: closes what belongs to the process that has forked it."""
    _lookups.close_copies()
