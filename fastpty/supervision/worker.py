"""A worker process: one relay, the sockets it accepts from, and what its signals do."""

from __future__ import annotations

import mmap
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from fastpty import log
from fastpty._relay import Relay
from fastpty._spawn import reserve
from fastpty.access.limits import Limits
from fastpty.configuration.config import Config
from fastpty.errands import processes
from fastpty.errands.heir import Heir
from fastpty.errors import counted
from fastpty.listening.places import PTY_UWSGI, UWSGI, Listeners, Place
from fastpty.log import logger
from fastpty.relay.settings import Settings
from fastpty.service import process_name
from fastpty.sessions.handler import Sessions
from fastpty.supervision.link import DRAINED, READY, Link
from fastpty.system import own_proc
from fastpty.system.records import dataclass, field
from fastpty.system.signals import STOPPING, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastpty.sessions.cgroups import SessionCgroups
    from fastpty.viewers.own_terminal import OutputLog

DRAIN_SIGNAL = signal.SIGHUP
LOG_SIGNAL = signal.SIGUSR1
REPORT_SIGNAL = signal.SIGUSR2

# What the supervisor sends to stop a worker. No service manager sends these, so a worker can tell a stop that the
# supervisor passes on from a second stop signal.
STOP_SIGNAL = signal.SIGRTMIN
KILL_SIGNAL = signal.SIGRTMIN + 1

_SESSION_KEYS = (
    "session", "pid", "seconds", "idle_seconds", "bytes_in", "bytes_out", "ignored_frames", "rows", "cols",
)  # fmt: skip


@dataclass(frozen=True)
class Common:
    """What all workers share. The supervisor makes it before it forks the first one.

    session_numbers: shared memory that counts the sessions of all workers. cgroups: None unless session-cgroup is set.
    """

    limits: Limits = field(default_factory=Limits)
    cgroups: SessionCgroups | None = None
    session_numbers: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, mmap.PAGESIZE))


class StopRequests:
    """Decides what a stop signal does: the first one stops the relay, the second one kills every session.

    A service manager may signal the worker and the supervisor at the same moment, and the supervisor then passes the
    stop on. Both are the same request, in either order.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._is_stopping = False
        self._was_signalled = False

    def handle(self, number: int) -> None:
        """Takes STOP_SIGNAL or KILL_SIGNAL from the supervisor, or a stop signal from any other process."""
        is_second = number == KILL_SIGNAL or (number in STOPPING and self._was_signalled)
        self._was_signalled = self._was_signalled or number in STOPPING
        if not self._is_stopping:
            self._is_stopping = True
            logger.info("stopping" if number >= STOP_SIGNAL else f"{signal_name(number)}: stopping")
            self._relay.stop()
        if is_second:
            self._relay.stop()


class _Worker:
    """The relay of this process with its sessions and sockets."""

    def __init__(
        self, config: Config, listeners: Listeners, link: Link, common: Common, places: Sequence[Place]
    ) -> None:
        self._config = config
        self._listeners = listeners
        self._link = link
        self._common = common
        self._places = places
        self._sessions = Sessions(config, places, self._handle_signal, listeners.rules, common.limits, common.cgroups)
        self._relay = _build_relay(config, self._sessions, link, common)
        self._stop_requests = StopRequests(self._relay)

    def serve(self) -> None:
        """Accepts connections and relays until the worker is stopped, or drained and without a session."""
        self._listen()
        watched = (*STOPPING, STOP_SIGNAL, KILL_SIGNAL, DRAIN_SIGNAL, LOG_SIGNAL, REPORT_SIGNAL)
        for number in watched:
            signal.signal(number, signal.SIG_DFL)  # an ignored signal is never delivered, not even to a signalfd
        self._relay.watch_signals(watched)
        with ExitStack() as viewers:
            if any(place.is_shared for place in self._places):
                self._share()
                if self._config.pty_log:
                    viewers.callback(self._log_shared_terminal().end)
            self._link.announce(READY)
            logger.info("ready")
            self._relay.run()
            self._sessions.close()

    @property
    def leaves_open(self) -> bool:
        """After serve(): True if closing one of the remaining descriptors could block."""
        return self._relay.leaves_open()

    def _listen(self) -> None:
        for place in self._places:
            if place.listener.socket.family == socket.AF_UNIX:
                # listen() again, so that SO_PEERCRED names this process to clients (unix(7)): their sessions end
                # with it.
                place.listener.socket.listen(self._config.backlog)
            framed = place.protocol in (UWSGI, PTY_UWSGI)
            self._relay.listen(place.listener.socket.fileno(), framed=framed, negotiates=place.negotiates)

    def _handle_signal(self, number: int) -> None:
        if number == DRAIN_SIGNAL:
            self._drain()
        elif number == LOG_SIGNAL:
            counters = self._relay.counters()
            logger.info("statistics: %s", ", ".join(f"{name} {int(value)}" for name, value in counters.items()))
        elif number == REPORT_SIGNAL:
            self._link.publish(self._report())
        else:
            self._stop_requests.handle(number)

    def _drain(self) -> None:
        self._relay.drain()
        # Closed here as well: the addresses are then free for a new router as soon as the supervisor is gone.
        self._listeners.close_copies()
        log.reopen(complains=False)  # the supervisor has reported a failure already
        self._link.announce(DRAINED)
        logger.info("no longer accepting; %s left", counted(int(self._relay.counters()["sessions"]), "session"))

    def _share(self) -> None:
        rows, columns = self._config.pty_size or (self._config.rows, self._config.cols)
        self._relay.share(
            scrollback_bytes=self._config.pty_scrollback_bytes,
            rows=rows,
            columns=columns,
            is_fixed=self._config.pty_size is not None,
        )

    def _log_shared_terminal(self) -> OutputLog:
        from fastpty.viewers.own_terminal import OutputLog

        ours, theirs = socket.socketpair()
        logger.info("session %d: join: the log", self._relay.join(theirs.detach()))
        output_log = OutputLog(ours)
        output_log.start()
        return output_log

    def _report(self) -> dict[str, Any]:
        sessions = []
        for row in self._relay.sessions():
            numbers = dict(zip(_SESSION_KEYS, (round(value, 3) for value in row), strict=True))
            sessions.append({**numbers, **self._sessions.describe(row[0])})
        return {**self._relay.counters(), "sessions": sessions}


def run(config: Config, listeners: Listeners, link: Link, has_shared_terminal: bool, *, common: Common) -> None:
    """Serves connections until the worker is stopped, or drained and without a session.

    SIGTERM, SIGINT and SIGQUIT hang up the sessions, and a second one kills them. SIGHUP drains: the worker accepts no
    more and goes on until its last session ends; the kernel sends it when the supervisor dies. SIGUSR1 logs the
    counters; SIGUSR2 reports them to the supervisor.
    """
    if (title := config.title(is_master=False)) is not None:
        process_name.set_title(title)
    if common.cgroups is not None:
        common.cgroups.leave_the_end()
    reserve()
    heir = _start_heir(config)
    places = [place for place in listeners.for_sessions if has_shared_terminal or not place.is_shared]
    worker = _Worker(config, listeners, link, common, places)
    worker.serve()
    if not worker.leaves_open:
        if heir is not None:
            heir.dismiss()
    elif heir is None:
        processes.close_after_exit()
    if common.cgroups is not None:
        common.cgroups.end_worker()


def _build_relay(config: Config, sessions: Sessions, link: Link, common: Common) -> Relay:
    settings = Settings(
        splice=config.splice,
        idle_seconds=config.idle_timeout_seconds or 0,
        grace_seconds=config.stop_timeout_seconds,
        lifetime_seconds=config.lifetime_seconds or 0,
        greeting_seconds=config.greeting_timeout_seconds or 0,
        busy_poll_seconds=config.busy_poll_us / 1e6,
        events=config.events,
        buffer_bytes=config.buffer_bytes,
    )
    relay = Relay(sessions, settings, heartbeat=link.heartbeat)
    relay.number_sessions(common.session_numbers)
    reads_proc = not config.changes_root and own_proc.shows_this_process()
    relay.use_errands(sessions.errands.fileno(), sessions.errands.closed, reads_proc=reads_proc)
    return relay


def _start_heir(config: Config) -> Heir | None:
    """An Heir if programs run as other users than the router: programs of its own user could stop it anyway.

    It costs about 3 % of a worker's time: each system call counts a user of its descriptor if two processes share the
    descriptor table.
    """
    if config.run_as is None and config.entered is None:
        return None
    try:
        return Heir()
    except OSError as error:
        logger.warning(
            "if this worker is killed, it may take long to end, because its heir cannot start: %s",
            error.strerror or error,
        )
        return None
