"""Hangs up the background of a session: its processes that are neither the leader nor in the foreground group.

A kernel hang-up signals the leader and the foreground group. The background is left to the leader: bash passes SIGHUP
on to its jobs, dash does not. So a helper sends SIGHUP and SIGCONT to each process of the background and, after the
grace time, SIGKILL. It leaves processes alone that ignore SIGHUP (nohup(1)). A process that has called setsid(2) is in
another session.

A session's number is its leader's pid, which no other process or session gets before the leader is reaped. Each process
is checked and signalled through a pidfd, so no signal reaches a process of another session.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from itertools import chain

from fastpty.system import own_proc
from fastpty.system.readable import readable
from fastpty.system.records import dataclass

_WAITED_FOR_MOST = 64  # processes at a time, as each takes a descriptor
_KILLS = 3  # a process may fork before it is killed
_KILLED_SECONDS = 0.1
_PIDS_MOST = 1 << 22  # PID_MAX_LIMIT
_SIGHUP_BIT = 1 << (signal.SIGHUP - 1)
_UNUSED_UIDS = (2**32 - 2, 65534)  # as in fastpty/relay/rights.pxd


@dataclass(frozen=True)
class Session:
    """A session to hang up. foreground: a process group that gets no signal.

    uid: the user with whose rights signals are sent; None: this process's own.
    """

    leader: int
    leader_pidfd: int
    foreground: int
    uid: int | None = None

    def has(self, pid: int) -> bool:
        """True if the process is in the background of the session."""
        try:
            return pid != self.leader and os.getsid(pid) == self.leader and os.getpgid(pid) != self.foreground
        except ProcessLookupError:
            return False

    def exists(self) -> bool:
        """True as long as the leader is not reaped."""
        try:
            signal.pidfd_send_signal(self.leader_pidfd, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def hang_up(session: Session, grace_seconds: float) -> None:
    """Hangs up the background, and returns when it has ended.

    Processes that ignore SIGHUP, or that may not be signalled, go on.
    """
    deadline = time.monotonic() + grace_seconds
    hung_up: set[int] = set()
    remains = True
    while remains and (not hung_up or time.monotonic() < deadline):
        remains = _signal(session, (signal.SIGHUP, signal.SIGCONT), hung_up, deadline)
    for _ in range(_KILLS if remains else 0):
        if not _signal(session, (signal.SIGKILL,), set(), time.monotonic() + _KILLED_SECONDS):
            break


def _signal(session: Session, signals: Iterable[signal.Signals], done: set[int], deadline: float) -> bool:
    """Signals the background, except the processes in `done`, adds them to it, and waits for their end.

    Returns False if there was no process to wait for.
    """
    remaining: list[int] = []
    with _own_proc() as proc:
        for pid, pidfd in _background(session, proc):
            ignores = _ignores_hang_up(proc, pid)
            is_spared = ignores or (ignores is None and signal.SIGKILL in signals)
            may_signal = not is_spared and (pid in done or _send(pidfd, signals, session.uid))
            done.add(pid)
            if may_signal and ignores is not None and len(remaining) < _WAITED_FOR_MOST:
                remaining.append(pidfd)
            else:
                os.close(pidfd)
    _wait_for(remaining, deadline)
    for pidfd in remaining:
        os.close(pidfd)
    return bool(remaining)


def _background(session: Session, proc: int | None) -> Iterator[tuple[int, int]]:
    """Yields the pid and a pidfd of each process of the background. The caller closes the pidfd."""
    for pid in _pids_since(session.leader) if proc is None or _hides_some(proc) else _pids_listed(proc):
        if not session.has(pid):
            continue
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            # Meanwhile another process may have got the pid, and another session the number.
            if session.has(pid) and not _has_ended(pidfd) and session.exists():
                yield pid, pidfd
            else:
                os.close(pidfd)


def _send(pidfd: int, signals: Iterable[signal.Signals], uid: int | None) -> bool:
    """Sends signals with the rights of the user `uid`. Returns False if these do not suffice."""
    if uid is not None:
        _take_rights(uid)
    try:
        for number in signals:
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    finally:
        if uid is not None:
            os.setresuid(0, 0, 0)
    return True


def _take_rights(uid: int) -> None:
    """Takes the user's effective uid, and a real uid that no process has.

    A process may signal another one if its effective or real uid is the other's (kill(2)).
    """
    try:
        os.setresuid(_UNUSED_UIDS[0], uid, 0)
    except OSError:  # a user namespace does not map the first one
        os.setresuid(_UNUSED_UIDS[1], uid, 0)


def _has_ended(pidfd: int) -> bool:
    return bool(readable(pidfd, seconds=0))


def _wait_for(pidfds: list[int], deadline: float) -> None:
    """Returns when all these processes have ended, or at the deadline."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    living = len(pidfds)
    while living and (left := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(left * 1000):
            poll.unregister(pidfd)
            living -= 1


@contextlib.contextmanager
def _own_proc() -> Iterator[int | None]:
    """Yields a descriptor of /proc; None if it does not show the processes of this pid namespace."""
    try:
        with own_proc.directory() as own:
            proc = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=own)
    except OSError:
        yield None
        return
    try:
        yield proc if own_proc.shows_this_process(proc) else None
    finally:
        os.close(proc)


def _hides_some(proc: int) -> bool:
    """True if /proc hides processes of other users (hidepid, proc(5)): process 1 always exists."""
    try:
        os.stat("1", dir_fd=proc)
    except FileNotFoundError:
        return True
    return False


def _pids_listed(proc: int) -> Iterator[int]:
    return (int(name) for name in os.listdir(proc) if name.isdecimal())


def _pids_since(leader: int) -> Iterable[int]:
    """Returns the pids that processes may have got since the leader's start, for a /proc that does not list them all.

    The newest pid is that of a child that is forked now.
    """
    newest = os.fork()
    if newest == 0:
        os._exit(0)
    if newest > leader:
        return range(leader + 1, newest)
    return chain(range(leader + 1, _PIDS_MOST), range(1, newest))


def _ignores_hang_up(proc: int | None, pid: int) -> bool | None:
    """True if the process ignores SIGHUP; None if that cannot be known."""
    if proc is None:
        return None
    try:
        status = own_proc.read(proc, f"{pid}/status")
    except OSError:
        return None
    ignored = next((line for line in status.splitlines() if line.startswith("SigIgn:")), "SigIgn: 0")
    return bool(int(ignored.split()[1], 16) & _SIGHUP_BIT)
