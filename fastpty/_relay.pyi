from collections.abc import Iterable
from typing import final

from fastpty.handler import Handler

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
        """Accepts no more and hangs up every session; what outlives the grace time is killed.

        Called again it kills at once.
        """

    def reap(self, pid: int) -> bool:
        """Reaps this process if it leads a session. False if it does not. For an owner that is process 1."""

    def counters(self) -> dict[str, int | bool]:
        """sessions, accepted, buffers_lent, pipes_lent, splice_refused, transfers, wakeups."""
