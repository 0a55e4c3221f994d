from collections.abc import Iterable
from typing import Any, Literal, final

from fastpty.relay.settings import Settings
from fastpty.relay.upcalls import Handler, SessionRow

def do_errand(fd: int, message: bytes) -> None:
    """Does an errand that a relay has sent with this descriptor, and closes the descriptor. It may block for ever.

    Raises ValueError if the message has the wrong size.
    """

@final
class Relay:
    """Relays between sockets and terminals: one epoll loop in C for any number of sessions.

    heartbeat: at least 24 writable bytes, perhaps shared with other processes. The relay keeps three native int64
    there: when the present turn of the loop began (CLOCK_MONOTONIC in nanoseconds; 0 while it waits), the number of
    live sessions, and the number of all sessions that it has accepted.

    Raises ValueError if events, buffer_bytes or heartbeat are out of range.
    """

    def __init__(self, handler: Handler, settings: Settings = ..., *, heartbeat: Any = None) -> None: ...
    def listen(
        self, fd: int, *, framed: bool, negotiates: Literal["never", "by name", "behind tls", "always"] = "never"
    ) -> int:
        """Accepts clients from a listening stream socket. It becomes non-blocking; the caller closes it.

        framed: the clients speak the uwsgi protocol. negotiates: which clients speak the negotiated extension instead.
        "by name": local clients whose sockets are bound to a name that asks for it. "behind tls": clients for which the
        TLS process says so. Returns the listener's index. Raises ValueError after 64 sockets.
        """

    def share(self, *, scrollback_bytes: int, rows: int = 24, columns: int = 80, is_fixed: bool = False) -> None:
        """Starts the shared terminal. A client joins it if Handler.session_wanted returns JOIN or VIEW.

        scrollback_bytes: the most earlier output that a new client gets. rows, columns: the window size until a client
        sends its own. Then the window has the fewest rows and columns of all clients, unless is_fixed is set. Raises
        ValueError if called again.
        """

    def join(self, fd: int) -> int:
        """Lets a connected stream socket join the shared terminal without asking the handler. The relay takes it over.

        Returns the session's number. Raises ValueError if there is no shared terminal.
        """

    def watch_signals(self, signals: Iterable[int]) -> None:
        """Blocks these signals and passes them to Handler.signalled. To be called at most once."""

    def use_errands(self, queue: int, closed: Any, *, reads_proc: bool = False) -> None:
        """Sends errands into this socket (fastpty/relay/errands.pxd). To be called at most once.

        closed: 8 writable bytes, shared with the processes that do the errands. Both come from fastpty.errands.
        reads_proc: /proc is the kernel's and shows this pid namespace. Then leaders without children need no errand.
        """

    def number_sessions(self, counter: Any) -> None:
        """Numbers sessions with a counter in these 8 writable bytes. Relays that share it never use a number twice.

        To be called once. Raises ValueError for fewer bytes.
        """

    def leaves_open(self) -> bool:
        """Returns, after run(), whether some descriptors are still open because their close could block for ever."""

    def run(self) -> None:
        """Runs until stop() or drain() was called and the last session has ended. Raises OSError if epoll fails."""

    def stop(self) -> None:
        """Accepts no more clients, hangs up all sessions, and kills what still runs after the grace time.

        The second call kills at once.
        """

    def drain(self) -> None:
        """Accepts no more clients, but relays until the last session has ended by itself.

        A connection that waits now is still accepted. After this call the listening sockets may be closed.
        """

    def sessions(self) -> list[SessionRow]:
        """Returns a row for each live session."""

    def counters(self) -> dict[str, int | bool]:
        """Returns sessions (live ones), accepted, bytes_in, bytes_out, ignored_frames, buffers_lent, pipes_lent,
        splice_refused, transfers and wakeups."""
