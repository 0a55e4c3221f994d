"""Builds the frames of the uwsgi protocol, client → server: a 4-byte header and its payload.

    modifier1 u8 = 0 | size u16 little-endian | modifier2 u8 | payload

modifier2 says what the frame is. STDIN frames carry a payload; in ROWS and COLUMNS the size field is the value itself
and the header is the whole frame. Signal frames are not needed here: a key goes as a byte, and the remote terminal
decides. Server → client there are no frames, only the terminal's bytes. (Rules and numbers: uWSGI 2.0.21's plugins pty
and forkptyrouter, measured.)
"""

from __future__ import annotations

import struct

STDIN = 0
ROWS = 100
COLUMNS = 101

PAYLOAD_LIMIT = 4092
"""Largest stdin payload, in bytes, that we put in one frame.

Our router takes 65,535, but uWSGI's drops the session above 4092: header and payload must fit its 4096-byte
buffer. Keeping to that lets one client serve both, for 0.1 % of overhead.
"""

_HEADER = struct.Struct("<BHB")


def stdin_frames(data: bytes | bytearray | memoryview) -> bytes:
    """`data` as stdin frames, as many as it takes; none for no data."""
    with memoryview(data) as view:
        chunks = (view[start : start + PAYLOAD_LIMIT] for start in range(0, len(view), PAYLOAD_LIMIT))
        return b"".join(_header(len(chunk), STDIN) + bytes(chunk) for chunk in chunks)


def window_frames(rows: int, columns: int) -> bytes:
    """Sets the remote terminal's size, in characters; struct.error where a number is not from 0 to 65,535."""
    return _header(rows, ROWS) + _header(columns, COLUMNS)


def _header(size: int, modifier2: int) -> bytes:
    return _HEADER.pack(0, size, modifier2)
