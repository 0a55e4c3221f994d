"""`fastpty connect`: connects, finds out which protocol the router speaks, and attaches to the session."""

from __future__ import annotations

import _socket
import os
import time

from fastpty.client import negotiation
from fastpty.client.legacy import NOTICE, NOTICE_MOST_BYTES, SILENCE_SECONDS, LateWelcomeError
from fastpty.client.link import Link
from fastpty.client.peer import listener_warning
from fastpty.client.streams import check_streams
from fastpty.client.terminal import DisconnectedError, window_size
from fastpty.client.wanted import Wanted, read
from fastpty.errors import FastptyError, printable
from fastpty.net.address import TcpAddress, dial
from fastpty.system.credentials import peer_credentials
from fastpty.wire import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from fastpty.client.negotiation import Greeting
    from fastpty.client.session import Session
    from fastpty.wire.extension import Status

__all__ = ["read", "run"]

_OUTPUT_CLOSED = 141
"""Exit status if nobody reads the client's output while the program still runs: 128 + SIGPIPE, as in a shell."""


def run(wanted: Wanted, complain: Callable[[str], None]) -> int:
    """Connects and attaches; returns the exit status: the program's own if the router reports it, else 0.

    Raises FastptyError if the session did not run to its end.
    """
    from fastpty.client.attach import attach  # `exec` does without. Loaded now, so that no file is read later

    connection = Connection(wanted, complain)
    connection.attach = attach
    return run_on(connection)


def run_on(connection: Connection) -> int:
    """Does the same as run() with a Connection that has not been run yet."""
    wanted = connection.wanted
    failure: Exception | None = None
    status = 0
    try:
        status = connection.run()
    except (FastptyError, OSError, MemoryError) as error:
        failure = error
    if wanted.status_fd is not None:
        from fastpty.client.report import write_status

        write_status(wanted.status_fd, connection.session, str(failure) if failure else None)
    if isinstance(failure, DisconnectedError) and wanted.is_quiet:
        return failure.exit_status
    if failure is not None:
        raise failure
    if wanted.raises and connection.session is not None and connection.session.status is not None:
        from fastpty.client.report import die_like

        die_like(connection.session.status)
    return status


class Connection:
    """One run of the command. It connects a second time if the router's WELCOME comes late."""

    def __init__(self, wanted: Wanted, complain: Callable[[str], None]) -> None:
        self.wanted = wanted
        self._complain = complain
        self._name = printable(wanted.address.text)
        self._is_local = not isinstance(wanted.address, TcpAddress)
        self._late: LateWelcomeError | None = None
        self._size: tuple[int, int] | None = None
        self._stdin = 0
        self._has_negotiated = False  # the TLS handshake has selected the extension
        self._exit_status: Callable[[Status], int]
        self.session: Session | None = None
        self.attach: Callable[..., Status | None]

    def run(self) -> int:
        """Connects and attaches; returns the exit status. Raises FastptyError."""
        self._check_streams()
        if not self.wanted.reads_input:
            self._stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        while True:
            try:
                return self._connect()
            except LateWelcomeError as late:
                self._late = late

    def _check_streams(self) -> None:
        check_streams()

    def _connect(self) -> int:
        wanted = self.wanted
        name = negotiation.new_name() if self._is_local and wanted.protocol in ("auto", "fpty") else None
        self._size = window_size(0) or window_size(1)
        deadline = time.monotonic() + wanted.connect_seconds if wanted.connect_seconds else None
        sock = dial(wanted.address, wanted.connect_seconds or None, name)
        try:
            if wanted.tls is None:
                return self._converse(sock, sock, self._greeting(sock, name))
            from fastpty.client.tunnel import shake_hands, tunnel  # `ssl` is slow to load

            pump = shake_hands(
                sock,
                wanted.tls,
                wanted.tls_name,
                wanted.address.text,
                deadline=deadline,
                negotiates=wanted.protocol in ("auto", "fpty"),
            )
            self._has_negotiated = pump.has_negotiated
            with tunnel(sock, pump) as plain:
                return self._converse(plain, sock, self._greeting(sock, name))
        finally:
            sock.close()

    def _greeting(self, sock: _socket.socket, name: bytes | None) -> Greeting | None:
        """Returns what compares the router's first bytes with WELCOME; None with --protocol uwsgi.

        It is needed with --protocol raw, too: if the router does speak the extension, it could take raw input for a
        request.
        """
        if self.wanted.protocol == "uwsgi":
            return None
        if self.wanted.protocol == "raw":
            return negotiation.Greeting([], is_ruled_out=True)
        names: list[bytes | None] = [name] if name is not None and sock.getsockname() == name else []
        if self.wanted.protocol == "fpty" or self._has_negotiated:
            names.append(None)
        return negotiation.Greeting(names)

    def _converse(
        self, sock: _socket.socket | socket.socket, network: _socket.socket, greeting: Greeting | None
    ) -> int:
        """Runs a session over `sock`; returns the exit status. `network`: the connection that carries its bytes."""
        link = Link(sock, self.wanted.framed, self._name, greeting)
        if self.wanted.tls is not None:
            from fastpty.client.tunnel import wait_for_mark

            link.ask_mark = lambda: wait_for_mark(network)
        # The window's size is sent first, so that the program starts with it.
        link.announce(self._size)
        _send_at_once(link)
        self._negotiate(link, greeting)
        self._warn(link, network)
        if self._late is not None:
            link.queue(self._late.kept)
        return self._attach(link)

    def _negotiate(self, link: Link, greeting: Greeting | None) -> None:
        wanted = self.wanted
        need = wanted.need
        if need is None and (wanted.protocol == "fpty" or self._has_negotiated or self._late):
            need = "--protocol fpty" if wanted.protocol == "fpty" else "this session"
        if greeting is not None and greeting.is_expected:
            seconds = (wanted.connect_seconds or None) if need else SILENCE_SECONDS
            negotiation.wait_for_greeting(link.sock, link.read, greeting, seconds)
            if greeting.is_welcome:
                self._begin(link, greeting)
            elif greeting.is_welcome is False:
                link.stay_legacy(greeting)
        if need and self.session is None:
            is_silent = greeting is not None and greeting.is_expected and not greeting.received
            why = self._why_not(link, greeting, need)
            raise negotiation.NoAnswerError(why) if is_silent else FastptyError(why)

    def _begin(self, link: Link, greeting: Greeting) -> None:
        # `report` is needed at the end of the session, but is loaded now: by then the installation may have been
        # replaced.
        from fastpty.client.report import exit_status

        self._exit_status = exit_status
        self.session, request = self._session()
        self.session.program = self.wanted.command[0] if self.wanted.command else ""
        link.begin(self.session, request, self._size, greeting)
        if not self._is_local:
            from fastpty.client.keep_alive import KeepAlive

            link.keep_alive = KeepAlive()
        _send_at_once(link)

    def _session(self) -> tuple[Session, bytes]:
        """Returns the object that speaks the session's protocol, and the START frame."""
        from fastpty.client.request import start
        from fastpty.client.session import Session

        wanted = self.wanted
        return Session(), start(self._size, wanted.command, wanted.environment, wanted.directory)

    def _why_not(self, link: Link, greeting: Greeting | None, need: str) -> str:
        is_expected = greeting is not None and greeting.is_expected
        if not is_expected and not self._is_local and self.wanted.tls is None:
            return f"{self._name}: {need} needs an fpty-router address, and --protocol fpty"
        if greeting is not None and is_expected and greeting.is_welcome is None:
            from fastpty.client.waiting import is_not_accepted  # rarely needed

            what = "accept the connection" if is_not_accepted(link.sock) else "answer"
            may_want_tls = not self._is_local and self.wanted.tls is None
            why = "it is stopped, it hangs, or the port speaks TLS" if may_want_tls else "it is stopped, or it hangs"
            return f"{self._name}: the router does not {what}: {why}"
        if greeting is not None and is_expected and not greeting.received:
            return f"{self._name}: the connection was closed without an answer: has the router ended? See its log"
        if greeting is not None and greeting.received.startswith(NOTICE):
            line, _, _ = greeting.received[len(NOTICE) : NOTICE_MOST_BYTES].partition(b"\n")
            return line.decode(errors="replace").strip()
        return f"{self._name}: {need} needs a router that speaks the extension, and this one does not"

    def _warn(self, link: Link, network: _socket.socket) -> None:
        warning = listener_warning(network, self.wanted.address)
        if warning is not None and not self.wanted.is_quiet:
            self._complain(f"warning: {warning}")
        if self.wanted.is_verbose:
            process = ""
            if self._is_local:
                peer = peer_credentials(network)
                process = f" (listening: process {peer.pid}, uid {peer.uid})"
            self._complain(f"connected to {self._name}{process}, {link.protocol.name} protocol")

    def _attach(self, link: Link) -> int:
        began = time.monotonic()
        try:
            status = self.attach(
                link,
                self._stdin,
                escape_character=self.wanted.escape,
                accept_seconds=self.wanted.connect_seconds,
                show_notice=self._show_notice,
            )
        finally:
            if self.wanted.is_verbose:
                self._complain(f"{link.traffic()} in {time.monotonic() - began:.1f} s")
        if self.session is None:
            return 0
        if status is None:
            return _OUTPUT_CLOSED
        if status.flags & extension.CUT:
            self._show_notice("the program left processes behind: what they wrote last may be missing")
        return self._exit_status(status)

    def _show_notice(self, text: str) -> None:
        if not self.wanted.is_quiet:
            self._complain(text + "\r" * os.isatty(2))


def _send_at_once(link: Link) -> None:
    try:
        link.send()
    except OSError:  # for lack of memory: the loop will send it
        return
