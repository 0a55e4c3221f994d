"""Lets tests call the frame parsers of fastpty/wire and of the extension's input. For tests only."""

from libc.stdint cimport UINT32_MAX
from libc.string cimport memcpy, memset

from fastpty.relay.extension_input cimport extension_parse
from fastpty.relay.loop cimport Loop
from fastpty.relay.pool cimport BUFFER_BYTES, Buffer, buffer_lend, buffer_return, pool_drop_spares
from fastpty.relay.state cimport PHASE_RUNNING, Extension, Session
from fastpty.wire.extension cimport ExtensionFrame, ExtensionParser, extension_next
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


def parse_extension(pieces):
    """The frames of a stream that arrives in these pieces: number, value, payload, is_last and is_stray of each."""
    cdef ExtensionParser parser
    cdef ExtensionFrame frame
    cdef bytes piece
    cdef const unsigned char *data
    cdef size_t size, at, used
    cdef bint begins
    memset(&parser, 0, sizeof(parser))
    found = []
    for piece in pieces:
        at = 0
        data = piece
        size = len(piece)
        while at < size:
            begins = parser.payload_left == 0
            used = extension_next(&parser, data + at, size - at, &frame)
            if used == 0:
                raise AssertionError("no progress")
            at += used
            if frame.is_partial:
                continue
            if begins:
                found.append([frame.number, frame.value, b"", False, bool(frame.is_stray)])
            found[-1][2] += frame.payload[:frame.size]
            found[-1][3] = bool(frame.is_last)
    return found


def extension_frames_in(bytes wire, int repeat):
    """The same as frames_in, with the extension's parser."""
    cdef ExtensionParser parser
    cdef ExtensionFrame frame
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
                at += extension_next(&parser, data + at, size - at, &frame)
                count += not frame.is_partial
    return count


def extension_input_of(bytes wire, int repeat):
    """Parses STDIN frames `repeat` times as the relay does, and returns the number of bytes of input."""
    cdef Loop loop
    cdef Session session
    cdef Extension extension
    cdef Buffer *buffer
    cdef const unsigned char *data = wire
    cdef size_t size = len(wire)
    cdef int _round
    memset(&loop, 0, sizeof(loop))
    memset(&session, 0, sizeof(session))
    memset(&extension, 0, sizeof(extension))
    loop.pool.buffer_bytes = BUFFER_BYTES
    if size > BUFFER_BYTES:
        raise ValueError("longer than the relay's buffer")
    buffer = session.input.channel.buffer = buffer_lend(&loop.pool)
    session.extension = &extension
    extension.phase = PHASE_RUNNING
    with nogil:
        for _round in range(repeat):
            extension.window_left = UINT32_MAX
            memcpy(buffer.data, data, size)
            buffer.start = buffer.end = buffer.parsed = 0
            buffer.filled = <unsigned int>size
            extension_parse(&loop, &session)
    buffer_return(&loop.pool, buffer)
    pool_drop_spares(&loop.pool)
    return extension.received
