"""What a TCP connection needs to carry a terminal, at either end."""

from __future__ import annotations

import _socket
import contextlib
import socket

# tcp(7). Keystrokes are not held back to be joined. Who vanished without a word is noticed after one minute or one and
# a half: by 30 s of silence and three questions 10 s apart. Those are not asked while something sent is unacknowledged:
# then what is sent anew tells, tcp_retries2 (15) times and at most this long apart; the usual two minutes would make
# that a quarter of an hour. TCP_USER_TIMEOUT would be simpler, and ends those, too, who are there and do not read.
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
    """Makes a TCP connection fit for terminal work; raises OSError if it is broken."""
    for level, option, value in _OPTIONS:
        connection.setsockopt(level, option, value)
    with contextlib.suppress(OSError):  # an older kernel
        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MOST_MS)
