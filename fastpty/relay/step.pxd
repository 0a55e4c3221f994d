"""Serving the channels: what one event and one step of a channel do."""

from libc.stdint cimport uint32_t, uint64_t

from fastpty.relay.busy_poll cimport busy_poll_expect_answer, busy_poll_expect_more, busy_poll_pays
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING,
    CHANNEL_OPEN,
    CHANNEL_SHUT,
    CHANNEL_SOURCE_FAILED,
    CHANNEL_TARGET_FAILED,
    Channel,
    channel_drop,
    channel_fill,
    channel_flush,
    channel_has_frames,
    channel_held_bytes,
    channel_holds,
)
from fastpty.relay.lifecycle cimport (
    loop_doubt,
    loop_end_input,
    loop_end_stray,
    loop_finish,
    loop_leader_exited,
    loop_linger,
    loop_output_ended,
    loop_starves,
)
from fastpty.system.linux cimport EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from fastpty.relay.loop cimport (
    ABOUT_LEADER,
    ABOUT_TERMINAL,
    STREAM_FROM_BYTES,
    Loop,
    loop_runnable,
    loop_source_ready,
    loop_streams,
    loop_target_ready,
    loop_watch_room,
)
from fastpty.relay.state cimport (
    ENDING_PEER_LEFT,
    ROLE_PRIVATE,
    ROLE_VIEWER,
    Session,
    Task,
    queue_pop,
    queue_push,
    session_begin_unwrap,
    session_unwrap,
)
from fastpty.relay.shared cimport shared_next_input
from fastpty.relay.shared_step cimport shared_step, viewer_left

cdef enum:
    GATHER_BYTES = 32768               # from a pty before a write to the peer (docs/performance.md),
    GATHER_ALONE_BYTES = 4096          # and of a lone stream whose next piece is waited for without sleep
    READS_MOST = 4                     # of a quiet source in one turn


cdef inline void loop_serve(Loop *loop) noexcept nogil:
    cdef Task *task = queue_pop(&loop.fresh)
    while task != NULL:
        loop_step(loop, task)
        task = queue_pop(&loop.fresh)
    task = queue_pop(&loop.bulk)
    if task != NULL:
        loop_step(loop, task)


cdef inline void loop_step(Loop *loop, Task *task) noexcept nogil:
    """Serves one channel once: what it holds, then one transfer, then what follows from its state."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint streams = loop_streams(loop, task)
    if not channel.starved:
        task.starved_ns = 0
    loop.transfers += 1
    task.served_at = loop.transfers
    if session.over:
        loop_linger(loop, session)
        return
    if session.role != ROLE_PRIVATE:
        shared_step(loop, task, streams)
        return
    session.active_ns = loop.now_ns
    if not (channel.gathering and channel.readable):
        channel_flush(channel, &loop.pool)
    if channel_has_frames(channel):
        session_unwrap(session)
        channel_flush(channel, &loop.pool)
    elif channel.state == CHANNEL_OPEN and channel.readable and (channel.gathering or not channel_holds(channel)):
        loop_transfer(loop, task, streams)
    if session.over:
        return
    if channel.state == CHANNEL_DRAINING and not channel_holds(channel):
        channel.state = CHANNEL_SHUT
        if task == &session.input:
            loop_end_input(loop, session)
    loop_settle(loop, task)


cdef inline size_t loop_gather_bytes(const Loop *loop) noexcept nogil:
    """How much of a stream is gathered before it is written.

    One that is alone flows best in small pieces, since program, router and client then work side by side; if the
    router sleeps in between, or others stream too, each write that is saved counts more.
    """
    cdef bint is_alone = loop.bulk.length == 0 and busy_poll_pays(&loop.busy_poll)
    return min(<size_t>(GATHER_ALONE_BYTES if is_alone else GATHER_BYTES), <size_t>loop.pool.buffer_bytes)


cdef inline void loop_transfer(Loop *loop, Task *task, bint streams) noexcept nogil:
    """Reads or splices as far as the source gives, and writes as far as the target takes.

    Of streaming output it takes one read a turn, for a pty gives little at a time, and writes when it has gathered
    much or when by its next turn nothing more has come. So others wait for one read only, and the client is woken
    less often. A read that finds the pty empty is avoided: it would wait for the kernel's worker behind the tty.
    """
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint is_input = task == &session.input
    cdef bint framed = is_input and session.peer.framed
    cdef uint64_t taken_before = channel.taken_bytes
    # A pipe costs more than a copy for a few bytes; only what streams is spliced.
    cdef bint splice = loop.splice and streams and not framed
    cdef size_t most_bytes = loop.pool.buffer_bytes if is_input else loop_gather_bytes(loop)
    channel.gathering = streams and not is_input
    channel_fill(channel, &loop.pool, most_bytes, 1 if channel.gathering else READS_MOST, splice)
    task.last_transfer_bytes = channel.taken_bytes - taken_before
    if is_input and taken_before == 0 and loop_end_stray(loop, session):
        return
    if channel.state != CHANNEL_OPEN or channel.starved or not 0 < channel_held_bytes(channel) < most_bytes:
        channel.gathering = False
    if framed and channel.buffer != NULL:
        session_begin_unwrap(session)
    if not channel.gathering:
        channel_flush(channel, &loop.pool)
    if streams and not is_input:
        busy_poll_expect_more(&loop.busy_poll)
    elif is_input and 0 < task.last_transfer_bytes < STREAM_FROM_BYTES:
        busy_poll_expect_answer(&loop.busy_poll)


cdef inline void loop_settle(Loop *loop, Task *task) noexcept nogil:
    """After a step: the session's end if that follows, else waiting for room, or for the next turn."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint is_input = task == &session.input
    if channel.state == (CHANNEL_SOURCE_FAILED if is_input else CHANNEL_TARGET_FAILED):
        loop_finish(loop, session, ENDING_PEER_LEFT)
        return
    if not is_input and (channel.state == CHANNEL_SHUT or channel.state == CHANNEL_SOURCE_FAILED):
        loop_output_ended(loop, session)
        return
    if channel.state == CHANNEL_TARGET_FAILED:
        # The terminal is hung up; the output channel will find its end and finish the session in order.
        channel_drop(channel, &loop.pool)
    if channel_holds(channel) and not channel.writable and not channel_has_frames(channel):
        loop_watch_room(loop, task, True)
    elif not loop_starves(loop, task) and loop_runnable(task):
        queue_push(&loop.bulk, task)


cdef inline Session *loop_session(const Loop *loop, uint64_t about) noexcept nogil:
    """The session that an event is about; NULL if it is gone, also when another has its slot."""
    cdef uint32_t slot = <uint32_t>about
    cdef Session *session = loop.sessions[slot] if slot < loop.slots else NULL
    if session != NULL and session.generation == ((about >> 32) & 0xFFFFFF):
        return session
    return NULL


cdef inline void loop_session_event(Loop *loop, Session *session, uint64_t about, uint32_t events) noexcept nogil:
    if about >> 56 == ABOUT_LEADER:
        loop_leader_exited(loop, session)
    elif about >> 56 == ABOUT_TERMINAL:
        if events & (EPOLLIN | EPOLLHUP | EPOLLERR):
            loop_source_ready(loop, &session.output, (events & EPOLLHUP) != 0)
        if events & EPOLLOUT:
            loop_target_ready(loop, &session.input)
            if session.role != ROLE_PRIVATE:
                shared_next_input(loop, session.shared)
    elif events & (EPOLLHUP | EPOLLERR):
        if session.role == ROLE_VIEWER and not session.over:
            viewer_left(loop, session)
            return
        if session.over:
            # Not closed with bytes unread: TCP would throw away output that the client has not read yet.
            loop_source_ready(loop, &session.input, True)
            return
        loop_finish(loop, session, ENDING_PEER_LEFT)
    else:
        if events & EPOLLPRI:
            # A read ends at urgent data, however much is behind it: from now on only EAGAIN tells that all is read.
            session.input.channel.short_read_tells = False
        if events & EPOLLRDHUP:
            loop_doubt(loop, session)
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI):
            loop_source_ready(loop, &session.input, (events & EPOLLRDHUP) != 0)
        if events & EPOLLOUT:
            loop_target_ready(loop, &session.output)
