"""The statistics server: who connects, and may, is told in JSON what the router does, and then closed.

The keys are those of uWSGI 2.0.21's forkptyrouter stats; `workers` and what is in it are ours. Nobody waits for
anybody: workers are asked with a signal and have a second to answer, clients ten to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastpty import __version__
from fastpty.address import TcpAddress
from fastpty.errands import Errands, may_pass_descriptors
from fastpty.errors import RefusedError
from fastpty.identity import Peer, plain_peer
from fastpty.listeners import Place
from fastpty.refusals import Refusals, clients
from fastpty.stats_clients import Client, in_http
from fastpty.worker import REPORT_SIGNAL

if TYPE_CHECKING:
    from fastpty.forked_worker import Worker
    from fastpty.supervisor import Supervisor

_ANSWER_SECONDS = 1.0
_ROUND_PAUSE_SECONDS = 0.1  # a report takes a worker longer the more sessions it has
_CLIENT_SECONDS = 10.0
_CLIENTS_MOST = 64
_PARTING_SECONDS = 2.0
_PARTING_MOST = 32
_EXHAUSTED_SECONDS = 0.1
_RESERVED_FILES = 16  # besides three for each worker, and as many for its successor
_FULL = "too many ask for statistics at a time: try again later"


class StatsServer:
    """Serves statistics within a supervisor's loop. Of what clients do a turn takes one step for each.

    Workers are asked in rounds, so that each client's answer is younger than its question. One that does not answer
    in time is told without its counters.
    """

    def __init__(self, supervisor: Supervisor, selector: selectors.BaseSelector) -> None:
        self._supervisor = supervisor
        self._selector = selector
        self._started = time.monotonic()
        self._rules = supervisor.listeners.rules
        self._refusals = Refusals()
        self._places: Sequence[Place] = ()
        self._resume_at: float | None = None
        self._clients: set[Client] = set()
        self._parting: set[Client] = set()
        self._next: list[Client] = []
        self._asking: list[Client] = []
        self._unanswered: set[Worker] = set()
        self._reports: dict[Worker, dict[str, Any]] = {}
        self._round_until = 0.0
        self._not_before = 0.0
        self._errands = Errands()

    def listen(self, places: Sequence[Place]) -> None:
        """Serves these sockets from now on, and no others, by the supervisor's configuration as it is now."""
        self._rules = self._supervisor.listeners.rules
        self._watch(False)
        self._places = places
        self._watch(True)

    def _watch(self, wanted: bool) -> None:
        for place in self._places:
            if wanted:
                self._selector.register(
                    place.listener.socket, selectors.EVENT_READ, lambda place=place: self._accept(place)
                )
            elif place.listener.socket in self._selector.get_map():
                self._selector.unregister(place.listener.socket)
        self._resume_at = None if wanted else self._resume_at

    def close(self) -> None:
        """In a forked worker: closes this process's copies."""
        for place in self._places:
            place.listener.let_go()
        for client in (*self._clients, *self._parting):
            client.connection.close()
        self._errands.let_go()

    # -- the door --

    def _accept(self, place: Place) -> None:
        try:
            connection, _ = place.listener.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor is left, and the listener stays readable
            why = error.strerror or str(error)
            self._refusals.tell(f"statistics: a client on {place.name} was not accepted: {why}", f"clients: {why}")
            self._watch(False)
            self._resume_at = time.monotonic() + _EXHAUSTED_SECONDS
            return
        connection.setblocking(False)
        if not self._admits(connection, place):
            return
        client = Client(connection, _CLIENT_SECONDS)
        self._clients.add(client)
        if self._supervisor.config.stats_http and connection.family != socket.AF_UNIX:
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear(client, place))
        else:
            self._wait(client)

    def _admits(self, connection: socket.socket, place: Place) -> bool:
        """Whether a client may be told. One that may not has a line instead, and keeps no place of the others'."""
        peer = Peer("a client")
        try:
            peer = plain_peer(connection, self._rules.need_groups)
            self._rules.check_connection(peer)
            if len(self._clients) < _CLIENTS_MOST and not self._is_reserved(connection):
                return True
            status, why = "503 Service Unavailable", _FULL
        except RefusedError as error:
            status, why = "403 Forbidden", f"refused: {error}"
        except OSError as error:
            status, why = "403 Forbidden", error.strerror or str(error)
        line = f"statistics: refused {peer.text} on {place.name}: {why}"
        self._refusals.tell(line, clients(peer.uid, place.name, why))
        self._part(Client(connection, _PARTING_SECONDS), status, why)
        return False

    def _is_reserved(self, connection: socket.socket) -> bool:
        """Whether its descriptor is one of the last, which are for workers: the kernel gives the lowest first."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        reserved = _RESERVED_FILES + 6 * self._supervisor.config.processes
        return connection.fileno() >= most - min(reserved, most // 2)

    def _part(self, client: Client, status: str, why: str) -> None:
        """Tells a client why it gets nothing. It may stay for a while to read that, if not too many do."""
        text = f"fastpty: {why}\r\n"
        client.tell(in_http(status, text) if self._supervisor.config.stats_http else text.encode())
        if client.go_on() and len(self._parting) < _PARTING_MOST and not self._is_reserved(client.connection):
            self._parting.add(client)
            self._selector.register(client.connection, client.events(), lambda: self._serve(client))
        else:
            client.go_on()  # reads once, as bytes that are left unread may break the connection under the answer
            self._close(client.connection)

    def _hear(self, client: Client, place: Place) -> None:
        """Over HTTP on TCP, where a web browser may be the client, its request comes first."""
        asked = client.has_asked()
        if asked is None:
            self._drop(client)
        elif asked:
            self._selector.unregister(client.connection)
            address = place.listener.address
            own_name = address.host if isinstance(address, TcpAddress) else ""
            if not _is_loopback(client.connection) or client.means_this_machine(own_name):
                self._wait(client)
                return
            self._clients.discard(client)
            why = "refused: the request is for another host than localhost, as a web page's may be"
            self._refusals.tell(
                f"statistics: refused a client on {place.name}: {why}", clients(None, place.name, why)
            )
            self._part(client, "403 Forbidden", why)

    def _wait(self, client: Client) -> None:
        self._next.append(client)
        self._ask()

    # -- rounds --

    def _ask(self) -> None:
        """Begins a round if somebody waits for one and none goes on."""
        if self._asking or not self._next or time.monotonic() < self._not_before:
            return
        self._asking, self._next = self._next, []
        self._round_until = time.monotonic() + _ANSWER_SECONDS
        self._reports = {}
        self._unanswered = set(self._supervisor.workers.values())
        for worker in self._unanswered:
            worker.send(REPORT_SIGNAL)
        self._finish_round_if_complete()

    def answered(self, worker: Worker) -> None:
        """A worker says that it has reported."""
        if worker in self._unanswered:
            with contextlib.suppress(ValueError):
                self._reports[worker] = worker.link.report()
            self.lost(worker)

    def lost(self, worker: Worker) -> None:
        """Of this worker no more is awaited."""
        self._unanswered.discard(worker)
        self._finish_round_if_complete()

    def _finish_round_if_complete(self) -> None:
        if not self._asking or self._unanswered:
            return
        answer = self._answer()
        told, self._asking = self._asking, []
        for client in told:
            if client in self._clients:
                client.tell(answer)
                self._selector.register(client.connection, client.events(), lambda client=client: self._serve(client))
                self._serve(client)
        self._not_before = time.monotonic() + _ROUND_PAUSE_SECONDS

    def _serve(self, client: Client) -> None:
        if client.go_on():
            key = self._selector.get_key(client.connection)
            self._selector.modify(client.connection, client.events(), key.data)
        else:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        self._parting.discard(client)
        if client.connection in self._selector.get_map():
            self._selector.unregister(client.connection)
        self._close(client.connection)

    def _close(self, connection: socket.socket) -> None:
        if may_pass_descriptors(connection):
            self._errands.close(connection)
        else:
            connection.close()

    def look_at_the_clock(self) -> None:
        """Ends what has lasted too long."""
        now = time.monotonic()
        if self._asking and now >= self._round_until:
            self._unanswered.clear()
            self._finish_round_if_complete()
        self._ask()
        for client in [client for client in (*self._clients, *self._parting) if now >= client.until]:
            self._drop(client)
        if self._resume_at is not None and now >= self._resume_at:
            self._watch(True)
        self._refusals.sum_up()

    def patience(self) -> float | None:
        """Until when look_at_the_clock has nothing to do, in seconds from now; None: for ever."""
        ends = [client.until for client in (*self._clients, *self._parting)]
        ends += [self._round_until] if self._asking else []
        ends += [self._not_before] if self._next and not self._asking else []
        ends += [self._resume_at] if self._resume_at is not None else []
        waits = [max(0.0, end - time.monotonic()) for end in ends]
        untold = self._refusals.patience()
        return min(waits if untold is None else [*waits, untold], default=None)

    # -- the answer --

    def _answer(self) -> bytes:
        supervisor = self._supervisor
        workers = [self._of_worker(each) for each in supervisor.workers.values()]
        shown = {
            "version": __version__,
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "cwd": _shown(_directory()),
            "active_sessions": sum(worker["active_sessions"] for worker in workers),
            "forkptyrouter": [_shown(place.listener.address.text) for place in supervisor.listeners.for_sessions],
            "cheap": int(supervisor.is_asleep),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "workers": workers,
        }
        text = json.dumps(shown, indent="\t") + "\n"
        return in_http("200 OK", text, "application/json") if supervisor.config.stats_http else text.encode()

    def _of_worker(self, worker: Worker) -> dict[str, Any]:
        _, sessions, accepted = worker.link.pulse()
        return {
            "pid": worker.pid,
            "uptime_seconds": round(time.monotonic() - worker.started, 3),
            "draining": worker.draining,
            "answered": worker in self._reports,
            "active_sessions": sessions,
            "accepted": accepted,
            **self._reports.get(worker, {"sessions": []}),
        }


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _shown(text: str) -> str:
    """As valid Unicode: a path may have bytes that are not, which are shown as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_loopback(connection: socket.socket) -> bool:
    """Whether the client has come to an address that only this machine has."""
    try:
        host, port = connection.getsockname()[:2]
    except OSError:
        return True
    return TcpAddress(host, port).is_loopback
