"""The input of a uwsgi client: the frames in its buffer, parsed in place."""

from libc.stdint cimport uint32_t
from libc.string cimport memmove

from fastpty.relay.channel cimport FLUSH_ALL, channel_flush_buffer
from fastpty.relay.pool cimport Buffer
from fastpty.relay.state cimport Session
from fastpty.relay.terminal cimport terminal_resize, terminal_signal
from fastpty.system.check cimport check
from fastpty.wire.uwsgi cimport (
    FRAME_COLUMNS, FRAME_IGNORED, FRAME_PARTIAL, FRAME_ROWS, FRAME_SIGNAL, FRAME_STDIN, Frame, frame_next,
)

cdef enum:
    ACTS_MOST = 16            # signals and window sizes that one turn passes on to a process group


cdef inline bint frame_is_window_change(const Frame *frame) noexcept nogil:
    return frame.kind == FRAME_ROWS or frame.kind == FRAME_COLUMNS


cdef inline void input_apply_frame(Session *session, const Frame *frame) noexcept nogil:
    """Does what a frame without stdin bytes asks for, except for a new size, which the caller applies."""
    if frame.kind == FRAME_ROWS:
        session.terminal.size.ws_row = frame.value
    elif frame.kind == FRAME_COLUMNS:
        session.terminal.size.ws_col = frame.value
    elif frame.kind == FRAME_SIGNAL:
        terminal_signal(&session.terminal, frame.value)
    elif frame.kind == FRAME_IGNORED:
        session.peer.ignored_frames += 1


cdef inline void input_parse(Session *session) noexcept nogil:
    """Parses the frames in the input's buffer in place: their stdin bytes end up joined at its start.

    Rows and columns that follow each other are applied at once, so that the program sees one change. A signal is sent
    when it is met, after the stdin before it as far as the terminal takes that: it must reach a program that reads
    nothing. What goes to a whole process group takes longer the more processes there are, and everybody else waits: so
    after some of that the rest is for the next turn.
    """
    cdef Buffer *buffer = session.input.channel.buffer
    cdef bint resized = False
    cdef int acts = 0
    cdef Frame frame
    while buffer.parsed < buffer.filled and acts < ACTS_MOST:
        buffer.parsed += <uint32_t>frame_next(&session.peer.parser, buffer.data + buffer.parsed,
                                              buffer.filled - buffer.parsed, &frame)
        if resized and frame.kind != FRAME_PARTIAL and not frame_is_window_change(&frame):
            terminal_resize(&session.terminal)
            resized = False
            acts += 1
        if frame.kind == FRAME_STDIN:
            check(buffer.end + frame.size <= buffer.parsed, "gathered stdin stays behind what is parsed")
            memmove(buffer.data + buffer.end, frame.payload, frame.size)
            buffer.end += frame.size
            continue
        if frame.kind == FRAME_SIGNAL:
            channel_flush_buffer(&session.input.channel, FLUSH_ALL)
            acts += 1
        input_apply_frame(session, &frame)
        resized = resized or frame_is_window_change(&frame)
    if resized:
        terminal_resize(&session.terminal)


cdef inline void input_begin_parse(Session *session) noexcept nogil:
    """Takes what was read into the input's buffer for frames, and parses the first of them."""
    cdef Buffer *buffer = session.input.channel.buffer
    buffer.parsed = buffer.start
    buffer.filled = buffer.end
    buffer.end = buffer.start
    input_parse(session)
