"""Lets tests call the frame parser of fastpty/wire/uwsgi.pxd. For tests only."""

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

cdef dict KINDS = {
    FRAME_SIGNAL: "signal",
    FRAME_ROWS: "rows",
    FRAME_COLUMNS: "columns",
    FRAME_IGNORED: "ignored",
}


def parse(pieces):
    """The events of a stream that arrives in these pieces. Adjacent stdin bytes are joined."""
    cdef FrameParser parser
    cdef Frame frame
    cdef bytes piece
    cdef const unsigned char *data
    cdef size_t size
    cdef size_t at
    cdef size_t used
    memset(&parser, 0, sizeof(parser))
    events = []
    for piece in pieces:
        at = 0
        data = piece
        size = len(piece)
        while at < size:
            used = frame_next(&parser, data + at, size - at, &frame)
            if used == 0:
                raise AssertionError("no progress")
            at += used
            if frame.kind == FRAME_STDIN:
                if not (events and events[-1][0] == "stdin"):
                    events.append(("stdin", b""))
                events[-1] = ("stdin", events[-1][1] + frame.payload[:frame.size])
            elif frame.kind != FRAME_PARTIAL:
                events.append((KINDS[frame.kind], frame.value))
    return events


def frames_in(bytes wire, int repeat):
    """Parses `wire` `repeat` times and returns the number of frames. For counting instructions."""
    cdef FrameParser parser
    cdef Frame frame
    cdef const unsigned char *data = wire
    cdef size_t size = len(wire)
    cdef size_t at
    cdef long count = 0
    cdef int _round
    memset(&parser, 0, sizeof(parser))
    with nogil:
        for _round in range(repeat):
            at = 0
            while at < size:
                at += frame_next(&parser, data + at, size - at, &frame)
                count += frame.kind != FRAME_PARTIAL
    return count
