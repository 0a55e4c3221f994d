"""Answers the relay's upcalls: admits clients, starts their programs, and logs sessions."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from fastpty import log
from fastpty.access.accounts import ForeignAccounts
from fastpty.access.limits import Limits
from fastpty.access.peer import Peer, local_peer, origin_number, peer_behind_tls, tcp_peer
from fastpty.access.refusals import Refusals, clients
from fastpty.access.rules import Rules
from fastpty.access.user_names import UserNames
from fastpty.configuration.config import Config
from fastpty.errands.processes import Errands
from fastpty.errors import ExecuteError, RefusedError
from fastpty.listening.places import PTY_VIEWER, UWSGI, Place
from fastpty.log import logger
from fastpty.net import tcp
from fastpty.relay.upcalls import JOIN, VIEW, Failure, Greeting, SessionEnd, Streams, Terminal
from fastpty.sessions import requests
from fastpty.sessions.outcomes import Outcome
from fastpty.sessions.program import Program, Programs
from fastpty.sessions.record import Record, tty_name
from fastpty.sessions.starter import Starter, Window
from fastpty.system.credentials import UNKNOWN_PEER
from fastpty.system.records import replace
from fastpty.system.signals import signal_name
from fastpty.wire import extension, uwsgi

_EXPLAINED = ("not started", "sent nothing", "violated the protocol")
"""For these endings, the log also gives the reason that a client of the extension gets."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from fastpty.sessions.cgroups import SessionCgroups


class Sessions:
    """Answers the relay's upcalls (`fastpty.relay.upcalls.Handler`) as the configuration says.

    places: the listening sockets, in the order of Relay.listen. on_signal: called with each signal that the relay
    watches. rules: who may connect. limits: they count the sessions of all workers. cgroups: None if sessions have no
    cgroup of their own.
    """

    def __init__(
        self,
        config: Config,
        places: Sequence[Place],
        on_signal: Callable[[int], None],
        rules: Rules,
        limits: Limits,
        cgroups: SessionCgroups | None,
    ) -> None:
        self._config = config
        self._places = places
        self._shared_started = False
        self._on_signal = on_signal
        self._rules = rules
        self._programs = Programs(config, ForeignAccounts(limits.readers))
        self._limits = limits
        self._cgroups = cgroups
        self._window = config.rows, config.cols, 0, 0
        self._requests = requests.Requests(config)
        self._starter = Starter(config, limits, cgroups)
        self._tls_users = frozenset(uid for _, uid in config.tls_users)
        self._seats: dict[int, list[int]] = {}
        self._open_terminals: set[int] = set()  # ended sessions whose terminals an errand has yet to close
        self._closed_early: set[int] = set()  # sessions whose terminals an errand closed before their end
        self._unlogged_starts: list[tuple[float, int, Record]] = []
        self._undecided: dict[int, float] = {}  # sessions whose first process has not reported: their start times
        self._records: dict[int, Record] = {}
        self._user_names = UserNames()
        self._refusals = Refusals()
        self.errands = Errands()
        self._refused: set[int] = set()  # sessions whose client was refused: their end is not logged

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> Terminal | Literal["join", "view"] | bytes:
        """Starts the program on a new terminal, or lets the client join the shared one.

        If that fails or is not allowed, logs why, and returns a line for the client.
        """
        place = self._places[listener]
        client = Peer("a client")
        try:
            client = self._identify(fd, peer, place.is_behind_tls)
            if place.is_shared:
                self._admit(number, client)
                record = self._records[number] = Record(client, place, shared="viewer")
                self._log(number, "join", record)
                return VIEW if place.protocol == PTY_VIEWER else JOIN
            window = self._first_window(fd, place)
            program, (master, pid, pidfd) = self._start(number, client, window)
        except (OSError, RefusedError) as error:
            return self._refuse(number, client, place, error)
        self._note_start(number, program, Record(client, place, pid, tty_name(master), program.text))
        return Terminal(master, pid, pidfd, *window[:2], program.uid)

    def _first_window(self, fd: int, place: Place) -> Window:
        """Returns the window from a uwsgi client's first frames if they have arrived already, else the configured one.

        fastpty's client sends them right after it has connected, so they usually arrive while the rules are applied.
        They stay in the socket for the relay. This never waits for them: uWSGI's client sends none.
        """
        window = None
        if place.protocol == UWSGI:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)  # any family will do, to read
            with suppress(OSError):
                window = uwsgi.first_window(connection.recv(8, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            connection.detach()
        return (*window, 0, 0) if window else self._window

    def client_greeted(self, number: int, listener: int, fd: int, peer: tuple[int, int, int]) -> Greeting | bytes:
        """Admits a client of the extension, or refuses it as session_wanted does."""
        place = self._places[listener]
        client = Peer("a client")
        try:
            client = self._identify(fd, peer, place.is_behind_tls)
            self._admit(number, client)
        except (OSError, RefusedError) as error:
            return self._refuse(number, client, place, error)
        self._records[number] = Record(client, place, is_negotiated=True)
        user = self._rules.account_uid(client)
        return Greeting(self._requests.capabilities, origin_number(client.origin) if user is None else user)

    def start_wanted(self, number: int, request: bytes, window: Window) -> Terminal | Streams | Failure:
        """Starts the program that a client of the extension asks for. Returns a Failure if it cannot or may not."""
        record = self._records[number]
        assert record.client is not None
        try:
            wanted = requests.parse(request)
            program = self._requests.grant(wanted, self._programs.for_peer(record.client))
            answer = self._start_requested(number, program, wanted, window)
        except requests.RequestError as error:
            return self._not_started(number, record, Failure(error.code, 0, os.fsencode(str(error))), error.kind)
        except RefusedError as error:
            failure = Failure(extension.REFUSED, 0, b"refused: " + os.fsencode(str(error)))
            return self._not_started(number, record, failure)
        except OSError as error:
            code = extension.EXECUTE if isinstance(error, ExecuteError) else extension.LIMIT
            why = os.fsencode(error.strerror or str(error))
            return self._not_started(number, record, Failure(code, error.errno or 0, why))
        tty = tty_name(answer.master) if isinstance(answer, Terminal) else ""
        record = replace(record, pid=answer.leader, tty=tty, command=program.text, is_exec=not tty)
        self._note_start(number, program, record)
        return answer

    def _start_requested(
        self, number: int, program: Program, wanted: requests.Request, window: Window
    ) -> Terminal | Streams:
        if wanted.streams is not None:
            merges, drain_ms = wanted.streams
            return self._starter.start_on_streams(number, program, merges=merges, drain_ms=drain_ms)
        rows, cols, width, height = wanted.window or (
            window[0] or self._config.rows, window[1] or self._config.cols, *window[2:]
        )  # fmt: skip
        size = rows, cols, width, height
        if not (wanted.chooses or program.uid is not None or self._config.changes_root):
            return Terminal(*self._starter.start(number, program, size), rows, cols, program.uid)
        master, pid, pidfd, report = self._starter.start_reported(number, program, size)
        return Terminal(master, pid, pidfd, rows, cols, program.uid, report)

    def _note_start(self, number: int, program: Program, record: Record) -> None:
        self._records[number] = record
        if program.complete is None:
            self._unlogged_starts.append((time.time(), number, record))
        else:
            self._undecided[number] = time.time()

    def _refuse(self, number: int, client: Peer, place: Place, error: OSError | RefusedError) -> bytes:
        """Logs a refusal, and returns the line for the client."""
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        self._log_refusal(number, client, place, why)
        return os.fsencode(f"fastpty: {'' if isinstance(error, OSError) else 'refused: '}{why}\r\n")

    def _not_started(self, number: int, record: Record, failure: Failure, kind: str | None = None) -> Failure:
        """Logs that a session was not started; returns `failure`. kind: its text without the client's words, if any."""
        assert record.client is not None
        assert record.place is not None
        why = os.fsdecode(failure.text)
        line = f"session {number}: not started for {record.client.text} on {record.place.name}: {why}"
        self._tell_refusal(number, line, clients(record.client.uid, record.place.name, kind or why))
        return failure

    def program_wanted(self, number: int, rows: int, columns: int) -> Terminal | bytes | None:
        """Starts the shared terminal's command; with `pty-once` only the first time."""
        if self._shared_started and self._config.pty_once:
            return None
        self._shared_started = True
        program = self._programs.shared
        try:
            master, pid, pidfd = self._starter.start(number, program, (rows, columns, 0, 0))
        except OSError as error:
            line = f"session {number}: cannot start the shared terminal: {error.strerror}"
            self._refusals.tell(line, f"starts of the shared terminal: {error.strerror}")
            return os.fsencode(f"fastpty: {error.strerror}\r\n")
        record = self._records[number] = Record(None, None, pid, tty_name(master), program.text, "program")
        self._log(number, "start", record)
        return Terminal(master, pid, pidfd, rows, columns, None)

    def caught_up(self) -> bool:
        """Writes the delayed log lines about starts and refusals. Returns True if others may follow."""
        if self._undecided:
            for outcome in self._starter.outcomes.read():
                self._take_outcome(outcome)
        for when, number, record in self._unlogged_starts:
            self._log(number, "start", record, when=when)
        self._unlogged_starts.clear()
        return self._refusals.sum_up() or bool(self._undecided)

    def close(self) -> None:
        """Logs the refusals that were counted but not logged yet."""
        self._refusals.sum_up(at_once=True)

    def session_ended(self, end: SessionEnd) -> None:
        """Logs how a session ended, unless its client was refused, and frees its place."""
        if end.number not in self._open_terminals:
            self._limits.leave(self._seats.pop(end.number, []))
        if self._cgroups is not None:
            self._cgroups.end(end.number)
        self._undecided.pop(end.number, None)
        self._starter.forget(end.number)
        record = self._records.pop(end.number, None)
        if end.number in self._refused:
            self._refused.remove(end.number)
            return
        ignored = f", {end.ignored_frames} unknown frames" if end.ignored_frames else ""
        lagged = f", {end.lagged_bytes} bytes missed" if end.lagged_bytes else ""
        reason = f" ({end.reason})" if end.ending in _EXPLAINED else ""
        how = f"{end.ending}{reason}, {_describe_exit(end.exit_code, end.exit_status)} after {end.seconds:.3f} s"
        moved = f"{end.bytes_in} bytes in, {end.bytes_out} bytes out"
        self._log(end.number, "end", record, f"{how}, {moved}{ignored}{lagged}")

    def describe(self, number: int) -> dict[str, Any]:
        """Returns what the statistics say about a session besides its counters."""
        record = self._records.get(number)
        return record.fields(self._user_names) if record else {}

    def _take_outcome(self, outcome: Outcome) -> None:
        when = self._undecided.pop(outcome.number, None)
        record = self._records.get(outcome.number)
        if when is None or record is None or record.client is None or record.place is None:
            return
        if outcome.is_refusal:
            self._log_refusal(outcome.number, record.client, record.place, outcome.text)
        else:
            record = self._records[outcome.number] = replace(record, command=outcome.text)
            self._unlogged_starts.append((when, outcome.number, record))

    def _log_refusal(self, number: int, client: Peer, place: Place, why: str) -> None:
        line = f"session {number}: refused {client.text} on {place.name}: {why}"
        self._tell_refusal(number, line, clients(client.uid, place.name, why))
        self._records[number] = Record(client, place)

    def _tell_refusal(self, number: int, line: str, kind: str) -> None:
        self._refusals.tell(line, kind)
        self._refused.add(number)

    def _log(
        self, number: int, event: str, record: Record | None, details: str = "", when: float | None = None
    ) -> None:
        about = record.text(self._user_names) if record else ""
        fields = {"session": number, "event": event, **(record.fields(self._user_names) if record else {})}
        text = "; ".join(filter(None, (details, about)))
        log.info_of(when or time.time(), f"session {number}: {event}: {text}", fields)

    def _identify(self, fd: int, credentials: tuple[int, int, int], behind_tls: bool) -> Peer:
        """Identifies the client; raises OSError if it has left."""
        if credentials != UNKNOWN_PEER and not behind_tls:
            return local_peer(fd, credentials, self._rules.need_groups)
        connection = socket.socket(fileno=fd)
        try:
            if behind_tls:
                is_admitted = bool(self._config.allow_tls_names)
                groups_of = self._rules.groups_of_account if self._rules.need_groups else None
                return peer_behind_tls(connection, self._tls_users, is_admitted, groups_of)
            tcp.prepare(connection)
            return tcp_peer(connection)
        finally:
            connection.detach()

    def _admit(self, number: int, client: Peer) -> None:
        """Takes a place for the client; raises RefusedError if the rules or limits refuse it."""
        self._rules.check(client)
        self._seats[number] = self._limits.admit(self._config, self._rules.account_uid(client))

    def _start(self, number: int, client: Peer, window: Window) -> tuple[Program, tuple[int, int, int]]:
        """Admits the client and starts its program; returns that with its pty master, pid and pidfd."""
        self._admit(number, client)
        try:
            program = self._programs.for_peer(client)
            return program, self._starter.start(number, program, window)
        except BaseException:
            self._limits.leave(self._seats.pop(number))
            raise

    def accept_failed(self, error: int) -> None:
        """Logs that a connection could not be accepted or served."""
        why = os.strerror(error)
        self._refusals.tell(f"a client was not accepted: {why}", f"clients that could not be accepted: {why}")

    def errands_wanted(self) -> int:
        """Starts the keeper, the process that receives errands. Returns its socket, or -1 if that fails."""
        if self.errands.had_keeper:  # it was killed, so it will not report the terminals that are still open
            for number in [*self._open_terminals]:
                self._free_place_of_terminal(number)
        try:
            return self.errands.attend()
        except OSError as error:
            logger.error("cannot start the process that closes terminals of ended sessions: %s", error)
            return -1

    def errands_told(self) -> Sequence[int]:
        """Reads the keeper's reports. Logs slow errands, and frees the places of sessions with a closed terminal."""
        news = self.errands.news()
        for number in news.closed:
            if number in self._open_terminals:
                self._free_place_of_terminal(number)
            else:
                self._closed_early.add(number)
        return news.hung_up

    def terminal_closes_later(self, number: int) -> None:
        """Keeps the session's place until its terminal is closed.

        Otherwise a user could leave any number of terminals behind that programs keep open.
        """
        if number in self._closed_early:
            self._closed_early.remove(number)
        else:
            self._open_terminals.add(number)

    def _free_place_of_terminal(self, number: int) -> None:
        self._open_terminals.remove(number)
        self._limits.leave(self._seats.pop(number, []))

    def signalled(self, number: int) -> None:
        """Passes a signal on to the router."""
        self._on_signal(number)


def _describe_exit(code: int, status: int) -> str:
    if code == 0:
        return "no process"
    if code == os.CLD_EXITED:
        return f"exit status {status}"
    return f"killed by {signal_name(status)}"
