"""The statistics server: who connects, and may, is told in JSON what the router does, and then closed.

The keys are those of uWSGI 2.0.21's forkptyrouter stats; `workers` and what is in it are ours. Nobody waits for
anybody: workers are asked with a signal and have a second to answer, clients ten to read.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastpty import __version__
from fastpty.access import Rules
from fastpty.errands import Errands, may_pass_descriptors
from fastpty.errors import RefusedError
from fastpty.identity import plain_peer
from fastpty.listeners import Place
from fastpty.log import logger
from fastpty.worker import REPORT_SIGNAL

if TYPE_CHECKING:
    from fastpty.supervisor import Supervisor, Worker

_ANSWER_SECONDS = 1.0
_CLIENT_SECONDS = 10.0
_CLIENTS_MOST = 64
_READS_MOST = 16
_EXHAUSTED_SECONDS = 0.1
_HTTP_HEAD = (
    "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\r\n"
)
_HTTP_HEAD_OF_REFUSAL = "HTTP/1.0 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n"


class _Client:
    """A connection to the server, and what it has yet to be told."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.until = time.monotonic() + _CLIENT_SECONDS
        self._left = b""
        self._is_guarded = may_pass_descriptors(connection)

    def tell(self, answer: bytes) -> None:
        """What go_on will write."""
        self._left = answer

    def go_on(self) -> bool:
        """Writes and reads what can be; whether the client stays. What it says (HTTP) is dropped.

        It stays until it closes: closing first, with bytes unread, would break the connection under the answer.
        """
        try:
            while self._left:
                self._left = self._left[self.connection.send(self._left) :]
                if not self._left:
                    self.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            return False
        if self._is_guarded:
            return bool(self._left)  # what it has sent is not read here, and so not met
        try:
            for _ in range(_READS_MOST):
                if not self.connection.recv(65536):
                    return bool(self._left)  # it may have closed its half only
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def events(self) -> int:
        """What go_on waits for."""
        return selectors.EVENT_WRITE if self._left else selectors.EVENT_READ


class StatsServer:
    """Serves statistics within a supervisor's loop.

    Workers are asked in rounds, so that each client's answer is younger than its question. One that does not answer
    in time is told without its counters.
    """

    def __init__(self, supervisor: Supervisor, selector: selectors.BaseSelector) -> None:
        self._supervisor = supervisor
        self._selector = selector
        self._started = time.monotonic()
        self._rules = Rules(supervisor.config)
        self._places: Sequence[Place] = ()
        self._clients: set[_Client] = set()
        self._next: list[_Client] = []
        self._asking: list[_Client] = []
        self._unanswered: set[Worker] = set()
        self._reports: dict[Worker, dict[str, Any]] = {}
        self._round_until = 0.0
        self._errands = Errands()

    def listen(self, places: Sequence[Place]) -> None:
        """Serves these sockets from now on, and no others, by the supervisor's configuration as it is now."""
        self._rules = Rules(self._supervisor.config)
        for place in self._places:
            self._selector.unregister(place.listener.socket)
        self._places = places
        for place in places:
            self._selector.register(
                place.listener.socket, selectors.EVENT_READ, lambda place=place: self._accept(place)
            )

    def close(self) -> None:
        """In a forked worker: closes this process's copies."""
        for place in self._places:
            place.listener.let_go()
        for client in self._clients:
            client.connection.close()

    def _accept(self, place: Place) -> None:
        try:
            connection, _ = place.listener.socket.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left, and the listener stays readable
            time.sleep(_EXHAUSTED_SECONDS)
            return
        connection.setblocking(False)
        if not self._admits(connection, place) or len(self._clients) == _CLIENTS_MOST:
            self._close(connection)
            return
        client = _Client(connection)
        self._clients.add(client)
        self._next.append(client)
        self._ask()

    def _admits(self, connection: socket.socket, place: Place) -> bool:
        """Whether a client may be told. One that may not has a line instead, and keeps nobody's place."""
        who = "a client"
        try:
            client = plain_peer(connection, self._rules.need_groups)
            who = client.text
            self._rules.check_connection(client)
        except (OSError, RefusedError) as error:
            why = error.strerror if isinstance(error, OSError) else f"refused: {error}"
            logger.error("statistics: refused %s on %s: %s", who, place.name, why)
            head = _HTTP_HEAD_OF_REFUSAL if self._supervisor.config.stats_http else ""
            with contextlib.suppress(OSError):
                connection.send(f"{head}fastpty: {why}\r\n".encode())
            return False
        return True

    # -- rounds --

    def _ask(self) -> None:
        """Begins a round if somebody waits for one and none goes on."""
        if self._asking or not self._next:
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
        clients, self._asking = self._asking, []
        for client in clients:
            if client in self._clients:
                client.tell(answer)
                self._selector.register(client.connection, client.events(), lambda client=client: self._serve(client))
                self._serve(client)
        self._ask()

    def _serve(self, client: _Client) -> None:
        if client.go_on():
            key = self._selector.get_key(client.connection)
            self._selector.modify(client.connection, client.events(), key.data)
        else:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.discard(client)
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
        for client in [client for client in self._clients if now >= client.until]:
            self._drop(client)

    def patience(self) -> float | None:
        """Until when look_at_the_clock has nothing to do, in seconds from now; None: for ever."""
        ends = [client.until for client in self._clients] + ([self._round_until] if self._asking else [])
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    # -- the answer --

    def _answer(self) -> bytes:
        supervisor = self._supervisor
        workers = [self._of_worker(each) for each in supervisor.workers.values()]
        shown = {
            "version": __version__,
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "cwd": _directory(),
            "active_sessions": sum(worker["active_sessions"] for worker in workers),
            "forkptyrouter": [place.listener.address.text for place in supervisor.listeners.for_sessions],
            "cheap": int(supervisor.is_asleep),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "workers": workers,
        }
        head = _HTTP_HEAD if supervisor.config.stats_http else ""
        return (head + json.dumps(shown, indent="\t") + "\n").encode()

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
