"""A session of `fastpty exec`: standard error is a stream of its own. docs/protocol.md, section 13.8."""

from __future__ import annotations

from fastpty.client.session import Session
from fastpty.wire import extension
from fastpty.wire.extension import ProtocolError, frames


class ExecSession(Session):
    """A Session whose standard error is read with take_errors(). `ended`: the streams that have ended."""

    has_errors = True

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[bytes] = []
        self.ended: set[int] = set()

    def signal(self, signum: int) -> bytes:
        """The frame that sends a signal to the program's process group."""
        return frames(signum)

    def stop(self, stream: int) -> bytes:
        """The frame that closes an output stream."""
        return frames(extension.STOP, bytes((stream,)))

    def take_errors(self) -> bytes:
        """Returns what has arrived of standard error since the last call."""
        errors = b"".join(self._errors)
        self._errors.clear()
        return errors

    def _take(self, number: int, payload: bytes) -> None:
        if number != extension.STDERR:
            super()._take(number, payload)
            return
        if not self.has_started or extension.ERROR_STREAM in self.ended:
            raise ProtocolError("standard error came outside the session")
        self._errors.append(payload)
        self.error_bytes += len(payload)

    def _end_stream(self, payload: bytes) -> None:
        stream = payload[0] if len(payload) == 1 else -1
        if stream != extension.ERROR_STREAM:
            super()._end_stream(payload)
        self.ended.add(stream)
