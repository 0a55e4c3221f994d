"""Builds the uwsgi protocol's frames, client to router. docs/protocol.md, section 5, specifies them.

The client needs only STDIN, ROWS and COLUMNS. It sends no signals: it sends ^C and the like as bytes, and the remote
terminal turns them into signals.
"""

from __future__ import annotations

import struct

STDIN = 0
ROWS = 100
COLUMNS = 101

PAYLOAD_LIMIT = 4092
"""The largest payload, in bytes, of the frames that this client sends.

The format allows 65,535, but uWSGI's router needs header and payload to fit its buffer of 4,096 bytes and ends the
session otherwise. The limit costs 0.1 % of the bandwidth and lets one client serve both routers.
"""

_HEADER = struct.Struct("<BHB")


def stdin_frames(data: bytes | bytearray | memoryview) -> bytes:
    """Returns the STDIN frames that carry `data`; b"" if it is empty."""
    with memoryview(data) as view:
        chunks = (view[start : start + PAYLOAD_LIMIT] for start in range(0, len(view), PAYLOAD_LIMIT))
        return b"".join(_header(len(chunk), STDIN) + bytes(chunk) for chunk in chunks)


def window_frames(rows: int, columns: int) -> bytes:
    """Returns frames that set this window size. Raises struct.error if a number is not 0 to 65,535."""
    return _header(rows, ROWS) + _header(columns, COLUMNS)


def first_window(data: bytes) -> tuple[int, int] | None:
    """Returns rows and columns if `data` begins with one frame of each, as uwsgi clients send first; else None."""
    if len(data) < 2 * _HEADER.size:
        return None
    frames = {number: size for _, size, number in _HEADER.iter_unpack(data[: 2 * _HEADER.size])}
    return (frames[ROWS], frames[COLUMNS]) if frames.keys() == {ROWS, COLUMNS} else None


def _header(size: int, modifier2: int) -> bytes:
    return _HEADER.pack(0, size, modifier2)
