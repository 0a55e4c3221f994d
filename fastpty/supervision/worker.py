"""A worker: one relay in a process of its own, what its signals mean, and what its supervisor sees of it."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import struct
from contextlib import ExitStack
from typing import Any

from fastpty import log
from fastpty._relay import Relay
from fastpty._spawn import reserve
from fastpty.access.limits import Limits
from fastpty.configuration.config import Config
from fastpty.errands import processes
from fastpty.errands.heir import Heir
from fastpty.listening.places import PTY, UWSGI, Listeners
from fastpty.log import logger
from fastpty.service import process_name
from fastpty.sessions.cgroups import SessionCgroups
from fastpty.sessions.handler import Sessions
from fastpty.system.signals import STOPPING
from fastpty.viewers.own_terminal import OutputLog

DRAIN_SIGNAL = signal.SIGHUP
LOG_SIGNAL = signal.SIGUSR1
REPORT_SIGNAL = signal.SIGUSR2

READY = b"+"
REPORTED = b"!"
DRAINED = b"."

_SESSION_KEYS = ("session", "pid", "seconds", "idle_seconds", "bytes_in", "bytes_out", "ignored_frames")


class Link:
    """What a worker and its supervisor share, made before the fork.

    The heartbeat is memory that the relay writes without a system call. A report is written into a file in memory,
    however large it is, and one byte in a pipe tells of it: so neither side ever waits for the other.
    """

    def __init__(self) -> None:
        self.heartbeat = mmap.mmap(-1, mmap.PAGESIZE)
        self._report = os.memfd_create("fastpty-report")
        self.news, self._news_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def pulse(self) -> tuple[int, int, int]:
        """Since when the worker's present turn goes on (CLOCK_MONOTONIC, ns; 0: it waits), sessions, accepted."""
        turn, sessions, accepted = struct.unpack_from("=3q", self.heartbeat)
        return turn, sessions, accepted

    def publish(self, report: dict[str, Any]) -> None:
        """The worker's side: shows a report and says so. Without memory for it the supervisor gets no answer."""
        data = json.dumps(report).encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self._report, 0)
            os.pwrite(self._report, data, 0)
            os.write(self._news_writer, REPORTED)

    def is_ready(self) -> None:
        """The worker's side: says that it serves from now on. Nobody may be there to hear it."""
        with contextlib.suppress(OSError):
            os.write(self._news_writer, READY)

    def has_drained(self) -> None:
        """The worker's side: says that it accepts no more. Nobody may be there to hear it."""
        with contextlib.suppress(OSError):
            os.write(self._news_writer, DRAINED)

    def hear(self) -> bytes:
        """The supervisor's side, when `news` is readable: READY, REPORTED, DRAINED; empty if the worker has ended."""
        return os.read(self.news, 4096)

    def report(self) -> dict[str, Any]:
        """The supervisor's side: the last report; raises ValueError if the worker is just writing another one."""
        report: dict[str, Any] = json.loads(os.pread(self._report, os.fstat(self._report).st_size, 0))
        return report

    def keep_side(self, *, worker: bool) -> None:
        """After the fork: closes what is the other's."""
        os.close(self.news if worker else self._news_writer)

    def close(self) -> None:
        """The supervisor's side is done with it."""
        os.close(self.news)
        os.close(self._report)
        self.heartbeat.close()


def run(
    config: Config,
    listeners: Listeners,
    link: Link,
    shares: bool,
    *,
    limits: Limits,
    cgroups: SessionCgroups | None,
) -> None:
    """Serves the connections that it accepts, until it is stopped, or drained and without a session.

    SIGTERM, SIGINT and SIGQUIT hang the sessions up, and at the second time kill them; SIGHUP, which the kernel sends
    too when the supervisor dies, makes it accept no more and go on; SIGUSR1 logs the counters; SIGUSR2 shows them to
    the supervisor. limits: what all workers count together. shares: whether the shared terminal is this one's.
    cgroups: of the sessions, where they have such.
    """

    def on_signal(number: int) -> None:
        if number in STOPPING:
            logger.info("%s: stopping", signal.Signals(number).name)
            relay.stop()
        elif number == DRAIN_SIGNAL:
            relay.drain()
            # Closed here as well, the addresses are free for a new router as soon as the supervisor is gone.
            listeners.let_go()
            log.reopen(complains=False)  # the supervisor has
            link.has_drained()
            logger.info("draining: %d sessions go on", relay.counters()["sessions"])
        elif number == LOG_SIGNAL:
            logger.info("statistics: %s", _in_words(relay.counters()))
        else:
            link.publish(_report(relay))

    if (title := config.title(is_master=False)) is not None:
        process_name.set_title(title)
    if cgroups is not None:
        cgroups.leave_the_end()
    reserve()
    heir = _heir(config)
    places = [place for place in listeners.for_sessions if shares or place.protocol != PTY]
    sessions = Sessions(config, places, on_signal, listeners.rules, limits, cgroups)
    relay = Relay(
        sessions,
        splice=config.splice,
        idle_seconds=config.idle_timeout_seconds or 0,
        grace_seconds=config.stop_timeout_seconds,
        lifetime_seconds=config.lifetime_seconds or 0,
        greeting_seconds=config.greeting_timeout_seconds or 0,
        busy_poll_seconds=config.busy_poll_us / 1e6,
        events=config.events,
        buffer_bytes=config.buffer_bytes,
        heartbeat=link.heartbeat,
    )
    relay.use_errands(sessions.errands.fileno(), sessions.errands.closed)
    for place in places:
        if place.listener.socket.family == socket.AF_UNIX:
            # Again, so that SO_PEERCRED tells clients of this process (unix(7)): their sessions end with it.
            place.listener.socket.listen(config.backlog)
        relay.listen(place.listener.socket.fileno(), framed=place.protocol == UWSGI)
    watched = (*STOPPING, DRAIN_SIGNAL, LOG_SIGNAL, REPORT_SIGNAL)
    for number in watched:
        signal.signal(number, signal.SIG_DFL)  # an ignored one would not come
    relay.watch_signals(watched)
    with ExitStack() as viewers:
        if any(place.protocol == PTY for place in places):
            relay.share(scrollback_bytes=config.pty_scrollback_bytes)
            if config.pty_log:
                viewers.callback(_log_output(relay).end)
        link.is_ready()
        logger.info("ready")
        relay.run()
        sessions.close()
        if not relay.leaves_open():
            if heir is not None:
                heir.dismiss()
        elif heir is None:
            processes.close_after_exit()
        if cgroups is not None:
            cgroups.end_worker()


def _heir(config: Config) -> Heir | None:
    """One where programs are others' than the router's: those of its own user could stop it anyway.

    It costs some 3 % of a worker's time: each system call counts a user of its descriptor, where two have the table.
    """
    if config.run_as is None and config.entered is None:
        return None
    try:
        return Heir()
    except OSError as error:
        logger.warning("a worker that is killed may take long to end: %s", error.strerror or error)
        return None


def _log_output(relay: Relay) -> OutputLog:
    ours, theirs = socket.socketpair()
    logger.info("session %d: join: the log", relay.join(theirs.detach()))
    output_log = OutputLog(ours)
    output_log.start()
    return output_log


def _report(relay: Relay) -> dict[str, Any]:
    rows = relay.sessions()
    rounded = [[round(value, 3) for value in row] for row in rows]
    return {**relay.counters(), "sessions": [dict(zip(_SESSION_KEYS, row, strict=True)) for row in rounded]}


def _in_words(counters: dict[str, int | bool]) -> str:
    return ", ".join(f"{name} {int(value)}" for name, value in counters.items())
