"""The router's side of a session: what a client gets when it connects, and what is said of it in the log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastpty import log
from fastpty._spawn import spawn
from fastpty.access import accounts
from fastpty.access.limits import Limits
from fastpty.access.peer import Peer, local_peer, peer_behind_tls, tcp_peer
from fastpty.access.refusals import Refusals, clients
from fastpty.access.rules import Rules
from fastpty.access.user_names import UserNames
from fastpty.configuration.config import Config
from fastpty.errands.processes import Errands
from fastpty.errors import RefusedError
from fastpty.listening.places import PTY, Place
from fastpty.log import logger, signal_name
from fastpty.net import tcp
from fastpty.relay.upcalls import JOIN, UNKNOWN_PEER, Terminal
from fastpty.sessions.cgroups import SessionCgroups
from fastpty.sessions.program import Program, Programs
from fastpty.sessions.record import Record, tty_name
from fastpty.system import at_start


class Sessions:
    """Answers the relay's upcalls (`fastpty.handler.Handler`) as the configuration says.

    places: the listening sockets, in the order of Relay.listen. on_signal: called with each signal that the relay
    watches. rules: who may connect. limits: the limits that hold over all workers. cgroups: None if sessions have no
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
        self._account_of = accounts.lookup(config.changes_root)
        self._programs = Programs(config)
        self._limits = limits
        self._cgroups = cgroups
        self._joins = config.entered.cgroups if config.entered else ()
        self._tls_users = frozenset(uid for _, uid in config.tls_users)
        self._seats: dict[int, list[int]] = {}
        self._put_off: list[tuple[float, int, Record]] = []
        self._records: dict[int, Record] = {}
        self._user_names = UserNames()
        self._refusals = Refusals()
        self.errands = Errands()
        self._untold: set[int] = set()  # sessions whose refusal, and so whose end, has no line

    def session_wanted(
        self, number: int, listener: int, fd: int, peer: tuple[int, int, int]
    ) -> Terminal | Literal["join"] | bytes:
        """Starts the program on a new terminal, or lets the client join the shared one.

        What goes wrong, or is not allowed, is told the client and logged.
        """
        place = self._places[listener]
        client = Peer("a client")
        try:
            client = self._meet(fd, peer, place.is_behind_tls)
            if place.protocol == PTY:
                self._admit(number, client)
                record = self._records[number] = Record(client, place, shared="viewer")
                self._log(number, "join", record)
                return JOIN
            program, (master, pid, pidfd) = self._start(number, client)
        except (OSError, RefusedError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else f"refused: {error}"
            line = f"session {number}: refused {client.text} on {place.name}: {why}"
            if not self._refusals.tell(line, clients(client.uid, place.name, why)):
                self._untold.add(number)
            self._records[number] = Record(client, place)
            return os.fsencode(f"fastpty: {why}\r\n")
        record = self._records[number] = Record(client, place, pid, tty_name(master), program.text)
        self._put_off.append((time.time(), number, record))
        uid = program.account[0] if program.account else None
        return master, pid, pidfd, self._config.rows, self._config.cols, uid

    def program_wanted(self, number: int) -> Terminal | bytes | None:
        """Starts the shared terminal's command, again and again unless `pty-once` is set."""
        if self._shared_started and self._config.pty_once:
            return None
        self._shared_started = True
        program = self._programs.shared
        try:
            master, pid, pidfd = self._spawn(number, program)
        except OSError as error:
            line = f"session {number}: refused the shared terminal: {error.strerror}"
            self._refusals.tell(line, f"starts of the shared terminal: {error.strerror}")
            return os.fsencode(f"fastpty: {error.strerror}\r\n")
        record = self._records[number] = Record(None, None, pid, tty_name(master), program.text, "program")
        self._log(number, "start", record)
        return master, pid, pidfd, self._config.rows, self._config.cols, None

    def caught_up(self) -> bool:
        """Logs which sessions have started, and how many were refused."""
        for when, number, record in self._put_off:
            self._log(number, "start", record, when=when)
        self._put_off.clear()
        return self._refusals.sum_up()

    def close(self) -> None:
        """Logs what there is no time to wait with any more."""
        self._refusals.sum_up(at_once=True)

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
        """Logs how a session ended, unless not even its refusal was logged, and frees its place."""
        self._limits.leave(self._seats.pop(number, []))
        if self._cgroups is not None:
            self._cgroups.end(number)
        record = self._records.pop(number, None)
        if number in self._untold:
            self._untold.remove(number)
            return
        ignored = f", {ignored_frames} unknown frames" if ignored_frames else ""
        lagged = f", {lagged_bytes} bytes lagged" if lagged_bytes else ""
        how = f"{ending}, {_describe_exit(exit_code, exit_status)} after {seconds:.3f} s"
        moved = f"{transferred[0]} bytes in, {transferred[1]} bytes out"
        self._log(number, "end", record, f"{how}, {moved}{ignored}{lagged}")

    def describe(self, number: int) -> dict[str, Any]:
        """What the statistics say about a session besides its counters."""
        record = self._records.get(number)
        return record.fields(self._user_names) if record else {}

    def _log(
        self, number: int, event: str, record: Record | None, details: str = "", when: float | None = None
    ) -> None:
        about = record.text(self._user_names) if record else ""
        fields = {"session": number, "event": event, **(record.fields(self._user_names) if record else {})}
        text = "; ".join(filter(None, (details, about)))
        log.info_of(when or time.time(), f"session {number}: {event}: {text}", fields)

    def _meet(self, fd: int, credentials: tuple[int, int, int], behind_tls: bool) -> Peer:
        """Who the client is; raises OSError if it has left."""
        if credentials != UNKNOWN_PEER and not behind_tls:
            return local_peer(fd, credentials, self._rules.need_groups)
        connection = socket.socket(fileno=fd)
        try:
            if behind_tls:
                is_admitted = bool(self._config.allow_tls_names)
                account_of = self._account_of if self._rules.need_groups else None
                return peer_behind_tls(connection, self._tls_users, is_admitted, account_of)
            tcp.prepare(connection)
            return tcp_peer(connection)
        finally:
            connection.detach()

    def _admit(self, number: int, client: Peer) -> None:
        """Gives the client its place; raises RefusedError where the rules or limits keep it out."""
        self._rules.check(client)
        self._seats[number] = self._limits.admit(self._config, self._rules.account_uid(client))

    def _start(self, number: int, client: Peer) -> tuple[Program, tuple[int, int, int]]:
        """What runs, and its master, pid and pidfd. Nothing is spawned for whom the rules or limits keep out."""
        self._admit(number, client)
        try:
            program = self._programs.for_peer(client)
            return program, self._spawn(number, program)
        except BaseException:
            self._limits.leave(self._seats.pop(number))
            raise

    def _spawn(self, number: int, program: Program) -> tuple[int, int, int]:
        if self._cgroups is None:
            return self._spawn_in(program, -1)
        cgroup = self._cgroups.begin(number)
        try:
            return self._spawn_in(program, cgroup)
        except OSError:
            self._cgroups.end(number)
            raise
        finally:
            os.close(cgroup)

    def _spawn_in(self, program: Program, cgroup: int) -> tuple[int, int, int]:
        return spawn(
            program.argv,
            program.environment,
            program.directory,
            self._config.rows,
            self._config.cols,
            at_start.FILES,
            program=program.path,
            account=program.account,
            no_new_privs=self._config.no_new_privs,
            cgroup=cgroup,
            apart=self._config.entered is not None,
            joins=self._joins,
        )

    def accept_failed(self, error: int) -> None:
        """Logs that a client was turned away, or could not even be."""
        why = os.strerror(error)
        self._refusals.tell(f"a client was not accepted: {why}", f"clients, before they were accepted: {why}")

    def errands_wanted(self) -> int:
        """Has the errands taken."""
        try:
            return self.errands.attend()
        except OSError as error:
            logger.error("no process can be started to close what sessions have left: %s", error)
            return -1

    def errands_told(self) -> None:
        """Logs whether errands take long."""
        self.errands.log_news()

    def signalled(self, number: int) -> None:
        """Passes a signal on to the router."""
        self._on_signal(number)


def _describe_exit(code: int, status: int) -> str:
    if code == 0:
        return "no process"
    if code == os.CLD_EXITED:
        return f"exit status {status}"
    return f"killed by {signal_name(status)}"
