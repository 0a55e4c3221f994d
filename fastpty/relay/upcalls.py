"""What the relay asks of its owner."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Protocol

JOIN: Final = "join"
"""Handler.session_wanted's answer for a client that shall join the shared terminal."""


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


class SessionEnd(NamedTuple):
    """How a session ended."""

    number: int
    ending: str
    """"exit", "client left", "idle", "lifetime over", "never said anything", "an HTTP request", "a TLS hello",
    "out of memory" or "stopped"."""
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


UNKNOWN_PEER = (0, 2**32 - 1, 2**32 - 1)
"""What SO_PEERCRED tells of a peer that is not a process of this machine (unix(7), socket(7))."""


class Handler(Protocol):
    """The upcalls of a relay. An exception in any of these is printed; the relay goes on."""

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> Terminal | Literal["join"] | bytes:
        """A client has connected. Answers with a terminal of its own, with JOIN to let it join the shared one, or with
        a text to tell the client before it is closed.

        number: the session's, from 1. listener: what Relay.listen returned. fd: the connection, which stays the
        relay's. peer: pid, uid and gid as SO_PEERCRED tells them; UNKNOWN_PEER where it cannot.
        """

    def program_wanted(self, number: int) -> Terminal | bytes | None:
        """The shared terminal has no program: at first, and again when one has ended.

        Answers with its terminal; with a text for the viewers, to be asked again later; or with None if there will be
        no other program, so that the viewers are let go. number: the program's as a session.
        """

    def caught_up(self) -> bool:
        """Called 20 ms after session_wanted, program_wanted or accept_failed, or just before session_ended if that is
        sooner. Answers whether it is to be called once more, in 20 ms.

        For what can wait until then, such as a line in the log: until the first output is at the client, program and
        client start sooner when this process sleeps, since the CPU that it runs on is often the one that they are on.
        """

    def session_ended(self, end: SessionEnd) -> None:
        """Nothing is left of a session: its connection is closed, its leader reaped."""

    def signalled(self, number: int) -> None:
        """One of the signals of Relay.watch_signals has come."""

    def errands_wanted(self) -> int:
        """There are errands (Relay.use_errands), and perhaps nobody takes them. Answers with the socket for them.

        -1: nobody can take them now; this is called again with the next errand.
        """

    def errands_told(self) -> None:
        """Something can be read from the socket for errands."""

    def accept_failed(self, error: int) -> None:
        """A connection could not be accepted, with this errno; the client was told, or accepting pauses for 0.1 s."""
