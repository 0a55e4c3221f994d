"""The Python methods that the relay calls, and the values that it passes to them and gets from them."""

from __future__ import annotations

from collections.abc import Sequence

from fastpty.system.records import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

JOIN: Final = "join"
"""The answer of Handler.session_wanted that lets the client join the shared terminal."""

VIEW: Final = "view"
"""The answer that lets the client see the shared terminal. Its input is dropped."""


class Terminal(NamedTuple):
    """A program on a terminal of its own. The relay takes over both descriptors."""

    master: int
    leader: int
    """The pid of the program, which leads the terminal's session."""
    pidfd: int
    """The leader's."""
    rows: int
    columns: int
    uid: int | None
    """The program's user if it is not this process's: the relay sends the client's signals as this user."""
    report: int = -1
    """Only for clients of the extension: a pipe from the child (fastpty/spawn/report.pxd), or -1 if it has executed the
    program already."""


class Streams(NamedTuple):
    """A program without a terminal, for a client of the extension. The relay takes over all descriptors."""

    descriptors: tuple[int, int, int]
    """The router's ends of standard input, output and error; -1 for a standard error that goes into the output."""
    leader: int
    pidfd: int
    uid: int | None
    """As in Terminal. Where it is given, the descriptors are sockets."""
    report: int
    drain_ms: int | None
    """How long output is read after the program's exit while other processes have it open; None: for ever."""


class Greeting(NamedTuple):
    """The answer of Handler.client_greeted that lets a client of the extension ask for a program."""

    capabilities: int
    """The capabilities that WELCOME announces."""
    owner: int
    """A number for the client's user or, if that is unknown, for the client's origin. All clients of an owner share the
    memory for unfinished STARTs."""


class Failure(NamedTuple):
    """Why no program can be started for a client of the extension, for its ERROR frame (docs/protocol.md, part B)."""

    code: int
    error: int
    """An errno, or 0."""
    text: bytes


class SessionEnd(NamedTuple):
    """How a session ended."""

    number: int
    ending: str
    """"exit", "client left", "idle", "lifetime over", "sent nothing", "an HTTP request", "a TLS hello",
    "raw bytes on a uwsgi socket", "uwsgi frames on a raw socket", "out of memory", "violated the protocol",
    "not started" or "stopped"."""
    reason: str
    """The text of the ERROR that a client of the extension got; "" if it got none."""
    exit_code: int
    """os.CLD_EXITED, os.CLD_KILLED, … (waitid(2)); 0 if the session had no program: refused, or a viewer."""
    exit_status: int
    """The program's exit status or signal (waitid(2))."""
    bytes_in: int
    """From the client to the program."""
    bytes_out: int
    ignored_frames: int
    """uwsgi frames of an unknown kind."""
    lagged_bytes: int
    """Output of the shared terminal that this viewer lost because it read too slowly."""
    seconds: float
    """Since the client connected."""


class SessionRow(NamedTuple):
    """A live session, as the statistics show it."""

    number: int
    leader: int
    """The program's pid; 0 if there is none."""
    seconds: float
    """Since the client connected."""
    idle_seconds: float
    """Since the last transfer in either direction."""
    bytes_in: int
    """From the client to the program."""
    bytes_out: int
    ignored_frames: int
    """uwsgi frames of an unknown kind."""
    rows: int
    """Of the window, as the client has set it."""
    cols: int


class Handler(Protocol):
    """The upcalls of a relay. If one raises an exception, the relay prints or logs it and goes on."""

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> Terminal | Literal["join", "view"] | bytes:
        """A client has connected. Returns a terminal for it; JOIN or VIEW; or a text, which refuses the client.

        number: the session's, from 1. listener: what Relay.listen returned. fd: the connection, which the relay keeps.
        peer: the client's pid, uid and gid (SO_PEERCRED), or credentials.UNKNOWN_PEER.
        """

    def client_greeted(self, number: int, listener: int, fd: int, peer: tuple[int, int, int]) -> Greeting | bytes:
        """A client of the extension has connected. Returns a Greeting, or a text, which refuses the client.

        The parameters are those of session_wanted. Nothing is started yet.
        """

    def start_wanted(
        self, number: int, request: bytes, window: tuple[int, int, int, int]
    ) -> Terminal | Streams | Failure:
        """A client that was greeted wants a program. request: the payload of its START.

        window: rows, columns, width and height, as it has sent them before START; 0 if it has not.
        """

    def program_wanted(self, number: int, rows: int, columns: int) -> Terminal | bytes | None:
        """The shared terminal needs a program: its first one, or the next after one has ended.

        Returns a terminal for it; a text for the viewers, after which the relay asks again later; or None to end the
        shared terminal. number: the session number of the program. rows, columns: its window.
        """

    def caught_up(self) -> bool:
        """Does work that could wait, such as writing to the log. Returns whether to call it again in 20 ms.

        Called 20 ms after session_wanted, program_wanted or accept_failed, but at the latest before session_ended. The
        program and the client often run on this process's CPU, so they start sooner if it sleeps now and works later.
        """

    def session_ended(self, end: SessionEnd) -> None:
        """A session has ended: its connection is closed and its leader is reaped."""

    def terminal_closes_later(self, number: int) -> None:
        """Called before session_ended if an errand closes the terminal of a session of another user.

        When the terminal is closed, the processes that do errands report the session's number. They may have done so
        already.
        """

    def signalled(self, number: int) -> None:
        """A signal of Relay.watch_signals has arrived."""

    def errands_wanted(self) -> int:
        """Called if there are errands, but perhaps no process that does them. Returns the socket for errands.

        Returns -1 if no process can be started. Then the relay asks again with the next errand.
        """

    def errands_told(self) -> Sequence[int]:
        """Called if the socket for errands is readable. Returns `Errand.session` of each finished ERRAND_HANG_UP."""

    def accept_failed(self, error: int) -> None:
        """A connection could not be accepted, for this errno. The client was refused, or accepting pauses for 0.1 s."""
