"""A shared terminal: programs start and end on it, viewers join and leave, independently of each other.

The program's output goes into a ring buffer, and each viewer reads it from there at its own speed. The viewers' inputs
take turns in writing to the terminal. fastpty/relay/shared_step.pxd moves the bytes.
"""

from libc.stdint cimport int64_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, FLUSH_ALL
from fastpty.relay.hang_up cimport session_hang_up
from fastpty.relay.loop cimport MILLISECOND_NS, RETRY_SLOWEST_MS, Loop, loop_retry, loop_wake
from fastpty.relay.queue cimport queue_pop, queue_push, queue_remove
from fastpty.relay.replay cimport replay_start
from fastpty.relay.ring cimport ring_open, ring_room
from fastpty.relay.shared_size cimport shared_fit, viewer_drop_input
from fastpty.relay.state cimport ROLE_PROGRAM, ROLE_VIEWER, Session, Shared, Task
from fastpty.system.linux cimport winsize

cdef enum:
    RING_BYTES_LEAST = 1048576   # how far a viewer may fall behind before it loses output


cdef inline Shared *shared_new(uint64_t scrollback_bytes, winsize size, bint is_fixed) noexcept nogil:
    """Returns a shared terminal without a program or viewers, or NULL if there is no memory."""
    cdef Shared *shared = <Shared *>calloc(1, sizeof(Shared))
    if shared == NULL:
        return NULL
    shared.scrollback_bytes = scrollback_bytes
    shared.usual_size = size
    shared.is_fixed = is_fixed
    if not ring_open(&shared.output, max(scrollback_bytes, <uint64_t>RING_BYTES_LEAST)):
        free(shared)
        return NULL
    return shared


cdef inline void shared_free(Shared *shared) noexcept nogil:
    if shared != NULL:
        free(shared.output.data)
        free(shared)


cdef inline void shared_join(Shared *shared, Session *viewer) noexcept nogil:
    """Adds a viewer. It reads the scroll-back first."""
    viewer.role = ROLE_VIEWER
    viewer.shared = shared
    viewer.next_viewer = shared.viewers
    if shared.viewers != NULL:
        shared.viewers.previous_viewer = viewer
    shared.viewers = viewer
    viewer.input.channel.flush_bytes = FLUSH_ALL   # write a paste whole, so that it seldom mixes with others' input
    viewer.position = replay_start(&shared.output, shared.scrollback_bytes)
    viewer.output.channel.readable = viewer.position < shared.output.end
    if shared.ended:
        shared_dismiss(viewer)


cdef inline void shared_set_program(Loop *loop, Shared *shared, Session *program) noexcept nogil:
    """Makes a session the program on the shared terminal. It gets the input that viewers sent while there was none."""
    program.role = ROLE_PROGRAM
    program.shared = shared
    program.input.channel.state = CHANNEL_SHUT   # the viewers' input channels write to the terminal
    shared.program = program
    shared_fit(shared)
    shared_wake_inputs(loop, shared)


cdef inline void shared_wake_inputs(Loop *loop, Shared *shared) noexcept nogil:
    """Wakes all inputs, also those that wait for room, since a program has opened the terminal."""
    cdef Session *viewer = shared.viewers
    while viewer != NULL:
        if viewer.input.queue == &shared.waiting:
            queue_remove(&viewer.input)
        viewer.input.channel.writable = True
        loop_wake(loop, &viewer.input)
        viewer = viewer.next_viewer


cdef inline void shared_announce(Loop *loop, Shared *shared) noexcept nogil:
    """Wakes the viewers for new output, except those whose connections have no room: epoll wakes these later."""
    cdef Session *viewer = shared.viewers
    if shared.announced == shared.output.end:
        return
    shared.announced = shared.output.end
    while viewer != NULL:
        viewer.output.channel.readable = True
        if viewer.output.channel.writable:
            loop_wake(loop, &viewer.output)
        viewer = viewer.next_viewer


cdef inline void shared_show(Loop *loop, Shared *shared, const char *text, size_t size) noexcept nogil:
    """Writes a text of the router to the output, for all viewers."""
    cdef uint8_t *place
    cdef size_t room
    while size > 0:
        place = ring_room(&shared.output, &room)
        room = min(room, size)
        memcpy(place, text, room)
        shared.output.end += room
        text += room
        size -= room
    shared_announce(loop, shared)


cdef inline void shared_wake_next_input(Loop *loop, Shared *shared) noexcept nogil:
    """Wakes the input that has waited longest, since the terminal may have room."""
    cdef Task *task = queue_pop(&shared.waiting)
    if task != NULL:
        task.channel.writable = True
        loop_wake(loop, task)


cdef inline void shared_dismiss(Session *viewer) noexcept nogil:
    """Ends a viewer's session after it has read all output. Its input is ignored from now on."""
    if viewer.output.channel.state == CHANNEL_OPEN:
        viewer.output.channel.state = CHANNEL_DRAINING
    viewer.input.channel.state = CHANNEL_SHUT


cdef inline void shared_end(Loop *loop, Shared *shared) noexcept nogil:
    """Ends the shared terminal after its last program. A client that joins later still gets the scroll-back."""
    cdef Session *viewer = shared.viewers
    shared.ended = True
    shared.restart.at_ns = 0
    while viewer != NULL:
        queue_remove(&viewer.input)
        if viewer.output.channel.state == CHANNEL_SHUT:
            queue_push(&loop.fresh, &viewer.input)   # the viewer has left, and no program will read its input
        shared_dismiss(viewer)
        if viewer.output.channel.writable:
            loop_wake(loop, &viewer.output)
        viewer = viewer.next_viewer


cdef inline void shared_remove(Loop *loop, Session *session) noexcept nogil:
    """Removes a viewer, or the program together with the input that waited for it."""
    cdef Shared *shared = session.shared
    cdef Session *viewer = shared.viewers
    if session.role == ROLE_PROGRAM:
        shared.program = NULL
        while viewer != NULL:
            queue_remove(&viewer.input)
            viewer_drop_input(viewer, &loop.pool)
            viewer = viewer.next_viewer
        return
    if session.next_viewer != NULL:
        session.next_viewer.previous_viewer = session.previous_viewer
    if session.previous_viewer != NULL:
        session.previous_viewer.next_viewer = session.next_viewer
    else:
        shared.viewers = session.next_viewer
    shared_fit(shared)
    shared_wake_next_input(loop, shared)   # it may have been this viewer's turn to write
    if shared.closing and shared.viewers == NULL and shared.program != NULL:
        session_hang_up(loop, shared.program)


cdef inline void shared_close(Loop *loop, Shared *shared) noexcept nogil:
    """Starts no further program, and hangs up the present one when no viewer is left: none can join any more."""
    shared.closing = True
    if shared.program == NULL:
        shared_end(loop, shared)
    elif shared.viewers == NULL:
        session_hang_up(loop, shared.program)


cdef inline void shared_program_ended(Loop *loop, Shared *shared, int64_t started_ns) noexcept nogil:
    """Schedules the start of the next program. If programs end early, the pause grows each time."""
    if loop.stopping or shared.closing:
        shared_end(loop, shared)
        return
    if loop.now_ns - started_ns > RETRY_SLOWEST_MS * <int64_t>MILLISECOND_NS:
        shared.restart.pause_ns = 0
    loop_retry(loop, &shared.restart)
