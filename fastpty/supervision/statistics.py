"""The statistics server: sends a JSON document to each client that the access rules allow, and closes the connection.

The keys are those of uWSGI 2.0.21's forkptyrouter stats; `workers` and its contents are fastpty's own. The server waits
neither for workers, which have one second to answer a signal, nor for clients, which have ten seconds to read.
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

from fastpty import __version__
from fastpty.access.peer import Peer, plain_peer
from fastpty.access.refusals import Refusals, clients
from fastpty.configuration.config import Config
from fastpty.errands.processes import Errands
from fastpty.errors import RefusedError
from fastpty.listening.places import Listeners, Place
from fastpty.net.address import TcpAddress
from fastpty.supervision.forked_worker import Worker
from fastpty.supervision.statistics_clients import Client, in_http
from fastpty.supervision.worker import REPORT_SIGNAL
from fastpty.system.passed_descriptors import may_pass_descriptors
from fastpty.system.records import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ANSWER_SECONDS = 1.0
_ROUND_PAUSE_SECONDS = 0.1  # a report takes a worker longer the more sessions it has
_CLIENT_SECONDS = 10.0
_CLIENTS_MOST = 64
_REJECTED_SECONDS = 2.0
_REJECTED_MOST = 32
_EXHAUSTED_SECONDS = 0.1
_RESERVED_FILES = 16  # besides three for each worker and three for its successor
_FULL = "too many statistics clients at a time: try again later"


class Supervised(Protocol):
    """What the statistics need of the supervisor."""

    config: Config
    listeners: Listeners
    workers: dict[int, Worker]

    @property
    def has_no_workers(self) -> bool:
        """True while no worker runs until a client connects."""


class StatsServer:
    """Serves statistics within the supervisor's loop. Each turn of the loop does one step for each client.

    Workers report in rounds, so that no client gets a report older than its request. A worker that does not report in
    time is listed without counters.
    """

    def __init__(self, supervisor: Supervised, selector: selectors.BaseSelector) -> None:
        self._supervisor = supervisor
        self._selector = selector
        self._started = time.monotonic()
        self._rules = supervisor.listeners.rules
        self._refusals = Refusals()
        self._places: Sequence[Place] = ()
        self._resume_at: float | None = None
        self._clients: set[Client] = set()
        self._rejected: set[Client] = set()
        self._queued: list[Client] = []
        self._in_round: list[Client] = []
        self._unanswered: set[Worker] = set()
        self._reports: dict[Worker, dict[str, Any]] = {}
        self._round_until = 0.0
        self._not_before = 0.0
        self._errands = Errands()

    def listen(self, places: Sequence[Place]) -> None:
        """Serves only these sockets from now on, under the supervisor's present configuration."""
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
        """In a child process: closes its copies of the sockets."""
        self._errands.close_all()
        for place in self._places:
            place.listener.close_copy()
        for client in (*self._clients, *self._rejected):
            client.connection.close()

    # -- accepting --

    def _accept(self, place: Place) -> None:
        try:
            connection, _ = place.listener.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor is left; the listener stays readable
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
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._read_request(client, place))
        else:
            self._enqueue(client)

    def _admits(self, connection: socket.socket, place: Place) -> bool:
        """True if the client may have statistics. Otherwise it gets one line and is not counted as a client."""
        peer = Peer("a client")
        try:
            peer = plain_peer(connection, self._rules.need_groups)
            self._rules.check_connection(peer)
            if len(self._clients) < _CLIENTS_MOST and not self._is_reserved(connection):
                return True
            status, why = "503 Service Unavailable", _FULL
        except RefusedError as error:
            status, why = "403 Forbidden", str(error)
        except OSError as error:
            status, why = "403 Forbidden", error.strerror or str(error)
        line = f"statistics: refused {peer.text} on {place.name}: {why}"
        self._refusals.tell(line, clients(peer.uid, place.name, why))
        self._reject(Client(connection, _REJECTED_SECONDS), status, why)
        return False

    def _is_reserved(self, connection: socket.socket) -> bool:
        """True if its descriptor is among the last free ones, which are kept for workers."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        reserved = _RESERVED_FILES + 6 * self._supervisor.config.processes
        return connection.fileno() >= most - min(reserved, most // 2)

    def _reject(self, client: Client, status: str, why: str) -> None:
        """Tells a client why it gets no statistics. It may stay to read that, if not too many do."""
        text = f"fastpty: refused: {why}\r\n"
        client.queue(in_http(status, text) if self._supervisor.config.stats_http else text.encode())
        if client.step() and len(self._rejected) < _REJECTED_MOST and not self._is_reserved(client.connection):
            self._rejected.add(client)
            self._selector.register(client.connection, client.events(), lambda: self._serve(client))
        else:
            client.step()  # reads once: closing with unread bytes may break the connection before the answer is read
            self.discard(client.connection)

    def _read_request(self, client: Client, place: Place) -> None:
        """Reads the request of an HTTP client on TCP, which may be a web browser."""
        is_complete = client.read_request()
        if is_complete is None:
            self._drop(client)
        elif is_complete:
            self._selector.unregister(client.connection)
            address = place.listener.address
            listening_host = address.host if isinstance(address, TcpAddress) else ""
            if not _is_loopback(client.connection) or client.asks_for_this_host(listening_host):
                self._enqueue(client)
                return
            self._clients.discard(client)
            why = "the request names another host than localhost (perhaps a web page sent it)"
            self._refusals.tell(
                f"statistics: refused a client on {place.name}: {why}", clients(None, place.name, why)
            )
            self._reject(client, "403 Forbidden", why)

    def _enqueue(self, client: Client) -> None:
        self._queued.append(client)
        self._begin_round()

    # -- rounds --

    def _begin_round(self) -> None:
        """Asks all workers for a report, if clients wait for one and no other round goes on."""
        if self._in_round or not self._queued or time.monotonic() < self._not_before:
            return
        self._in_round, self._queued = self._queued, []
        self._round_until = time.monotonic() + _ANSWER_SECONDS
        self._reports = {}
        self._unanswered = set(self._supervisor.workers.values())
        for worker in self._unanswered:
            worker.send(REPORT_SIGNAL)
        self._finish_round_if_complete()

    def worker_reported(self, worker: Worker) -> None:
        """Takes the report of a worker that has announced one."""
        if worker in self._unanswered:
            with contextlib.suppress(ValueError):
                self._reports[worker] = worker.link.report()
            self.worker_lost(worker)

    def worker_lost(self, worker: Worker) -> None:
        """Takes note that this worker will not report."""
        self._unanswered.discard(worker)
        self._finish_round_if_complete()

    def _finish_round_if_complete(self) -> None:
        if not self._in_round or self._unanswered:
            return
        answer = self._answer()
        clients_in_round, self._in_round = self._in_round, []
        for client in clients_in_round:
            if client in self._clients:
                client.queue(answer)
                self._selector.register(client.connection, client.events(), lambda client=client: self._serve(client))
                self._serve(client)
        self._not_before = time.monotonic() + _ROUND_PAUSE_SECONDS

    def _serve(self, client: Client) -> None:
        if client.step():
            key = self._selector.get_key(client.connection)
            self._selector.modify(client.connection, client.events(), key.data)
        else:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        self._clients.discard(client)
        self._rejected.discard(client)
        if client.connection in self._selector.get_map():
            self._selector.unregister(client.connection)
        self.discard(client.connection)

    def discard(self, connection: socket.socket) -> None:
        """Closes a client's connection. It does not wait for descriptors that the client may have sent."""
        if may_pass_descriptors(connection):
            self._errands.close(connection)
        else:
            connection.close()

    def check_deadlines(self) -> None:
        """Ends rounds and connections whose time is over."""
        now = time.monotonic()
        if self._in_round and now >= self._round_until:
            self._unanswered.clear()
            self._finish_round_if_complete()
        self._begin_round()
        for client in [client for client in (*self._clients, *self._rejected) if now >= client.until]:
            self._drop(client)
        if self._resume_at is not None and now >= self._resume_at:
            self._watch(True)
        self._refusals.sum_up()

    def timeout(self) -> float | None:
        """The seconds until check_deadlines() has something to do; None: no deadline."""
        ends = [client.until for client in (*self._clients, *self._rejected)]
        ends += [self._round_until] if self._in_round else []
        ends += [self._not_before] if self._queued and not self._in_round else []
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
            "cheap": int(supervisor.has_no_workers),
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
    """Makes a path valid Unicode: bytes that are not UTF-8 become \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_loopback(connection: socket.socket) -> bool:
    """True if the client has connected to a loopback address."""
    try:
        host, port = connection.getsockname()[:2]
    except OSError:
        return True
    return TcpAddress(host, port).is_loopback
