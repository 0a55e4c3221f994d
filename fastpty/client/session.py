"""The client's side of the negotiated extension, which a Link uses: docs/protocol.md, part B."""

from __future__ import annotations

import errno

from fastpty.errors import LostConnectionError, SessionError, printable
from fastpty.wire import extension
from fastpty.wire.extension import FrameReader, ProtocolError, Refusal, Status, Welcome, frames

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # exit statuses, as in a shell
_FRAME_BYTES = 16384
_CREDIT_BYTES = 4
_MOST_CREDIT = 1 << 40
_NOTICES_MOST = 16
_TEXT_MOST_BYTES = 400

# The largest valid code for each way in which a program ends. A larger one could become the exit status 0.
_CODES_MOST = {extension.EXITED: 255, extension.SIGNALLED: 127, extension.DUMPED_CORE: 127}

_WORDS = {
    extension.PROTOCOL: "the router did not understand this client",
    extension.UNSUPPORTED: "the router does not support what was asked for",
    extension.REFUSED: "refused",
    extension.LIMIT: "the router has too many sessions",
    extension.EXECUTE: "cannot execute the command",
    extension.TIMEOUT: "the session took too long to start",
    extension.STOPPED: "the router was stopped",
}


class Session:
    """Turns input into frames, and frames into output. The first frame that it takes is WELCOME.

    Input for which the router has no room is held. `has_started`: the program was executed. `status`: how it ended, or
    None. `has_errors`: standard error is a stream of its own. `program`: the command's name for messages; may be empty.
    """

    name = "fpty"
    ends_with_notices = False
    is_waiting = False
    has_errors = False

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._credit = 0
        self._held = bytearray()
        self._input_ends = self._input_ended = False
        self._is_welcome = self._output_ended = False
        self.has_started = False
        self._replies = bytearray()
        self._refusal: Refusal | None = None
        self.program = ""
        self.number: int | None = None
        self.status: Status | None = None
        self._notices: list[str] = []
        self._notices_left = _NOTICES_MOST
        self.input_bytes = 0
        self.output_bytes = 0
        self.error_bytes = 0  # of standard error; stays 0 with a terminal

    # What is sent

    def input(self, data: bytes) -> bytes:
        """Adds to the input that waits; returns frames with as much of it as the router has room for."""
        self._held += data
        return self._release()

    def _release(self) -> bytes:
        sent = bytearray()
        while self._held and self._credit:
            piece = bytes(self._held[: min(self._credit, _FRAME_BYTES)])
            del self._held[: len(piece)]
            self._credit -= len(piece)
            self.input_bytes += len(piece)
            sent += frames(extension.STDIN, piece)
        if self._input_ends and not self._held and not self._input_ended:
            self._input_ended = True
            sent += frames(extension.END_INPUT)
        return bytes(sent)

    @property
    def credit(self) -> int:
        """How many bytes of input the router has room for."""
        return self._credit

    def input_header(self, size: int) -> bytes:
        """Returns the header of a frame of input whose payload the caller sends. `size`: at most `credit`."""
        self._credit -= size
        self.input_bytes += size
        return extension.header(extension.STDIN, size)

    @property
    def held_bytes(self) -> int:
        """How much input waits for room at the router."""
        return len(self._held)

    def interrupt(self, signum: int) -> bytes:
        """Drops held input, as a terminal does; returns the frame that sends a signal to the foreground job."""
        self._held.clear()
        return frames(signum)

    def ping(self) -> bytes:
        """Returns a PING frame, which the router answers with PONG."""
        return frames(extension.PING)

    def window(self, rows: int, columns: int) -> bytes:
        """The frame that sets the window's size."""
        return frames(extension.SIZE, extension.window(rows, columns))

    def end_input(self) -> bytes | None:
        """Returns the frame that ends the input. If input is held, the frame follows it later instead."""
        self._input_ends = True
        return self._release()

    def replies(self) -> bytes:
        """Returns the frames of held input for which the router has made room."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    # What is received

    def take_notices(self) -> list[str]:
        """Returns the router's messages for the user since the last call."""
        notices, self._notices = self._notices, []
        return notices

    @property
    def is_over(self) -> bool:
        """True once the final frame has come."""
        return self.status is not None or self._refusal is not None

    def take(self, data: bytes) -> bytes:
        """Returns the output in the received `data`. Raises SessionError if the router violates the protocol."""
        output: list[bytes] = []
        try:
            for number, payload in self._reader.feed(data):
                if number == extension.OUTPUT:
                    self._take_output(payload, output)
                else:
                    self._take(number, payload)
                if self.is_over:
                    break
        except ProtocolError as error:
            raise SessionError(f"the router violates the protocol: {error}; exit status unknown") from error
        joined = b"".join(output)
        self.output_bytes += len(joined)
        return joined

    def _take_output(self, payload: bytes, output: list[bytes]) -> None:
        if not self.has_started or self._output_ended:
            raise ProtocolError("output came outside the session")
        output.append(payload)

    def _take(self, number: int, payload: bytes) -> None:
        if not self._is_welcome:
            self._greet(number, payload)
        elif number == extension.STARTED:
            self._start(payload)
        elif number == extension.ERROR:
            self._refusal = Refusal(payload)
        elif number == extension.NOTICE:
            self._note(payload)
        elif number == extension.CREDIT:
            if len(payload) != _CREDIT_BYTES:
                raise ProtocolError(f"CREDIT has {len(payload)} bytes")
            self._credit = min(self._credit + int.from_bytes(payload, "little"), _MOST_CREDIT)
            self._replies += self._release()
        elif number == extension.STATUS and self.has_started:
            self.status = Status(payload)
        elif number == extension.STREAM_ENDED and self.has_started:
            self._end_stream(payload)
        elif number % 2 or number < extension.FIRST_NUMBER:
            raise ProtocolError(f"frame {number} has no meaning here")

    def _greet(self, number: int, payload: bytes) -> None:
        if number != extension.WELCOME:
            raise ProtocolError(f"frame {number} came before WELCOME")
        self._is_welcome = True
        self._credit = Welcome(payload).input_window
        self._replies += self._release()

    def _start(self, payload: bytes) -> None:
        if self.has_started:
            raise ProtocolError("STARTED came twice")
        self.has_started = True
        for tag, value in extension.read_items(payload):
            if tag == extension.SESSION:
                self.number = int.from_bytes(value[:8], "little")
            elif tag % 2:
                raise ProtocolError(f"item {tag} of STARTED is not known")

    def _note(self, payload: bytes) -> None:
        if self._notices_left:
            self._notices_left -= 1
            self._notices.append(_shown(payload))

    def _end_stream(self, payload: bytes) -> None:
        if payload == bytes((extension.INPUT_STREAM,)):
            self._held.clear()
            self._credit = 0
        elif payload == bytes((extension.OUTPUT_STREAM,)):
            self._output_ended = True
        else:
            raise ProtocolError(f"no stream {payload[:1].hex()} can end here")

    # The end

    def counts(self) -> tuple[int, int]:
        """The bytes of input sent, and of output received."""
        return self.input_bytes, self.output_bytes

    def check(self, why: str | None, notice: str | None = None) -> Status:
        """Returns how the program ended. Raises SessionError if that is not known, or if output is missing.

        `why`: why the connection broke, or None. `notice` is not used: the extension has no notices in the output.
        """
        if self._refusal is not None:
            raise _refused(self._refusal, self.program)
        if self.status is None:
            raise LostConnectionError(why)
        self._check_counts(self.status)
        if self.status.code > _CODES_MOST.get(self.status.how, -1):
            raise SessionError("the program has ended; exit status unknown")
        return self.status

    def _check_counts(self, status: Status) -> None:
        """Raises SessionError if output is missing."""
        sent = status.output_bytes + status.error_bytes
        missing = sent - self.output_bytes - self.error_bytes
        if (status.output_bytes, status.error_bytes) != (self.output_bytes, self.error_bytes):
            what = f"{missing} bytes of output are missing" if missing > 0 else "there is more output than was sent"
            raise SessionError(f"{what}: the router sent {sent}, {self.output_bytes + self.error_bytes} came")


def _refused(refusal: Refusal, program: str) -> SessionError:
    text = _shown(refusal.text) or _WORDS.get(refusal.code, f"the router reports error {refusal.code}")
    if refusal.code != extension.EXECUTE:
        return SessionError(text)
    text = f"{printable(program)}: {text}" if program else text
    return SessionError(text, _NOT_FOUND if refusal.errno == errno.ENOENT else _NOT_EXECUTABLE)


def _shown(text: bytes) -> str:
    """Returns a text from the router as one line that is safe to show on a terminal."""
    return printable(text[:_TEXT_MOST_BYTES].decode(errors="replace").strip())
