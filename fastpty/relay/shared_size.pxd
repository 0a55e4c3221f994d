"""The window size of a shared terminal, and the signals that clients send to its program.

Each client of the uwsgi protocol has a window of its own (`Session.terminal.size` of the viewer). The terminal has a
fixed size, or the fewest rows and the fewest columns of all clients, so that each client sees all of it.
"""

from fastpty.relay.channel cimport channel_drop
from fastpty.relay.pool cimport Buffer, Pool
from fastpty.relay.state cimport Session, Shared
from fastpty.relay.terminal cimport terminal_resize, terminal_signal
from fastpty.system.linux cimport winsize
from fastpty.wire.uwsgi cimport FRAME_COLUMNS, FRAME_ROWS, Frame, frame_next


cdef inline unsigned short size_smaller(unsigned short least, unsigned short edge) noexcept nogil:
    """Returns the smaller edge; 0 = unknown."""
    return edge if least == 0 or 0 < edge < least else least


cdef inline winsize shared_size(const Shared *shared) noexcept nogil:
    """Returns the window size that the terminal should have."""
    cdef winsize size = shared.usual_size
    cdef winsize least
    cdef const Session *viewer = shared.viewers
    if shared.is_fixed:
        return size
    least.ws_row = least.ws_col = 0
    while viewer != NULL:
        least.ws_row = size_smaller(least.ws_row, viewer.terminal.size.ws_row)
        least.ws_col = size_smaller(least.ws_col, viewer.terminal.size.ws_col)
        viewer = viewer.next_viewer
    size.ws_row = least.ws_row if least.ws_row != 0 else size.ws_row
    size.ws_col = least.ws_col if least.ws_col != 0 else size.ws_col
    return size


cdef inline void shared_fit(const Shared *shared) noexcept nogil:
    """Sets the terminal's window size, if a program runs on it."""
    cdef winsize size = shared_size(shared)
    cdef winsize *present
    if shared.program == NULL:
        return
    present = &shared.program.terminal.size
    if size.ws_row != present.ws_row or size.ws_col != present.ws_col:
        present[0] = size
        terminal_resize(&shared.program.terminal)


cdef inline void window_apply(Session *session) noexcept nogil:
    """Applies a client's new window size to its terminal, or to the shared one."""
    if session.shared == NULL:
        terminal_resize(&session.terminal)
    else:
        shared_fit(session.shared)


cdef inline void window_forget(Session *viewer) noexcept nogil:
    """Stops counting the window size of a viewer that leaves."""
    viewer.terminal.size.ws_row = viewer.terminal.size.ws_col = 0
    shared_fit(viewer.shared)


cdef inline void program_signal(const Session *session, int number) noexcept nogil:
    """Sends a client's signal to the program on its terminal."""
    if session.shared == NULL:
        terminal_signal(&session.terminal, number)
    elif session.shared.program != NULL:
        terminal_signal(&session.shared.program.terminal, number)


cdef inline void viewer_drop_input(Session *viewer, Pool *pool) noexcept nogil:
    """Discards the input that a viewer's channel holds, but not the window sizes in it.

    Frames that are not parsed yet are parsed first: the rest of the last one may still arrive.
    """
    cdef Buffer *buffer = viewer.input.channel.buffer
    cdef Frame frame
    while buffer != NULL and buffer.parsed < buffer.filled:
        buffer.parsed += frame_next(&viewer.peer.parser, buffer.data + buffer.parsed,
                                    buffer.filled - buffer.parsed, &frame)
        if frame.kind == FRAME_ROWS:
            viewer.terminal.size.ws_row = frame.value
        elif frame.kind == FRAME_COLUMNS:
            viewer.terminal.size.ws_col = frame.value
    channel_drop(&viewer.input.channel, pool)
