"""A door to the relay's C part for the fuzzers: what `_relay.pyx` does around the loop, without Python.

Compiled to C and linked with a simulated kernel (kernel.c); the module itself is never imported.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastpty.relay.begin cimport session_new, session_open, session_release
from fastpty.relay.busy_poll cimport clock_ns
from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_SHUT
from fastpty.relay.deadlines cimport deadlines_meet
from fastpty.relay.events cimport events_handle
from fastpty.relay.hang_up cimport sessions_stop
from fastpty.relay.loop cimport (
    EVENTS_MOST, EVENTS_USUAL, Loop, loop_check_returned, loop_timeout_ms, loop_wait, loop_wake, loop_watch_session,
)
from fastpty.relay.pool cimport Buffer, buffer_lend, pool_drop_spares
from fastpty.relay.state cimport ENDING_EXIT, Session
from fastpty.relay.step cimport step_queues
from fastpty.system.linux cimport epoll_event
from fastpty.wire.uwsgi cimport (
    FRAME_COLUMNS, FRAME_IGNORED, FRAME_ROWS, FRAME_SIGNAL, FRAME_STDIN, Frame, FrameParser, frame_next,
)

cdef extern from "kernel.h" nogil:
    void kernel_ended(int world, bint exited, uint64_t bytes_in, uint64_t bytes_out)

cdef Loop loop


cdef public void door_open(int epoll_fd, bint splice, int64_t idle_ns, int64_t grace_ns,
                           int64_t busy_poll_ns, uint32_t buffer_bytes) noexcept nogil:
    memset(&loop, 0, sizeof(loop))
    loop.epoll_fd = epoll_fd
    loop.events_most = EVENTS_USUAL
    loop.pool.buffer_bytes = buffer_bytes
    loop.splice = splice
    loop.errands.closed = &loop.errands.sent
    loop.idle_ns = idle_ns
    loop.grace_ns = grace_ns
    loop.busy_poll.limit_ns = busy_poll_ns
    loop.now_ns = clock_ns()


cdef public bint door_session(int world, int peer, int terminal, int leader, int pidfd, bint framed) noexcept nogil:
    """False: memory is short, and nothing was taken."""
    cdef Session *session = session_new(&loop)
    if session == NULL:
        return False
    session.number = <uint64_t>world
    session.terminal.leader = leader
    session.terminal.pidfd = pidfd
    session.terminal.errands = &loop.errands
    session_open(session, peer, framed, terminal)
    loop_watch_session(&loop, session)
    loop_wake(&loop, &session.output)
    return True


cdef public bint door_refusal(int world, int peer, const uint8_t *text, uint32_t size) noexcept nogil:
    """A session without a terminal, whose only output is `text`. False as above."""
    cdef Session *session = session_new(&loop)
    cdef Buffer *buffer
    if session == NULL:
        return False
    session.number = <uint64_t>world
    session.terminal.pidfd = -1
    session.terminal.fd = -1
    buffer = buffer_lend(&loop.pool)
    session.input.channel.state = CHANNEL_SHUT
    session.output.channel.state = CHANNEL_DRAINING
    if buffer != NULL:
        memcpy(buffer.data, text, size)
        buffer.end = size
        session.output.channel.buffer = buffer
    session_open(session, peer, False, -1)
    loop_watch_session(&loop, session)
    loop_wake(&loop, &session.output)
    return True


cdef public int door_timeout_ms() noexcept nogil:
    return loop_timeout_ms(&loop)


cdef public void door_turn() noexcept nogil:
    cdef epoll_event events[EVENTS_MOST]
    cdef Session *session
    cdef int count = loop_wait(&loop, events)
    events_handle(&loop, events, count)
    step_queues(&loop)
    if 0 < loop.next_deadline_ns <= loop.now_ns:
        deadlines_meet(&loop)
    while loop.done != NULL:
        session = loop.done
        loop.done = session.next_done
        kernel_ended(<int>session.number, session.ending == ENDING_EXIT, session.input.channel.bytes,
                     session.output.channel.bytes)
        session_release(&loop, session)


cdef public void door_stop() noexcept nogil:
    """The first time as SIGTERM does, the second time at once."""
    loop.now_ns = clock_ns()
    sessions_stop(&loop)


cdef public uint32_t door_live() noexcept nogil:
    return loop.live


cdef public void door_close() noexcept nogil:
    """All sessions have ended: all that was lent must be back."""
    loop_check_returned(&loop)
    pool_drop_spares(&loop.pool)
    free(loop.sessions)


# -- the frame parser alone --

cdef FrameParser parser


cdef public void door_parser_reset() noexcept nogil:
    memset(&parser, 0, sizeof(parser))


cdef public size_t door_parse(const uint8_t *data, size_t size, int *kind, const uint8_t **payload,
                              uint32_t *value) noexcept nogil:
    """One frame_next. kind: 0 nothing, 1 stdin, 2 signal, 3 rows, 4 columns, 5 ignored; value: or stdin's size."""
    cdef Frame frame
    cdef size_t used = frame_next(&parser, data, size, &frame)
    kind[0] = 0
    payload[0] = frame.payload
    value[0] = frame.value
    if frame.kind == FRAME_STDIN:
        kind[0] = 1
        value[0] = frame.size
    elif frame.kind == FRAME_SIGNAL:
        kind[0] = 2
    elif frame.kind == FRAME_ROWS:
        kind[0] = 3
    elif frame.kind == FRAME_COLUMNS:
        kind[0] = 4
    elif frame.kind == FRAME_IGNORED:
        kind[0] = 5
    return used
