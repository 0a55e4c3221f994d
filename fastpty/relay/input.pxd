"""The input of a uwsgi client: parses the frames in the channel's buffer."""

from libc.stdint cimport uint32_t
from libc.string cimport memmove

from fastpty.relay.channel cimport FLUSH_ALL, channel_flush_buffer
from fastpty.relay.pool cimport Buffer
from fastpty.relay.shared_size cimport program_signal, window_apply
from fastpty.relay.state cimport Session
from fastpty.system.check cimport check
from fastpty.wire.uwsgi cimport (
    FRAME_COLUMNS, FRAME_IGNORED, FRAME_PARTIAL, FRAME_ROWS, FRAME_SIGNAL, FRAME_STDIN, Frame, frame_next,
)

cdef enum:
    ACTIONS_MOST = 16         # signals and window sizes that one turn passes on to a process group


cdef inline bint frame_is_window_change(const Frame *frame) noexcept nogil:
    return frame.kind == FRAME_ROWS or frame.kind == FRAME_COLUMNS


cdef inline void input_apply_frame(Session *session, const Frame *frame) noexcept nogil:
    """Applies a frame that carries no input. The caller applies a new window size with window_apply."""
    if frame.kind == FRAME_ROWS:
        session.terminal.size.ws_row = frame.value
    elif frame.kind == FRAME_COLUMNS:
        session.terminal.size.ws_col = frame.value
    elif frame.kind == FRAME_SIGNAL:
        program_signal(session, frame.value)
    elif frame.kind == FRAME_IGNORED:
        session.peer.ignored_frames += 1


cdef inline void input_parse(Session *session) noexcept nogil:
    """Parses frames in the input's buffer, in place, and joins the input that they carry at the buffer's start.

    Rows and columns that follow each other are applied together, so the program sees one change. A signal is sent when
    its frame is parsed: the input before it is written first, as far as the terminal has room, since the signal must
    reach a program that does not read. A signal or window change for a large process group takes long and delays the
    other sessions, so after ACTIONS_MOST of them the remaining frames wait for the next turn.
    """
    cdef Buffer *buffer = session.input.channel.buffer
    cdef bint resized = False
    cdef int acts = 0
    cdef Frame frame
    while buffer.parsed < buffer.filled and acts < ACTIONS_MOST:
        buffer.parsed += <uint32_t>frame_next(&session.peer.parser, buffer.data + buffer.parsed,
                                              buffer.filled - buffer.parsed, &frame)
        if resized and frame.kind != FRAME_PARTIAL and not frame_is_window_change(&frame):
            window_apply(session)
            resized = False
            acts += 1
        if frame.kind == FRAME_STDIN:
            check(buffer.end + frame.size <= buffer.parsed, "joined input ends before the frames that are not parsed")
            memmove(buffer.data + buffer.end, frame.payload, frame.size)
            buffer.end += frame.size
            continue
        if frame.kind == FRAME_SIGNAL:
            if session.input.channel.writable:
                channel_flush_buffer(&session.input.channel, FLUSH_ALL)
            acts += 1
        input_apply_frame(session, &frame)
        resized = resized or frame_is_window_change(&frame)
    if resized:
        window_apply(session)


cdef inline void input_begin_parse(Session *session) noexcept nogil:
    """Begins to parse the frames that were just read into the input's buffer."""
    cdef Buffer *buffer = session.input.channel.buffer
    buffer.parsed = buffer.start
    buffer.filled = buffer.end
    buffer.end = buffer.start
    input_parse(session)
