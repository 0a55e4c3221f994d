"""The options of a TCP connection that carries a terminal, at both ends."""

from __future__ import annotations

import _socket
import contextlib
import socket
import time

# tcp(7). TCP_NODELAY: keystrokes are sent at once. Keep-alive detects a peer that disappears within 60 to 90 s: after
# 30 s of silence it sends three probes, 10 s apart. No probes are sent while sent data is unacknowledged: then the
# connection ends after tcp_retries2 (15) retransmissions. TCP_RTO_MAX_MS keeps these at most 5 s apart; with the
# kernel's usual 2 minutes, that would take a quarter of an hour. TCP_USER_TIMEOUT would also end connections to clients
# that are alive but do not read.
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)

TCP_RTO_MAX_MS = 44  # linux/tcp.h, Linux 6.15; not in Python's socket module
RESEND_MOST_MS = 5000


def prepare(connection: _socket.socket) -> None:
    """Sets the options of a TCP connection that carries a terminal; raises OSError if it is broken."""
    for level, option, value in _OPTIONS:
        connection.setsockopt(level, option, value)
    with contextlib.suppress(OSError):  # an older kernel
        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MOST_MS)


_LINGER_SECONDS = 2.0
_CHUNK_BYTES = 65536
_MARK = b"!"


def mark_notice(connection: _socket.socket) -> None:
    """Marks what was sent last as a notice of the router, as fastpty/relay/notice.pxd does."""
    with contextlib.suppress(OSError):
        connection.send(_MARK, socket.MSG_OOB | socket.MSG_DONTWAIT)


def wait_until_read(connection: _socket.socket) -> None:
    """Ends the sending direction, and waits up to two seconds for the peer to close.

    Closing at once could make TCP discard what the peer has not read (RFC 1122).
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(_CHUNK_BYTES):
                return
