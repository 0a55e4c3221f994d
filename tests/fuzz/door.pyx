"""The relay's C part for a fuzzer: does what `_relay.pyx` does around the loop, without Python.

Cython compiles it to C, which is linked with the simulated machine. The module itself is never imported.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastpty.relay.begin cimport session_new, session_open, session_release, session_start
from fastpty.relay.busy_poll cimport clock_ns
from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_SHUT
from fastpty.relay.deadlines cimport deadlines_meet
from fastpty.relay.events cimport events_handle
from fastpty.relay.greeting cimport (
    extension_open, greetings_stop, session_begin_program, session_welcome,
)
from fastpty.relay.hang_up cimport session_background_ended, sessions_stop
from fastpty.relay.loop cimport (
    EVENTS_MOST, Loop, loop_check_returned, loop_timeout_ms, loop_wait, loop_wake, loop_watch_session,
)
from fastpty.relay.pool cimport Buffer, buffer_lend, pool_drop_spares
from fastpty.relay.queue cimport queue_pop
from fastpty.relay.request cimport request_free
from fastpty.relay.state cimport ENDING_EXIT, Session, session_output_bytes
from fastpty.relay.step cimport step_queues
from fastpty.relay.loop cimport Heartbeat
from fastpty.system.linux cimport epoll_event, winsize

cdef extern from "kernel.h" nogil:
    int64_t kernel_wants_program(int world, int *terminal, int *leader, int *pidfd, int *report, int *streams)
    void kernel_ended(int world, bint exited, uint64_t bytes_in, uint64_t bytes_out)

cdef Loop loop
cdef Heartbeat heartbeat


cdef public void door_open(int epoll_fd, bint splice, int64_t idle_ns, int64_t grace_ns,
                           int64_t busy_poll_ns, uint32_t buffer_bytes) noexcept nogil:
    memset(&loop, 0, sizeof(loop))
    loop.epoll_fd = epoll_fd
    loop.mark_fd = -1
    loop.events_most = 64
    loop.pool.buffer_bytes = buffer_bytes
    loop.splice = splice
    loop.errands.closed = &loop.errands.sent
    loop.heartbeat = &heartbeat
    loop.last_number = &loop.own_number
    loop.idle_ns = idle_ns
    loop.grace_ns = grace_ns
    loop.busy_poll.limit_ns = busy_poll_ns
    loop.now_ns = clock_ns()


cdef public bint door_session(int world, int peer, int terminal, int leader, int pidfd, bint framed) noexcept nogil:
    """Begins a session with these descriptors. False: memory is short, and they still belong to the caller."""
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


cdef public bint door_extended_session(int world, int peer) noexcept nogil:
    """Begins a session of the extension, which has no program yet. False as in door_session."""
    cdef uint8_t nonce[8]
    cdef Session *session = session_new(&loop)
    memset(nonce, world, sizeof(nonce))
    if session != NULL and not extension_open(&loop, session, nonce):
        session_release(&loop, session)
        session = NULL
    if session == NULL:
        return False
    session.number = <uint64_t>world
    session.terminal.errands = &loop.errands
    session_welcome(&loop, session, 1)
    session_start(&loop, session, peer, False)
    return True


cdef void door_start_requested() noexcept nogil:
    cdef Session *session
    cdef winsize size
    cdef int leader
    cdef int streams[3]
    if loop.requested.length > 0:
        session = queue_pop(&loop.requested).session
        size = session.terminal.size
        request_free(&loop, session.extension)
        session.extension.drain_ns = kernel_wants_program(
            <int>session.number, &session.terminal.fd, &leader, &session.terminal.pidfd,
            &session.extension.report_fd, streams)
        if streams[0] >= 0:
            session.terminal.has_streams = True
            session.terminal.input_fd, session.terminal.fd = streams[0], streams[1]
            session.terminal.error_fd = streams[2]
        session.terminal.leader = leader
        session_begin_program(&loop, session, &size)


cdef public bint door_refusal(int world, int peer, const uint8_t *text, uint32_t size) noexcept nogil:
    """Begins a session without a terminal, whose only output is `text`. False as in door_session."""
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
    door_start_requested()
    if 0 < loop.deferred_until_ns <= loop.now_ns:
        loop.deferred_until_ns = 0   # there is no log to catch up with
    if 0 < loop.next_deadline_ns <= loop.now_ns:
        deadlines_meet(&loop)
    while loop.done != NULL:
        session = loop.done
        loop.done = session.next_done
        kernel_ended(<int>session.number, session.ending == ENDING_EXIT, session.input.channel.bytes,
                     session_output_bytes(session))
        session_release(&loop, session)


cdef public void door_stop() noexcept nogil:
    """What SIGTERM does: the first call begins a stop, the second cuts it short."""
    loop.now_ns = clock_ns()
    sessions_stop(&loop)
    greetings_stop(&loop)


cdef public void door_background_ended(int world) noexcept nogil:
    """The errand is done that hangs up the background of this world's session."""
    cdef uint32_t slot
    loop.now_ns = clock_ns()
    for slot in range(loop.slots):
        if loop.sessions[slot] != NULL and loop.sessions[slot].number == <uint64_t>world:
            session_background_ended(&loop, loop.sessions[slot])


cdef public uint32_t door_live() noexcept nogil:
    return loop.live


cdef public void door_close() noexcept nogil:
    """Checks after the last session that every buffer and pipe was returned, and frees all memory."""
    loop_check_returned(&loop)
    pool_drop_spares(&loop.pool)
    free(loop.sessions)
