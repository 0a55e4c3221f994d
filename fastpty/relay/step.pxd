"""Serving the channels: what one step of a channel does."""

from libc.stdint cimport uint64_t

from fastpty.relay.busy_poll cimport busy_poll_expect_answer, busy_poll_expect_more, busy_poll_pays
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, CHANNEL_SOURCE_FAILED, CHANNEL_TARGET_FAILED, Channel,
    channel_drop, channel_fill, channel_flush, channel_has_frames, channel_held_bytes, channel_holds,
)
from fastpty.relay.input cimport input_begin_parse, input_parse
from fastpty.relay.lifecycle cimport (
    session_end_input, session_finish, session_linger, session_output_ended, session_starves,
)
from fastpty.relay.loop cimport STREAM_FROM_BYTES, Loop, loop_runnable, loop_streams, loop_watch_room
from fastpty.relay.peer cimport peer_reject_stray
from fastpty.relay.queue cimport queue_pop, queue_push
from fastpty.relay.shared_step cimport shared_step
from fastpty.relay.state cimport ENDING_PEER_LEFT, ROLE_PRIVATE, Session, Task

cdef enum:
    GATHER_BYTES = 32768               # from a pty before a write to the peer (docs/performance.md),
    GATHER_ALONE_BYTES = 4096          # and of a lone stream whose next piece is waited for without sleep
    READS_MOST = 4                     # of a quiet source in one turn


cdef inline void step_queues(Loop *loop) noexcept nogil:
    cdef Task *task = queue_pop(&loop.fresh)
    while task != NULL:
        step_channel(loop, task)
        task = queue_pop(&loop.fresh)
    task = queue_pop(&loop.bulk)
    if task != NULL:
        step_channel(loop, task)


cdef inline void step_channel(Loop *loop, Task *task) noexcept nogil:
    """Serves one channel once: what it holds, then one transfer, then what follows from its state."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint streams = loop_streams(loop, task)
    if not channel.starved:
        task.starved_ns = 0
    loop.transfers += 1
    task.served_at = loop.transfers
    if session.over:
        session_linger(loop, session)
        return
    if session.role != ROLE_PRIVATE:
        shared_step(loop, task, streams)
        return
    session.active_ns = loop.now_ns
    if not (channel.gathering and channel.readable):
        channel_flush(channel, &loop.pool)
    if channel_has_frames(channel):
        input_parse(session)
        channel_flush(channel, &loop.pool)
    elif channel.state == CHANNEL_OPEN and channel.readable and (channel.gathering or not channel_holds(channel)):
        step_transfer(loop, task, streams)
    if session.over:
        return
    if channel.state == CHANNEL_DRAINING and not channel_holds(channel):
        channel.state = CHANNEL_SHUT
        if task == &session.input:
            session_end_input(loop, session)
    step_settle(loop, task)


cdef inline size_t step_gather_bytes(const Loop *loop) noexcept nogil:
    """How much of a stream is gathered before it is written.

    One that is alone flows best in small pieces, since program, router and client then work side by side; if the
    router sleeps in between, or others stream too, each write that is saved counts more.
    """
    cdef bint is_alone = loop.bulk.length == 0 and busy_poll_pays(&loop.busy_poll)
    return min(<size_t>(GATHER_ALONE_BYTES if is_alone else GATHER_BYTES), <size_t>loop.pool.buffer_bytes)


cdef inline void step_transfer(Loop *loop, Task *task, bint streams) noexcept nogil:
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
    cdef size_t most_bytes = loop.pool.buffer_bytes if is_input else step_gather_bytes(loop)
    channel.gathering = streams and not is_input
    channel_fill(channel, &loop.pool, most_bytes, 1 if channel.gathering else READS_MOST, splice)
    task.last_transfer_bytes = channel.taken_bytes - taken_before
    if is_input and taken_before == 0 and peer_reject_stray(loop, session):
        return
    if channel.state != CHANNEL_OPEN or channel.starved or not 0 < channel_held_bytes(channel) < most_bytes:
        channel.gathering = False
    if framed and channel.buffer != NULL:
        input_begin_parse(session)
    if not channel.gathering:
        channel_flush(channel, &loop.pool)
    if streams and not is_input:
        busy_poll_expect_more(&loop.busy_poll)
    elif is_input and 0 < task.last_transfer_bytes < STREAM_FROM_BYTES:
        busy_poll_expect_answer(&loop.busy_poll)


cdef inline void step_settle(Loop *loop, Task *task) noexcept nogil:
    """After a step: the session's end if that follows, else waiting for room, or for the next turn."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint is_input = task == &session.input
    if channel.state == (CHANNEL_SOURCE_FAILED if is_input else CHANNEL_TARGET_FAILED):
        session_finish(loop, session, ENDING_PEER_LEFT)
        return
    if not is_input and (channel.state == CHANNEL_SHUT or channel.state == CHANNEL_SOURCE_FAILED):
        session_output_ended(loop, session)
        return
    if channel.state == CHANNEL_TARGET_FAILED:
        # The terminal is hung up; the output channel will find its end and finish the session in order.
        channel_drop(channel, &loop.pool)
    if channel_holds(channel) and not channel.writable and not channel_has_frames(channel):
        loop_watch_room(loop, task, True)
    elif not session_starves(loop, task) and loop_runnable(task):
        queue_push(&loop.bulk, task)
