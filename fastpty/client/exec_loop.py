"""Moves bytes between standard input, output and error and a program that a router runs without a terminal."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` is slow to load
import errno
import os
import select
import stat
import time

from fastpty.client.exec_input import ExecInput
from fastpty.client.exec_session import ExecSession
from fastpty.client.link import HIGH_WATER_BYTES, Link
from fastpty.client.peer import RouterProcess
from fastpty.client.ready import PAUSE_SECONDS, SHORT_OF_MEMORY
from fastpty.client.streams import CHUNK_BYTES, Streams, is_writable, reopened
from fastpty.client.terminal import DisconnectedError, HeldSignals, SignalledError, signal_name
from fastpty.errors import FastptyError, SessionError
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastpty.wire.extension import Status

_FATAL = (_signal.SIGHUP, _signal.SIGQUIT, _signal.SIGTERM)
_AGAIN_SECONDS = 1.0
_ENDS = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EBADF})


def relay(link: Link, stdin_fd: int, stdout_fd: int, *, timeout: float, show_notice: Callable[[str], None]) -> Status:
    """Moves bytes until the program has ended and its output is written. Returns how it ended.

    `timeout`: the program's time limit in seconds; 0 means none. ^C sends SIGINT to the program; a second one within a
    second disconnects. `show_notice` is called with each message that the router sends for the user. Raises
    FastptyError if the session did not run to its end. Call it in the main thread only.
    """
    with (
        HeldSignals(_FATAL, (_signal.SIGINT,)) as signals,
        Streams(stdin_fd, stdout_fd) as streams,
        RouterProcess(link.sock) as router,
    ):
        errors_fd = reopened(2, os.O_WRONLY)
        stderr = 2 if errors_fd is None else errors_fd
        sinks = (
            Sink(extension.OUTPUT_STREAM, streams.stdout, "output", blocks=streams.stdout == stdout_fd),
            Sink(extension.ERROR_STREAM, stderr, "error output", blocks=errors_fd is None),
        )
        client = ExecClient(link, streams, sinks, signals)
        try:
            client.end_by = time.monotonic() + timeout if timeout else None
            client.show_notice = show_notice
            client.run()
        finally:
            client.close()
            if errors_fd is not None:
                os.close(errors_fd)
        why = None
        if not link.protocol.is_over:
            why = "the router has ended" if router.has_ended() else link.broken
        status = link.protocol.check(why, None)
        assert status is not None
        return status


class Sink:
    """A buffer for standard output or error. `blocks`: a large write could block. `is_over`: nobody reads `fd`."""

    def __init__(self, stream: int, fd: int, name: str, *, blocks: bool) -> None:
        self.stream = stream
        self.fd = fd
        self._name = name
        kind = os.fstat(fd).st_mode
        self._blocks = blocks and not stat.S_ISREG(kind)
        self._write_bytes = 4096 if self._blocks else CHUNK_BYTES
        self.is_pipe = stat.S_ISFIFO(kind)
        self.buffer = bytearray()
        self.is_over = not is_writable(fd)

    def add(self, data: bytes) -> None:
        """Writes output, and queues what the descriptor does not take. Drops it if nobody reads it."""
        if not data or self.is_over:
            return
        written = 0
        if not self.buffer and not self._blocks:
            try:
                written = self._write(data)
            except OSError:  # short of memory
                written = 0
        if not self.is_over:
            self.buffer += data[written:] if written else data

    def write(self) -> None:
        """Writes as much as the descriptor takes. Raises FastptyError if the write fails."""
        if not self.buffer:  # poll(2) reports that the reader of the pipe has closed it
            self.is_over = True
            return
        with memoryview(self.buffer) as view, view[: self._write_bytes] as piece:
            count = self._write(piece)
        del self.buffer[: len(self.buffer) if self.is_over else count]

    def _write(self, data: bytes | memoryview) -> int:
        """Returns how much was written. Drops everything if nobody reads it. Raises FastptyError or SHORT_OF_MEMORY."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            if error.errno not in _ENDS and not (error.errno == errno.EIO and os.isatty(self.fd)):
                raise FastptyError(f"cannot write the {self._name}: {error.strerror}") from error
            self.is_over = True
            return len(data)


class ExecClient:
    """The poll loop of `fastpty exec`."""

    def __init__(self, link: Link, streams: Streams, sinks: tuple[Sink, Sink], signals: HeldSignals) -> None:
        assert isinstance(link.protocol, ExecSession)
        self._link = link
        self._session = link.protocol
        self._streams = streams
        self._sinks = sinks
        self._signals = signals
        self._input = ExecInput(link, link.protocol, streams)
        self._interrupted_at = -_AGAIN_SECONDS
        self._stopped: set[int] = set()
        self._found = 0
        self._poll = select.poll()
        self._wanted: dict[int, int] = {}
        self.end_by: float | None = None
        self.show_notice: Callable[[str], None]

    def close(self) -> None:
        """Closes the descriptors that it has opened."""
        self._input.close()

    def run(self) -> None:
        """Runs until the session has ended, and its output is written."""
        self._pass_on(self._link.take(self._link.early) if self._link.early else b"")
        while self._link.output_open or any(sink.buffer for sink in self._sinks):
            try:
                self._stop_streams()
                self._turn()
            except OSError as error:
                if error.errno not in SHORT_OF_MEMORY:
                    raise
                time.sleep(PAUSE_SECONDS)

    def _turn(self) -> None:
        actions: dict[int, Callable[[], None]] = {}
        wanted: dict[int, int] = {}
        for fd, events, act in self._interests():
            wanted[fd] = events
            actions[fd] = act
        if wanted != self._wanted:
            self._watch(wanted)
        for fd, found in self._poll.poll(self._patience_ms()):
            self._found = found
            actions[fd]()

    def _watch(self, wanted: dict[int, int]) -> None:
        for fd in self._wanted.keys() - wanted.keys():
            self._poll.unregister(fd)
        for fd, events in wanted.items():
            self._poll.register(fd, events)
        self._wanted = wanted

    def _interests(self) -> Iterator[tuple[int, int, Callable[[], None]]]:
        yield self._signals.fileno(), select.POLLIN, self._on_signals
        for sink in self._sinks:
            if sink.buffer:
                yield sink.fd, select.POLLOUT, sink.write
            elif sink.is_pipe and not sink.is_over and self._link.output_open:
                yield sink.fd, 0, sink.write  # poll(2) reports POLLERR when nobody reads the pipe any more
        if not self._link.output_open:
            return
        events = (select.POLLOUT if self._link.wants_to_send else 0) | (select.POLLIN if self._has_room else 0)
        if events:
            yield self._link.sock.fileno(), events, self._on_socket
        if self._input.room:
            yield self._streams.stdin_events, select.POLLIN, self._input.read

    @property
    def _has_room(self) -> bool:
        output, errors = self._sinks
        return len(output.buffer) < HIGH_WATER_BYTES and len(errors.buffer) < HIGH_WATER_BYTES

    def _patience_ms(self) -> float | None:
        waits = [self._link.keep_alive_wait(is_reading=self._has_room) if self._link.output_open else None]
        if self.end_by is not None and self._link.output_open:
            waits.append(self.end_by - time.monotonic())
            if waits[-1] is not None and waits[-1] <= 0:
                raise SessionError("timed out: the command has not ended in time, and was hung up")
        known = [wait for wait in waits if wait is not None]
        return min(known) * 1000 + 1 if known else None

    def _stop_streams(self) -> None:
        """Tells the router to close the output streams that nobody reads here."""
        for sink in self._sinks:
            if sink.is_over and sink.stream not in self._stopped and self._link.output_open:
                self._stopped.add(sink.stream)
                self._link.queue_frames(self._session.stop(sink.stream))

    def _on_socket(self) -> None:
        self._link.send()
        if self._found == select.POLLOUT or not self._has_room:
            return
        self._pass_on(self._link.receive())
        self._input.read_on()  # there may be room now

    def _pass_on(self, output: bytes) -> None:
        self._sinks[0].add(output)
        self._sinks[1].add(self._session.take_errors())
        for text in self._session.take_notices():
            self.show_notice(text)
        if extension.INPUT_STREAM in self._session.ended:
            self._input.end()

    def _on_signals(self) -> None:
        taken = self._signals.take()
        for signum in _FATAL:
            if signum in taken:
                raise SignalledError(f"ended by {signal_name(signum)}")
        if _signal.SIGINT not in taken:
            return
        now = time.monotonic()
        if not self._link.output_open or now - self._interrupted_at < _AGAIN_SECONDS:
            raise DisconnectedError("disconnected")
        self._interrupted_at = now
        self._link.queue_frames(self._session.signal(_signal.SIGINT))
