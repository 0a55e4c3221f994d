from collections.abc import Iterable
from typing import Protocol, final

class Handler(Protocol):
    """What the relay asks of its owner. An exception in any of these is printed; the relay goes on."""

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> tuple[int, int, int, int, int] | bytes:
        """A client has connected. Answers with a terminal, or with a text to tell the client before it is closed.

        number: the session's, from 1. listener: what Relay.listen returned. fd: the connection, which stays the
        relay's. peer: pid, uid and gid as SO_PEERCRED tells them; (0, 2**32 - 1, 2**32 - 1) where it cannot.

        The terminal: its master, pid and pidfd as _spawn.spawn returns them, which become the relay's, and its rows
        and columns.
        """

    def session_ended(
        self,
        number: int,
        ending: str,
        exit_code: int,
        exit_status: int,
        transferred: tuple[int, int],
        ignored_frames: int,
        seconds: float,
    ) -> None:
        """Nothing is left of a session: its connection is closed, its leader reaped.

        ending: "exit", "client left", "idle" or "stopped". exit_code and exit_status: as waitid(2) tells them
        (os.CLD_EXITED, os.CLD_KILLED, …), 0 and 0 for a session that was refused. transferred: bytes to the program,
        bytes to the client. ignored_frames: uwsgi frames without a meaning. seconds: since the connection.
        """

    def signalled(self, number: int) -> None:
        """One of the signals of Relay.watch_signals has come."""

    def accept_failed(self, error: int) -> None:
        """A connection could not be accepted, with this errno; a client was told so, or accepting pauses for 0.1 s."""

@final
class Relay:
    """Relays between sockets and terminals: one epoll loop in C for any number of sessions.

    splice: stream raw mode through splice(2); where the kernel refuses, read and write take over. idle_seconds: ends
    a session in which nothing was transferred for so long; 0 = never. grace_seconds: how long a hung-up program has
    between SIGHUP and SIGKILL.
    """

    def __init__(
        self, handler: Handler, *, splice: bool = True, idle_seconds: float = 0, grace_seconds: float = 10
    ) -> None: ...
    def listen(self, fd: int, *, framed: bool) -> int:
        """Accepts from a listening stream socket, which becomes non-blocking and stays the caller's to close.

        framed: clients speak the uwsgi protocol. Returns the listener's index. Raises ValueError beyond 64 listeners.
        """

    def watch_signals(self, signals: Iterable[int]) -> None:
        """Blocks these signals for the process and passes them to Handler.signalled from now on. Once only."""

    def run(self) -> None:
        """Relays until stop() was called and the last session has ended. Raises OSError if epoll fails."""

    def stop(self) -> None:
        """Accepts no more and hangs up every session; what outlives the grace time is killed. Again: killed at once."""

    def reap(self, pid: int) -> bool:
        """Reaps this process if it leads a session. False if it does not. For an owner that is process 1."""

    def counters(self) -> dict[str, int | bool]:
        """sessions, accepted, buffers_lent, pipes_lent, splice_refused, transfers, wakeups."""
