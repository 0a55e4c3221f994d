from collections.abc import Iterable
from typing import Any, final

from fastpty.relay.upcalls import Handler

def do_errand(fd: int, message: bytes) -> None:
    """Does what a relay has sent with this descriptor, and closes it: here may be waited for that.

    Raises ValueError if it was no relay that has sent the message.
    """

@final
class Relay:
    """Relays between sockets and terminals: one epoll loop in C for any number of sessions.

    splice: stream raw mode through splice(2); where the kernel refuses, read and write take over. idle_seconds: ends
    a session in which nothing was transferred for so long; 0 = never. grace_seconds: how long a hung-up program has
    between SIGHUP and SIGKILL. lifetime_seconds: ends every session after so long; 0 = never. greeting_seconds: ends
    a session whose client speaks the uwsgi protocol and has sent no byte for so long since it came; 0 = never. A
    client whose time is over is told so in one line. busy_poll_seconds: how long the loop waits without sleep for the
    answer to a key, and half of it for more of a stream; 0 = it sleeps at once. events: how many epoll events one
    turn takes at the most, 1 to 1024. buffer_bytes: how much of each direction of a session is held at the most, 4096
    to 65536. heartbeat: 24 writable bytes, perhaps shared with other processes, where three
    native int64 tell: since when (CLOCK_MONOTONIC, in nanoseconds) the present turn of the loop goes on, 0 while it
    waits; the live sessions; those accepted so far. Raises ValueError for bad events, buffer_bytes and heartbeat.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        splice: bool = True,
        idle_seconds: float = 0,
        grace_seconds: float = 10,
        events: int = 64,
        buffer_bytes: int = 65536,
        heartbeat: Any = None,
        lifetime_seconds: float = 0,
        greeting_seconds: float = 0,
        busy_poll_seconds: float = 0,
    ) -> None: ...
    def listen(self, fd: int, *, framed: bool) -> int:
        """Accepts from a listening stream socket, which becomes non-blocking and stays the caller's to close.

        framed: clients speak the uwsgi protocol. Returns the listener's index. Raises ValueError beyond 64 listeners.
        """

    def share(self, *, scrollback_bytes: int) -> None:
        """Has a terminal shared by all clients for which the handler answers JOIN, whose program the handler gives.

        scrollback_bytes: how much of the output so far a client sees when it joins. Raises ValueError the second time.
        """

    def join(self, fd: int) -> int:
        """Lets a connected stream socket, which becomes the relay's, join the shared terminal without asking.

        Returns the session's number. Raises ValueError if there is no shared terminal.
        """

    def watch_signals(self, signals: Iterable[int]) -> None:
        """Blocks these signals for the process and passes them to Handler.signalled from now on. Once only."""

    def use_errands(self, queue: int, closed: Any) -> None:
        """Sends what could wait for ever on a stranger into this socket, and does not do it.

        closed: 8 writable bytes that are shared with those who do it. Both come from fastpty.errands. Once only.
        """

    def number_sessions(self, counter: Any) -> None:
        """Numbers sessions with a counter in these 8 writable bytes. Relays that share it never use a number twice.

        To be called once. Raises ValueError for fewer bytes.
        """

    def leaves_open(self) -> bool:
        """After run(): whether there are descriptors whose close could wait for ever, and which nobody has taken."""

    def run(self) -> None:
        """Relays until stop() or drain() was called and the last session has ended. Raises OSError if epoll fails."""

    def stop(self) -> None:
        """Accepts no more and hangs up every session; what outlives the grace time is killed.

        Called again it kills at once.
        """

    def drain(self) -> None:
        """Accepts no more and goes on with the sessions that there are, until they end by themselves.

        A connection that waits at this moment is still taken. Afterwards the listening sockets may be closed.
        """

    def sessions(self) -> list[tuple[int, int, float, float, int, int, int, int, int]]:
        """Of each session: number, leader's pid (0: none), seconds since its start, seconds since its last transfer,
        bytes to the program, bytes to the client, uwsgi frames without a meaning, rows and columns of its terminal
        as the client has set them."""

    def counters(self) -> dict[str, int | bool]:
        """sessions (live), accepted, bytes_in, bytes_out, ignored_frames, buffers_lent, pipes_lent, splice_refused,
        transfers, wakeups."""
