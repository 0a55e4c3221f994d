"""The uwsgi protocol from client to router: frames taken from a stream in place, however it was cut.

A frame is a header of four bytes (modifier1, size low, size high, modifier2) and, for all but window changes, `size`
bytes of payload. modifier1 is not looked at, as in uWSGI. In a window change the size field is the value itself and
nothing follows.
"""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    FRAME_HEADER_BYTES = 4
    MODIFIER2_STDIN = 0
    MODIFIER2_LAST_SIGNAL = 64
    MODIFIER2_ROWS = 100
    MODIFIER2_COLUMNS = 101

cdef enum FrameKind:
    FRAME_PARTIAL    # nothing to do yet
    FRAME_STDIN      # `payload`, `size`: bytes for the terminal, perhaps a part of the frame's
    FRAME_SIGNAL     # `value`: the signal's number, 1 to 64
    FRAME_ROWS       # `value`: 0 to 65535
    FRAME_COLUMNS    # `value`: 0 to 65535
    FRAME_IGNORED    # a modifier2 without a meaning here

cdef struct Frame:
    FrameKind kind
    uint16_t value
    uint16_t size
    const uint8_t *payload

cdef struct FrameParser:
    uint8_t header[FRAME_HEADER_BYTES]
    uint8_t header_bytes
    uint8_t modifier2          # of the frame whose payload is under way
    uint16_t payload_left


cdef inline FrameKind frame_kind(uint8_t modifier2) noexcept nogil:
    if modifier2 == MODIFIER2_STDIN:
        return FRAME_STDIN
    if modifier2 <= MODIFIER2_LAST_SIGNAL:
        return FRAME_SIGNAL
    if modifier2 == MODIFIER2_ROWS:
        return FRAME_ROWS
    if modifier2 == MODIFIER2_COLUMNS:
        return FRAME_COLUMNS
    return FRAME_IGNORED


cdef inline void frame_open(FrameParser *parser, Frame *frame) noexcept nogil:
    """Reads the complete header: what the frame is, and how much payload follows it."""
    cdef uint16_t size = parser.header[1] | (<uint16_t>parser.header[2] << 8)
    parser.header_bytes = 0
    parser.modifier2 = parser.header[3]
    frame.kind = frame_kind(parser.modifier2)
    if frame.kind == FRAME_ROWS or frame.kind == FRAME_COLUMNS:
        frame.value = size
        return
    frame.value = parser.modifier2
    parser.payload_left = size


cdef inline size_t frame_next(FrameParser *parser, const uint8_t *data, size_t size, Frame *frame) noexcept nogil:
    """Takes the next frame, or the next piece of one, from `data`; returns how many bytes it used up.

    That is at least one, unless `size` is 0. Everything that spans two calls is kept in `parser`. The payload of a
    signal or of an unknown frame is passed over as FRAME_PARTIAL.
    """
    cdef size_t used = 0
    cdef size_t take
    frame.kind = FRAME_PARTIAL
    frame.payload = data
    frame.size = 0
    if parser.payload_left == 0:
        while parser.header_bytes < FRAME_HEADER_BYTES:
            if used == size:
                return used
            parser.header[parser.header_bytes] = data[used]
            parser.header_bytes += 1
            used += 1
        frame_open(parser, frame)
        if frame.kind != FRAME_STDIN:
            return used
    take = size - used
    if take > parser.payload_left:
        take = parser.payload_left
    parser.payload_left -= <uint16_t>take
    if parser.modifier2 == MODIFIER2_STDIN:
        frame.kind = FRAME_STDIN
        frame.payload = data + used
        frame.size = <uint16_t>take
    return used + take
