"""Attaches the local terminal, or whatever stdin and stdout are, to a session of a router.

One poll loop, and one bounded buffer for each direction. A direction whose buffer is full stops reading. The other one
goes on: keys still reach the program while the local terminal is slow, and output still shows while the program does
not read.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; `signal` is slow to load
import os
import select
import time

from fastpty.client import escape
from fastpty.client.escape import EscapeFilter
from fastpty.client.legacy import EndedByRouterError, LateWelcomeError, Legacy
from fastpty.client.link import HIGH_WATER_BYTES, Link
from fastpty.client.output import Output
from fastpty.client.peer import RouterProcess
from fastpty.client.ready import PAUSE_SECONDS, SHORT_OF_MEMORY
from fastpty.client.streams import Streams
from fastpty.client.terminal import (
    FATAL,
    DisconnectedError,
    HeldSignals,
    RawTerminal,
    SignalledError,
    signal_name,
    window_size,
)
from fastpty.errors import FastptyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from fastpty.wire.extension import Status

__all__ = ["AttachedClient", "EndedByRouterError", "attach"]

# While the router has no room for more input, these keys are sent as signals, and the input that waits is dropped. Only
# a key that is read alone counts: within a paste it is ordinary input.
_INTERRUPTS = {b"\x03": _signal.SIGINT, b"\x1c": _signal.SIGQUIT}


def attach(
    link: Link,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    *,
    escape_character: bytes | None = b"~",
    accept_seconds: float = 0.0,
    show_notice: Callable[[str], None] | None = None,
) -> Status | None:
    """Moves bytes both ways until the session has ended and its output is written, or nobody reads stdout.

    Returns how the program ended; None if the protocol does not carry that, or nobody reads stdout. `escape_character`
    is used only if stdin is a terminal; None turns escapes off. The router must accept the connection within
    `accept_seconds`; 0 waits forever. `show_notice` is called with each message that the router sends for the user.
    Raises FastptyError if the session did not run to its end: the router ended it, the connection broke, a stream
    failed, or the user disconnected. Call it in the main thread only.
    """
    filtered = EscapeFilter(escape_character if os.isatty(stdin_fd) else None)
    with (
        HeldSignals() as signals,
        RawTerminal(stdin_fd) as terminal,
        Streams(stdin_fd, stdout_fd) as streams,
        RouterProcess(link.sock) as router,
    ):
        client = AttachedClient(link, streams, filtered, signals, terminal)
        client.accept_until = time.monotonic() + accept_seconds if accept_seconds else None
        client.show_notice = show_notice
        return client.run(router)


class AttachedClient:
    """The poll loop of an attached client."""

    def __init__(
        self, link: Link, streams: Streams, escapes: EscapeFilter, signals: HeldSignals, terminal: RawTerminal
    ) -> None:
        self._link = link
        self._streams = streams
        self._escapes = escapes
        self._signals = signals
        self._terminal = terminal
        self._output = Output(streams, holds_notices=link.protocol.ends_with_notices)
        self._stdin_open = True
        self._began = time.monotonic()
        self._found_events = 0
        self.accept_until: float | None = None
        self.show_notice: Callable[[str], None] | None = None
        self._decide_by: float | None = None

    def run(self, router: RouterProcess) -> Status | None:
        """Runs until the session ends; returns how the program ended, or None. Raises FastptyError as attach() does."""
        try:
            self._loop()
            status = None if self._output.is_over else self._end(router)
        except BaseException as error:
            if isinstance(error, LateWelcomeError):
                error.kept += self._escapes.flush()
            self._output.restore_terminal(new_line=not isinstance(error, (SignalledError, LateWelcomeError)))
            raise
        self._output.restore_terminal(new_line=False)
        return status

    def _loop(self) -> None:
        if self._link.early:
            self._output.add(self._link.take(self._link.early), is_marked=self._link.is_marked)
            self._show_notices()
        self._link.announce(self._window_size())
        self._take_keys(self._terminal.typed_ahead)
        while (self._link.output_open and not self._output.is_over) or self._output.wants_to_write:
            self._terminal.ensure_raw()
            try:
                self._turn()
            except OSError as error:
                if error.errno not in SHORT_OF_MEMORY:
                    raise
                time.sleep(PAUSE_SECONDS)

    def _end(self, router: RouterProcess) -> Status | None:
        notice = self._output.take_notice()
        why = None
        if not self._link.protocol.is_over:
            why = "the router has ended" if router.has_ended() else self._link.broken
        return self._link.protocol.check(why, notice)

    def _turn(self) -> None:
        patience = self._patience_ms()  # first, because it may queue something to send
        poll = select.poll()
        actions: dict[int, Callable[[], None]] = {}
        for fd, events, act in self._interests():
            poll.register(fd, events)
            actions[fd] = act
        for fd, found in poll.poll(patience):
            self._found_events = found
            actions[fd]()

    def _interests(self) -> Iterator[tuple[int, int, Callable[[], None]]]:
        """Yields each descriptor to poll, the events to wait for, and the function to call when one occurs.

        A descriptor without events to wait for is left out: poll(2) would report its hang-up again and again.
        """
        yield self._signals.fileno(), select.POLLIN, self._on_signals
        if self._output.wants_to_write:
            yield self._streams.stdout, select.POLLOUT, self._output.write
        if not self._is_in_session:
            return  # the session has ended: what is typed now is for the local shell
        events = select.POLLOUT if self._link.wants_to_send else 0
        if len(self._output) < HIGH_WATER_BYTES:
            events |= select.POLLIN
        if events:
            yield self._link.sock.fileno(), events, self._on_socket
        if self._stdin_open and self._link.has_room:
            yield self._streams.stdin_events, select.POLLIN, self._read

    @property
    def _is_in_session(self) -> bool:
        return self._link.output_open and not self._output.is_over

    def _patience_ms(self) -> float | None:
        """The timeout for poll(2) in milliseconds; None for no timeout.

        Raises FastptyError if the router has not accepted the connection in time.
        """
        possible = (self._output.held_for(), self._accept_wait(), self._greeting_wait(), self._life_wait())
        waits = [wait for wait in possible if wait is not None]
        return min(waits) * 1000 + 1 if waits else None

    def _greeting_wait(self) -> float | None:
        """Seconds for which input is still held until the router's first byte shows its protocol; None if none is held.

        The time counts from the moment at which the router accepts the connection. After it, the input is sent.
        """
        if not (isinstance(self._link.protocol, Legacy) and self._link.protocol.is_waiting):
            return None
        from fastpty.client.waiting import is_not_accepted  # rarely needed

        now = time.monotonic()
        if self._decide_by is None or is_not_accepted(self._link.sock):
            self._decide_by = now + self._link.protocol.silence_seconds
        if now < self._decide_by:
            return self._decide_by - now
        self._link.keep_no_more()
        self._decide_by = None
        return None

    def _life_wait(self) -> float | None:
        """As Link.keep_alive_wait(); None once the session has ended."""
        if not self._is_in_session:
            return None
        return self._link.keep_alive_wait(is_reading=len(self._output) < HIGH_WATER_BYTES)

    def _accept_wait(self) -> float | None:
        if self.accept_until is None or self._link.bytes_received:
            return None
        left = self.accept_until - time.monotonic()
        if left > 0:
            return left
        self.accept_until = None
        from fastpty.client.waiting import is_not_accepted  # rarely needed

        if is_not_accepted(self._link.sock):
            raise FastptyError(
                f"{self._link.name}: the router does not accept the connection: it is stopped, or it hangs"
            )
        return None

    def _read(self) -> None:
        if not self._is_in_session:
            return  # the session has ended in this turn: what is typed now is for the local shell
        data = self._streams.read()
        if data is None:
            return
        if not data:
            self._stdin_open = False
            self._link.queue(self._escapes.flush())
            self._link.end_input()
            self._link.send()
            return
        self._take_keys(data)

    def _take_keys(self, data: bytes) -> None:
        if data in _INTERRUPTS and self._escapes.character and self._link.interrupt(_INTERRUPTS[data]):
            return
        fed = self._escapes.feed(data)
        self._link.queue(fed.output)
        for command in fed.commands:
            if command == escape.HELP:
                self._output.add_own(self._escapes.help_text())
            elif command == escape.SHOW_CONNECTION:
                self._output.add_own(self._description())
            elif command == escape.SUSPEND:
                self._suspend()
            elif command == escape.DISCONNECT:
                self._disconnect()

    def _disconnect(self) -> NoReturn:
        try:
            self._link.send()
        finally:  # also if send() fails
            raise DisconnectedError("disconnected")

    def _description(self) -> bytes:
        lines = (
            "",
            f"{self._link.name}, {self._link.protocol.name} protocol, for {time.monotonic() - self._began:.0f} s",
            self._link.traffic(),
            "",
        )
        return "\r\n".join(lines).encode(errors="backslashreplace")

    def _on_socket(self) -> None:
        self._link.send()
        if len(self._output) >= HIGH_WATER_BYTES or self._found_events == select.POLLOUT:
            return
        data = self._link.receive()
        self._output.add(data, is_marked=self._link.is_marked)
        if not self._link.output_open and self._output.holds_line and not self._link.has_notice():
            self._output.release()
        self._show_notices()

    def _show_notices(self) -> None:
        for text in self._link.protocol.take_notices():
            if self.show_notice is not None:
                self.show_notice(text)

    def _on_signals(self) -> None:
        taken = self._signals.take()
        for signum in FATAL:
            if signum in taken:
                raise SignalledError(f"ended by {signal_name(signum)}")
        if _signal.SIGTSTP in taken:
            self._suspend()
        if _signal.SIGCONT in taken:
            self._terminal.forget()
        self._link.announce(self._window_size())

    def _suspend(self) -> None:
        self._terminal.restore()
        self._signals.stop()

    def _window_size(self) -> tuple[int, int] | None:
        return window_size(self._streams.stdin) or window_size(self._streams.stdout)
