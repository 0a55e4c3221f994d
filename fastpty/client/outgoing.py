"""The bytes that wait to be sent to the router, in order: frames in memory, and input that stays in the kernel."""

from __future__ import annotations

import os

from fastpty.client.ready import SHORT_OF_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import socket

_CHUNK_BYTES = 65536
_MORE = 0x8000  # MSG_MORE, which Python does not name: over TCP the header shares a packet with the payload


class InputPipe:
    """A pipe of the client's own, for the payload of one frame of input: splice(2) moves it without copying.

    The frame's header comes first and says how long the payload is. Another process that shares standard input could
    read from it at any time, so only what this pipe holds is certain. `works`: False if the kernel cannot splice here.
    """

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        self.held_bytes = 0
        self.works = True

    def close(self) -> None:
        """Closes both ends."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fill(self, stdin: int, most_bytes: int) -> int | None:
        """Moves input into the empty pipe. Returns the count, 0 at the end of input, or None if there is none now.

        Raises OSError for lack of memory. After any other error `works` is False: read(2) works, or says what is wrong.
        """
        try:
            count = self._splice(stdin, self._write_fd, most_bytes)
        except BlockingIOError:
            return None
        self.held_bytes = count or 0
        return count

    def send(self, sock: int) -> int:
        """Moves to a connection what it takes; returns the count. Raises BlockingIOError, and otherwise as fill()."""
        count = self._splice(self._read_fd, sock, self.held_bytes) or 0
        self.held_bytes -= count
        return count

    def _splice(self, source: int, target: int, most_bytes: int) -> int | None:
        try:
            return os.splice(source, target, most_bytes, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno in SHORT_OF_MEMORY:
                raise
            self.works = False
            return None

    def take(self) -> bytes:
        """Reads the bytes that the pipe holds."""
        data = os.read(self._read_fd, self.held_bytes)
        self.held_bytes -= len(data)
        return data


class Outgoing:
    """A queue of bytes. The payload in a pipe is sent after `_first` and before `_last`."""

    def __init__(self) -> None:
        self._first = bytearray()
        self._last = bytearray()
        self._pipe: InputPipe | None = None  # holds bytes

    def __len__(self) -> int:
        return len(self._first) + len(self._last) + (self._pipe.held_bytes if self._pipe else 0)

    def __bool__(self) -> bool:
        return bool(self._first) or self._pipe is not None

    def add(self, data: bytes) -> None:
        """Queues bytes."""
        if self._pipe is None:
            self._first += data
        else:
            self._last += data

    def add_pipe(self, header: bytes, pipe: InputPipe) -> None:
        """Queues a frame whose payload is in a pipe. No other pipe may be queued."""
        assert self._pipe is None
        self._first += header
        self._pipe = pipe

    def clear(self) -> None:
        """Drops everything. A pipe that holds bytes cannot be used again."""
        self._first.clear()
        self._last.clear()
        self._pipe = None

    def send(self, sock: socket.socket | _socket.socket) -> int:
        """Sends as much as the connection takes in one call. Returns the count. Raises OSError as send(2) does."""
        if self._first or self._pipe is None:
            count = sock.send(self._first[:_CHUNK_BYTES], _MORE if self._pipe else 0)
            del self._first[:count]
            return count
        count = self._pipe.send(sock.fileno())
        if not self._pipe.works:
            self._first += self._pipe.take()
        if self._pipe.held_bytes == 0:
            self._pipe = None
            self._first += self._last
            self._last.clear()
        return count
