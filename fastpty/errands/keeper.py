"""The keeper: receives one process's errands and hands each to a helper, a process that may block for ever.

Helpers are shared fairly: one user's programs can block at most `_HELPERS_OF_ONE_USER` of them, and every other user
still gets one. A helper is started when errands wait and none has started or finished for 50 ms.

The last copy of a descriptor must be closed by a helper. So each process that passes a descriptor on closes its own
copy before it lets the receiver continue.
"""

from __future__ import annotations

import mmap
import os
import resource
import select
import signal
import socket
import struct
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from fastpty._relay import do_errand
from fastpty.errands import hang_up
from fastpty.system import child
from fastpty.system.records import NamedTuple, dataclass

ERRAND = struct.Struct("iHHHHqIiQiq")  # struct Errand (relay/errands.pxd)
_CLOSE, _HANG_UP = 0, 3  # enum ErrandKind
OWNER_ROUTER, OWNER_CLIENTS = 0xFFFFFFFE, 0xFFFFFFFF  # instead of a uid, as in relay/errands.pxd
_HANG_UPS = 1 << 32  # added to an owner: its hang-ups have a share of their own

CLOSED, HUNG_UP, BUSY, SHARE_USED = b"closed", b"hung up", b"busy", b"share used"
"""The keeper's messages: a session's terminal is closed; its background is hung up; how many helpers are busy; a user
has blocked its share."""

MESSAGE_BYTES_MOST = 64

_HELPERS_MOST = 256  # each has 0.8 MB of its own; users without a helper get one more each
_HELPERS_OF_ONE_USER = 16
_HELPERS_OF = {OWNER_ROUTER: _HELPERS_MOST, OWNER_CLIENTS: 64, OWNER_ROUTER + _HANG_UPS: 64}
_STALL_SECONDS = 0.05
_SENDER_SECONDS = 0.0005  # roughly what a sender needs to close its copies after its message
_DESCRIPTORS_MOST = 253  # in one message (SCM_MAX_FD)
_OWN_DESCRIPTORS_MOST = 16
_GO, _DONE = b"go", b"done"
_REPORTED = {_CLOSE: CLOSED, _HANG_UP: HUNG_UP}


class _Fields(NamedTuple):
    kind: int
    rows: int
    columns: int
    width: int
    height: int
    number: int
    owner: int
    leader: int
    session: int
    foreground: int
    grace_ns: int


@dataclass
class _Errand:
    message: bytes
    descriptors: list[int]

    @property
    def fields(self) -> _Fields:
        return _Fields._make(ERRAND.unpack(self.message))

    @property
    def owner(self) -> int:
        """The owner whose share of the helpers it uses. Hang-ups have their own shares: they never block for ever."""
        return self.fields.owner + (_HANG_UPS if self.kind == _HANG_UP else 0)

    @property
    def kind(self) -> int:
        return self.fields.kind

    @property
    def session(self) -> int:
        return self.fields.session

    def replaces(self, other: _Errand) -> bool:
        """True if `other`, which waits, is out of date: an older size of the same terminal, or the same request."""
        return self.kind != _CLOSE and (self.kind, self.session) == (other.kind, other.session)


@dataclass
class _Helper:
    socket: socket.socket
    errand: _Errand | None = None  # the one that it is working on


def keep(intake: socket.socket, closed: mmap.mmap) -> None:
    """Hands all errands that arrive at `intake` to helpers, until their sender has ended.

    closed: memory in which the sender writes the number of the last errand whose descriptors it has closed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that ended helpers are no zombies
    # No close here is the last one of a descriptor: no errand has been received yet.
    child.isolate([intake.fileno()])
    _Keeper(intake, closed).run()


def _raised_descriptor_limit() -> int:
    """Raises the soft limit of descriptors to the hard one, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class _Keeper:
    def __init__(self, intake: socket.socket, closed: mmap.mmap) -> None:
        self._intake = intake
        self._closed = closed
        self._helpers: dict[int, _Helper] = {}  # by their sockets' descriptors
        self._waiting: defaultdict[int, deque[_Errand]] = defaultdict(deque)  # by their owners
        self._reported: set[int] = set()  # the owners reported to have used up their share
        self._unsent: deque[bytes] = deque()
        self._moved_at = time.monotonic()  # when an errand last started or finished
        self._sender_lives = True
        self._room = _raised_descriptor_limit() - _DESCRIPTORS_MOST - _OWN_DESCRIPTORS_MOST

    def run(self) -> None:
        """Runs until the sender has ended, and all errands that wait belong to owners who have used up their share."""
        while self._sender_lives or self._unblocked():
            poll = select.poll()
            if self._sender_lives and self._has_room():
                poll.register(self._intake, select.POLLIN)
            for descriptor in self._helpers:
                poll.register(descriptor, select.POLLIN)
            for descriptor, events in poll.poll(self._timeout_ms()):
                if descriptor in self._helpers:
                    self._take_answer(descriptor)
                elif not self._receive() and events & select.POLLHUP:
                    self._sender_lives = False
            self._hand_out()
            self._send_news()

    def _has_room(self) -> bool:
        """False if the descriptors of one more errand would not fit: the kernel would close them in this process.

        If the limit is very low, errands are received one at a time, however many descriptors they have.
        """
        held = sum(len(errand.descriptors) for errands in self._waiting.values() for errand in errands)
        return held == 0 or held + len(self._helpers) < self._room

    def _timeout_ms(self) -> float | None:
        """How long to wait for events: until another helper may be started; None: no limit."""
        owners = self._unblocked()
        if owners and self._may_start(owners[0]):
            return max(0.0, self._moved_at + _STALL_SECONDS - time.monotonic()) * 1000
        return _STALL_SECONDS * 1000 if self._unsent else None

    def _may_start(self, owner: int) -> bool:
        return len(self._helpers) < _HELPERS_MOST or not self._busy()[owner]

    def _receive(self) -> bool:
        """Takes one errand from the sender. Returns False if there is none."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._intake, MESSAGE_BYTES_MOST, _DESCRIPTORS_MOST, socket.MSG_DONTWAIT
            )
        except (BlockingIOError, ConnectionResetError):
            return False
        if not message:
            return False
        errand = _Errand(message, list(descriptors))
        if not any(self._waiting.values()):
            self._moved_at = time.monotonic()
        self._wait(errand)
        self._wait_for_sender(errand.fields.number)
        return True

    def _wait(self, errand: _Errand) -> None:
        """Adds an errand to its owner's queue, in which at most one of a kind waits for each terminal.

        Closing the descriptors of a replaced errand is not their last close: the sender has the terminal open, or the
        errand that closes it waits behind.
        """
        waiting = self._waiting[errand.owner]
        for older in [other for other in waiting if errand.replaces(other)]:
            waiting.remove(older)
            for descriptor in older.descriptors:
                os.close(descriptor)
        waiting.append(errand)

    def _wait_for_sender(self, number: int) -> None:
        """Returns when the sender has closed its own descriptors, or has ended."""
        poll = select.poll()
        poll.register(self._intake, 0)
        while struct.unpack_from("q", self._closed)[0] < number and not poll.poll(0):
            time.sleep(_SENDER_SECONDS)

    def _busy(self) -> Counter[int]:
        """For each owner, how many helpers work for it."""
        return Counter(helper.errand.owner for helper in self._helpers.values() if helper.errand)

    def _unblocked(self) -> list[int]:
        """The owners with waiting errands that have not used up their share of helpers, sorted by helpers in use."""
        busy = self._busy()
        wanting = [
            owner
            for owner, errands in self._waiting.items()
            if errands and busy[owner] < _HELPERS_OF.get(owner, _HELPERS_OF_ONE_USER)
        ]
        return sorted(wanting, key=lambda owner: busy[owner])

    def _hand_out(self) -> None:
        """Gives waiting errands to idle helpers, or to a new one if no errand has moved for _STALL_SECONDS."""
        idle = [helper for helper in self._helpers.values() if helper.errand is None]
        while owners := self._unblocked():
            if not idle:
                is_stuck = time.monotonic() >= self._moved_at + _STALL_SECONDS
                if self._helpers and not (is_stuck and self._may_start(owners[0])):
                    break
                try:
                    idle.append(self._start_helper())
                except OSError:  # no process can be started: tries again after _STALL_SECONDS
                    self._moved_at = time.monotonic()
                    break
            self._give(idle.pop(), self._waiting[owners[0]].popleft())
        self._report_shares()

    def _give(self, helper: _Helper, errand: _Errand) -> None:
        helper.errand = errand
        with suppress(BrokenPipeError, ConnectionResetError):  # it was killed, which poll(2) will report
            socket.send_fds(helper.socket, [errand.message], errand.descriptors)
        for descriptor in errand.descriptors:
            os.close(descriptor)
        with suppress(BrokenPipeError, ConnectionResetError):
            helper.socket.send(_GO)
        self._moved_at = time.monotonic()

    def _take_answer(self, descriptor: int) -> None:
        """Takes note that a helper has finished its errand, or was killed, which has closed its descriptors."""
        helper = self._helpers[descriptor]
        try:
            lives = bool(helper.socket.recv(MESSAGE_BYTES_MOST))
        except ConnectionResetError:
            lives = False
        if helper.errand is not None and helper.errand.session and helper.errand.kind in _REPORTED:
            self._unsent.append(b"%s %d" % (_REPORTED[helper.errand.kind], helper.errand.session))
        helper.errand = None
        self._moved_at = time.monotonic()
        if not lives:
            del self._helpers[descriptor]
            helper.socket.close()

    def _start_helper(self) -> _Helper:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child.fork("errands", partial(_run_helper, theirs))
        theirs.close()
        ours.recv(MESSAGE_BYTES_MOST)  # it sends this once it has closed its copies of waiting errands' descriptors
        helper = self._helpers[ours.fileno()] = _Helper(ours)
        count = sum(each.errand is None or each.errand.kind != _HANG_UP for each in self._helpers.values())
        if count > 1 and count.bit_count() == 1:  # only 2, 4, 8 and so on, to keep the log short
            self._unsent.append(b"%s %d" % (BUSY, count))
        return helper

    def _report_shares(self) -> None:
        blocked = {owner for owner, errands in self._waiting.items() if errands} - {*self._unblocked()}
        self._unsent.extend(b"%s %d" % (SHARE_USED, owner) for owner in blocked - self._reported if owner < _HANG_UPS)
        self._reported = blocked

    def _send_news(self) -> None:
        """Sends the reports that the sender's socket has room for. The rest waits until it has read them."""
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                self._intake.send(self._unsent[0], socket.MSG_DONTWAIT)
                self._unsent.popleft()


def _run_helper(orders: socket.socket) -> None:
    child.keep_only([0, 1, 2, orders.fileno()])
    orders.send(_DONE)
    for message, descriptors in _errands(orders):
        errand = _Errand(message, descriptors)
        if errand.kind == _HANG_UP:
            _hang_up(errand.fields, *descriptors)
        else:
            for descriptor in descriptors:
                do_errand(descriptor, message)
        orders.send(_DONE)


def _hang_up(fields: _Fields, leader_pidfd: int) -> None:
    uid = fields.owner if fields.owner < OWNER_ROUTER else None
    try:
        hang_up.hang_up(hang_up.Session(fields.leader, leader_pidfd, fields.foreground, uid), fields.grace_ns / 1e9)
    finally:
        os.close(leader_pidfd)


def _errands(orders: socket.socket) -> Iterator[tuple[bytes, list[int]]]:
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MESSAGE_BYTES_MOST, _DESCRIPTORS_MOST)
        if not message:
            return
        orders.recv(MESSAGE_BYTES_MOST)  # _GO, or the keeper's end
        yield message, descriptors
