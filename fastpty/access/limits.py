"""Limits that hold over all workers: on the number of sessions, and of processes that read accounts."""

from __future__ import annotations

import fcntl
import os

from fastpty.configuration.config import SESSIONS_MOST, Config
from fastpty.errors import RefusedError, counted
from fastpty.system.credentials import UNKNOWN_PEER


class Seats:
    """Numbered seats, shared by the process that makes this object and the processes forked from it.

    A seat is one byte of a memfd. A process takes it with a record lock on that byte (fcntl(2)). The kernel gives each
    lock to one process only, and frees it when that process ends, even if it is killed. So no counter can be wrong.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("fastpty-seats", os.MFD_CLOEXEC)
        self._mine: set[int] = set()  # a process's own locks do not exclude it

    def fileno(self) -> int:
        """The descriptor of the file whose bytes are locked."""
        return self._file

    def take(self, first: int, count: int) -> int | None:
        """Takes the first free seat of the `count` seats from `first` on; None if all are taken."""
        for seat in range(first, first + count):
            if seat not in self._mine and self._lock(seat):
                self._mine.add(seat)
                return seat
        return None

    def give_back(self, seat: int) -> None:
        """Frees a seat that take() gave."""
        self._mine.remove(seat)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, seat)

    def _lock(self, seat: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
        except BlockingIOError:
            return False
        return True


_, _UNKNOWN, _ = UNKNOWN_PEER

# Each uid has SESSIONS_MOST seats. The seats for the limit on all sessions come after them.
_SEATS_OF_ALL = (_UNKNOWN + 1) * SESSIONS_MOST


class Limits:
    """Enforces `max-sessions` and `max-sessions-per-uid`. Create it before the workers are forked.

    readers: a seat for each process that reads the accounts of a foreign root.
    """

    def __init__(self) -> None:
        self._seats = Seats()
        self.readers = Seats()

    def admit(self, config: Config, user: int | None) -> list[int]:
        """Takes the seats for one more session of this uid and returns them, for leave(); raises RefusedError.

        user: None for a client whose user is unknown (TCP). All of those count as one user.
        """
        uid = _UNKNOWN if user is None else user
        taken: list[int] = []
        for first, count, whose in (
            (_SEATS_OF_ALL, config.max_sessions, ""),
            (uid * SESSIONS_MOST, config.max_sessions_per_uid, " for your user"),
        ):
            if count is None:
                continue
            seat = self._seats.take(first, count)
            if seat is None:
                self.leave(taken)
                raise RefusedError(f"the limit of {counted(count, 'session')}{whose} is reached: try again later")
            taken.append(seat)
        return taken

    def leave(self, seats: list[int]) -> None:
        """Frees what admit() gave."""
        for seat in seats:
            self._seats.give_back(seat)
