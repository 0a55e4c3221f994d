"""The parser of the uwsgi protocol's frames, client to router. docs/protocol.md, section 5, specifies them.

It works in place on a stream that may be split anywhere. As in uWSGI it ignores modifier1, and only frames with
modifier2 0 carry a payload: all others are the header alone, whatever their size field holds.
"""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    FRAME_HEADER_BYTES = 4
    MODIFIER2_STDIN = 0
    MODIFIER2_LAST_SIGNAL = 64
    MODIFIER2_ROWS = 100
    MODIFIER2_COLUMNS = 101

cdef enum FrameKind:
    FRAME_PARTIAL    # the header is not complete yet
    FRAME_STDIN      # `payload`, `size`: bytes for the terminal, all of the frame's payload or a piece of it
    FRAME_SIGNAL     # `value`: the signal's number, 1 to 64
    FRAME_ROWS       # `value`: 0 to 65535
    FRAME_COLUMNS    # `value`: 0 to 65535
    FRAME_IGNORED    # any other modifier2, which is in `value`

cdef struct Frame:
    FrameKind kind
    uint16_t value
    uint16_t size
    const uint8_t *payload

cdef struct FrameParser:
    uint8_t header[FRAME_HEADER_BYTES]
    uint8_t header_bytes       # how many of them have arrived
    uint16_t payload_left      # bytes of a STDIN frame's payload that have not arrived


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
    """Decodes the complete header into `frame`, and notes how much payload follows."""
    cdef uint16_t size = parser.header[1] | (<uint16_t>parser.header[2] << 8)
    parser.header_bytes = 0
    frame.kind = frame_kind(parser.header[3])
    frame.value = parser.header[3]
    if frame.kind == FRAME_STDIN:
        parser.payload_left = size
    elif frame.kind == FRAME_ROWS or frame.kind == FRAME_COLUMNS:
        frame.value = size


cdef inline size_t frame_next(FrameParser *parser, const uint8_t *data, size_t size, Frame *frame) noexcept nogil:
    """Parses the next frame, or the next piece of one, and returns how many bytes of `data` it has used.

    The result is at least 1 unless `size` is 0. `parser` keeps what spans two calls.
    """
    cdef size_t used = 0
    cdef size_t take
    frame.kind = FRAME_PARTIAL
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
    frame.kind = FRAME_STDIN
    frame.payload = data + used
    frame.size = <uint16_t>take
    return used + take
