"""Reads standard input for `fastpty exec`, and sends it.

No more is spliced than the router has room for. A read(2) asks for a whole chunk: what does not fit into a read is lost
if it belongs to a message, such as a packet of a socket. The session holds the bytes for which the router has no room.
"""

from __future__ import annotations

import os
import stat

from fastpty.client.outgoing import InputPipe
from fastpty.wire.extension import PAYLOAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastpty.client.exec_session import ExecSession
    from fastpty.client.link import Link
    from fastpty.client.streams import Streams


class ExecInput:
    """The input of a program. From a pipe it is spliced to the connection; Python does not see its bytes."""

    def __init__(self, link: Link, session: ExecSession, streams: Streams) -> None:
        self._link = link
        self._session = session
        self._streams = streams
        self._is_open = True
        self._pipe: InputPipe | None = None
        if stat.S_ISFIFO(os.fstat(streams.stdin).st_mode):
            try:
                self._pipe = InputPipe()
            except OSError:  # too many open files, or no memory
                self._pipe = None

    def close(self) -> None:
        """Closes the pipe."""
        if self._pipe is not None:
            self._pipe.close()

    @property
    def room(self) -> int:
        """How many bytes can be sent now; 0 if no input should be read."""
        if not (self._is_open and self._link.output_open and self._link.is_clear) or self._session.held_bytes:
            return 0
        return min(self._session.credit, PAYLOAD_BYTES)

    def read(self) -> None:
        """Reads and sends a frame of input, if there is any. May block if input is not spliced and has not arrived."""
        room = self.room
        if room:  # it may be used up since poll(2) has reported the input
            self._read(room)

    def _read(self, room: int) -> bool:
        size = self._splice(self._pipe, room) if self._pipe is not None and self._pipe.works else self._copy()
        if size == 0:
            self.end()
        if size is not None:
            self._link.send()
        return bool(size)

    def read_on(self) -> None:
        """Reads and sends what has arrived, as far as there is room. Does nothing if that could block."""
        while self._pipe is not None and self._pipe.works and (room := self.room) and self._read(room):
            continue

    def end(self) -> None:
        """Ends the input."""
        if self._is_open:
            self._is_open = False
            self._link.end_input()

    def _splice(self, pipe: InputPipe, room: int) -> int | None:
        size = pipe.fill(self._streams.stdin, room)
        if size:
            self._link.queue_pipe(self._session.input_header(size), pipe)
        return size

    def _copy(self) -> int | None:
        data = self._streams.read()
        if data is None:
            return None
        self._link.queue(data)
        return len(data)
