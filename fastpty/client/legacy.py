"""The client's side of the raw and uwsgi protocols, which a Link uses: docs/protocol.md, part A."""

from __future__ import annotations

from fastpty.errors import FastptyError
from fastpty.wire import extension, uwsgi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.client.negotiation import Greeting

KEPT_BYTES = 65536
"""How much input is sent before the router's protocol is known, and kept to be sent again. Further input waits."""

SILENCE_SECONDS = 0.1
"""How long a client that does not need the extension waits for the router's first byte before it sends its input."""

# A router that refuses or ends a session sends a line of this form that says why, marks it (fastpty/relay/notice.pxd)
# and closes the connection.
NOTICE = b"fastpty: "
NOTICE_MOST_BYTES = 1024

_HELD_SECONDS = 10.0
_HEADER_BYTES = 4

# How much of the output is searched for signs that the router speaks another protocol.
_BEGINNING_BYTES = 1024

# The first bytes that a client without a name gets at an fpty-router address, without the size of the frame.
_WELCOME = bytes((0, extension.WELCOME)) + extension.MAGIC + bytes(extension.NONCE_BYTES)

# How servers of other protocols answer on TCP, and what to do.
_OTHER_SERVERS = {
    b"\x15\x03": "speaks TLS: give --tls-cert, --tls-key and --tls-ca",
    b"HTTP/1.1 400 ": "is a web server, not a router",
    b"SSH-2.0-": "is an SSH server, not a router",
}


class EndedByRouterError(FastptyError):
    """The router refused or ended the session, and said why."""


class LateWelcomeError(FastptyError):
    """The router speaks the extension, but said so only after input was sent without it. Nothing has been executed.

    `kept` is the input so far, to be sent again over a new connection.
    """

    def __init__(self, kept: bytes) -> None:
        super().__init__("the router answered late")
        self.kept = kept


class StartFinder:
    """Finds a START frame in raw input.

    A router whose WELCOME is only late reads raw input as frames of the extension, and executes a START in it. It
    executes nothing before START, and nothing after a frame that must not come before START.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload_left = 0
        self.is_over = False
        """True if no START can follow."""

    def feed(self, data: bytes) -> int:
        """Takes the next bytes. Returns how many of them precede the byte that makes a frame a START."""
        at = 0
        while at < len(data) and not self.is_over:
            skipped = min(self._payload_left, len(data) - at)
            self._payload_left -= skipped
            at += skipped
            taken = data[at : at + _HEADER_BYTES - len(self._header)]
            if len(self._header) + len(taken) == _HEADER_BYTES and taken[-1] == extension.START:
                return at + len(taken) - 1
            self._header += taken
            at += len(taken)
            if len(self._header) == _HEADER_BYTES:
                self._take_header()
        return len(data)

    def _take_header(self) -> None:
        number = self._header[-1]
        if number == extension.STDIN or number >= extension.FIRST_NUMBER:
            self._payload_left = int.from_bytes(self._header[1:3], "little")
        else:
            self.is_over = number not in (uwsgi.ROWS, uwsgi.COLUMNS)
        self._header.clear()


class Legacy:
    """The uwsgi protocol if `framed`, else the raw one. `address` is for messages.

    While `greeting` is undecided, the router may still turn out to speak the extension. `is_waiting`: input waits for
    that decision, because no more of it can be kept, or because such a router would take it for a START.
    """

    ends_with_notices = True
    held_bytes = 0
    is_over = False

    def __init__(self, address: str, *, framed: bool, is_local: bool, greeting: Greeting | None = None) -> None:
        self.name = "uwsgi" if framed else "raw"
        self._address = address
        self._framed = framed
        self._is_local = is_local
        self._greeting = greeting
        self._kept: bytearray | None = bytearray() if greeting and greeting.is_expected else None
        self._starts = None if greeting is None or framed else StartFinder()
        self._held = b""
        self.is_waiting = False
        self._first_frame = b""
        self._beginning: bytearray | None = bytearray()

    def input(self, data: bytes) -> bytes:
        """The bytes that carry this input."""
        if self._kept is not None:
            self._kept += data
            self.is_waiting = len(self._kept) >= KEPT_BYTES
        if self._starts is not None:
            data = self._hold_starts(self._starts, data)
        if not self._framed:
            return data
        frames = uwsgi.stdin_frames(data)
        self._first_frame = self._first_frame or frames[:_HEADER_BYTES]
        return frames

    @property
    def silence_seconds(self) -> float:
        """How long held input waits for the router's first byte. Input that could be a START waits longer."""
        return _HELD_SECONDS if self._held else SILENCE_SECONDS

    def _hold_starts(self, starts: StartFinder, data: bytes) -> bytes:
        """Returns the input before a possible START. The rest waits for the router's first byte."""
        harmless = 0 if self._held else starts.feed(data)
        self._held += data[harmless:]
        self.is_waiting = self.is_waiting or bool(self._held)
        return data[:harmless]

    def window(self, rows: int, columns: int) -> bytes:
        """The bytes that announce a window of this size; none in the raw protocol."""
        if not self._framed:
            return b""
        frames = uwsgi.window_frames(rows, columns)
        self._first_frame = self._first_frame or frames
        return frames

    def end_input(self) -> bytes | None:
        """Returns None: the caller closes the sending direction. Raises FastptyError if held input may be a START."""
        self._check_held()
        return None

    def interrupt(self, signum: int) -> bytes:
        """Returns no bytes: input never waits for room at the router, so the key itself interrupts."""
        return b""

    def ping(self) -> bytes:
        """Returns no bytes: these protocols have no frame that the router answers."""
        return b""

    def replies(self) -> bytes:
        """Returns input that had to wait for the router's first byte, once that has come."""
        held, self._held = (self._held, b"") if self._greeting is None else (b"", self._held)
        return held

    def counts(self) -> tuple[int, int] | None:
        """Returns None: only the connection's bytes are counted, not those of input and output."""
        return None

    def take_notices(self) -> list[str]:
        """Returns none: in these protocols, the router's notices are part of the output."""
        return []

    def has_no_welcome(self) -> None:
        """Notes that the router does not speak the extension. Raises FastptyError if --protocol fpty is needed."""
        if self._greeting is not None and self._greeting.is_unnamed:
            raise self._needs_fpty()
        self._greeting = self._starts = None
        self._kept = None
        self.is_waiting = False

    def _needs_fpty(self) -> FastptyError:
        return FastptyError(f"{self._address} is an address for fastpty's own protocol: connect with --protocol fpty")

    def keep_no_more(self) -> None:
        """Ends the wait for the router's first byte. From now on a WELCOME is an error.

        Raises FastptyError if input waits that may be a START.
        """
        if self._greeting is not None and self._greeting.is_ruled_out:
            self._greeting = self._starts = None
        else:
            self._check_held()
        self._kept = None
        self.is_waiting = False

    def _check_held(self) -> None:
        if self._held:
            raise FastptyError(
                f"{self._address}: the router is silent, and the input holds what could be a request of fastpty's own "
                "protocol: connect with --protocol raw if the router does not speak it, else with --protocol fpty"
            )

    def check(self, why: str | None, notice: str | None) -> None:
        """Raises FastptyError if the session did not run to its end.

        `why`: why the connection broke, or None. `notice`: the router's last line, or None.
        """
        if notice is not None:
            raise EndedByRouterError(notice)
        if why is not None:
            raise FastptyError(f"the connection broke: {why}")

    def take(self, data: bytes) -> bytes:
        """Returns the output in the received `data`. No data means that the connection has ended.

        Raises LateWelcomeError, and FastptyError if the router speaks another protocol.
        """
        if self._greeting is not None:
            data = self._decide(self._greeting, data)
        if self._beginning is not None:
            self._check_protocol(data)
        return data

    def _decide(self, greeting: Greeting, data: bytes) -> bytes:
        greeting.feed(data)
        if greeting.is_welcome is None:
            return b""
        if greeting.is_welcome and self._kept is None:
            raise FastptyError(
                f"{self._address}: the router answered only after {KEPT_BYTES} bytes of input were sent to it: "
                "nothing was executed: try again"
            )
        if greeting.is_welcome:
            raise LateWelcomeError(bytes(self._kept or b""))
        self.has_no_welcome()
        return bytes(greeting.received)

    def _check_protocol(self, data: bytes) -> None:
        assert self._beginning is not None
        self._beginning += data
        for answer, what in _OTHER_SERVERS.items():
            if self._beginning.startswith(answer) and not self._is_local:
                raise FastptyError(f"{self._address} {what}")
        if self._beginning[:1] + self._beginning[3 : len(_WELCOME) + 2] == _WELCOME:
            raise self._needs_fpty()
        if self._first_frame and _echo(self._first_frame) in self._beginning:
            raise FastptyError(f"{self._address} speaks the raw protocol: connect without --uwsgi")
        if len(self._beginning) > _BEGINNING_BYTES:
            self._beginning = None


def _echo(data: bytes) -> bytes:
    """What a terminal echoes for `data`: ^X for a control character."""
    return b"".join(bytes((byte,)) if byte >= 0x20 else b"^" + bytes((byte + 0x40,)) for byte in data)
