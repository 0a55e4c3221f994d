"""What the relay asks of its owner."""

from __future__ import annotations

from typing import Final, Literal, Protocol

JOIN: Final = "join"
"""Handler.session_wanted's answer for a client that shall join the shared terminal."""

Terminal = tuple[int, int, int, int, int, int | None]
"""A program's terminal: its master, pid and pidfd as _spawn.spawn returns them, which become the relay's; its rows
and columns; and the uid of its user where that is not who this process is: signals of the client's are that user's.
"""


class Handler(Protocol):
    """The upcalls of a relay. An exception in any of these is printed; the relay goes on."""

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> Terminal | Literal["join"] | bytes:
        """A client has connected. Answers with a terminal of its own, with JOIN to let it join the shared one, or with
        a text to tell the client before it is closed.

        number: the session's, from 1. listener: what Relay.listen returned. fd: the connection, which stays the
        relay's. peer: pid, uid and gid as SO_PEERCRED tells them; credentials.UNKNOWN_PEER where it cannot.
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

    def session_ended(
        self,
        number: int,
        ending: str,
        exit_code: int,
        exit_status: int,
        transferred: tuple[int, int],
        ignored_frames: int,
        lagged_bytes: int,
        seconds: float,
    ) -> None:
        """Nothing is left of a session: its connection is closed, its leader reaped.

        ending: "exit", "client left", "idle", "lifetime over", "never said anything", "an HTTP request", "a TLS hello",
        "out of memory" or "stopped".
        exit_code and exit_status: as waitid(2) tells them (os.CLD_EXITED, os.CLD_KILLED, …), 0 and 0 for a session
        without a program, refused or joined. transferred: bytes to the program, bytes to the client. ignored_frames:
        uwsgi frames without a meaning. lagged_bytes: what this viewer of the shared terminal was too slow for.
        seconds: since the connection.
        """

    def terminal_closes_later(self, number: int) -> None:
        """Called before session_ended if an errand closes the terminal of a session of another user.

        The processes that take errands report the session's number when the terminal is closed, or did so already.
        """

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
