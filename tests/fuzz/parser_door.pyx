"""The frame parser of fastpty/wire/uwsgi.pxd for a fuzzer. Compiled to C with Cython; the module is never imported."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from fastpty.wire.uwsgi cimport (
    FRAME_COLUMNS,
    FRAME_IGNORED,
    FRAME_PARTIAL,
    FRAME_ROWS,
    FRAME_SIGNAL,
    FRAME_STDIN,
    Frame,
    FrameParser,
    frame_next,
)

cdef FrameParser parser


cdef public void door_parser_reset() noexcept nogil:
    memset(&parser, 0, sizeof(parser))


cdef public size_t door_parse(const uint8_t *data, size_t size, int *kind, const uint8_t **payload,
                              uint32_t *value) noexcept nogil:
    """Calls frame_next once. kind: 0 nothing, 1 stdin, 2 signal, 3 rows, 4 columns, 5 ignored.

    For stdin `payload` is set, and `value` is its size; for the others `value` is the frame's.
    """
    cdef Frame frame
    cdef size_t used = frame_next(&parser, data, size, &frame)
    kind[0] = 0
    payload[0] = NULL
    value[0] = 0
    if frame.kind == FRAME_STDIN:
        kind[0] = 1
        payload[0] = frame.payload
        value[0] = frame.size
        return used
    if frame.kind != FRAME_PARTIAL:
        value[0] = frame.value
    if frame.kind == FRAME_SIGNAL:
        kind[0] = 2
    elif frame.kind == FRAME_ROWS:
        kind[0] = 3
    elif frame.kind == FRAME_COLUMNS:
        kind[0] = 4
    elif frame.kind == FRAME_IGNORED:
        kind[0] = 5
    return used
