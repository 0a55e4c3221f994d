"""One step of a channel: it writes the bytes that it holds and reads more. Its new state decides what follows."""

from libc.stdint cimport uint64_t

from fastpty.relay.busy_poll cimport busy_poll_expect_answer, busy_poll_expect_more, busy_poll_pays
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, CHANNEL_SOURCE_FAILED, CHANNEL_TARGET_FAILED, Channel,
    channel_ended, channel_fill, channel_flush, channel_has_frames, channel_held_bytes, channel_holds,
)
from fastpty.relay.extension_input cimport extension_step_input
from fastpty.relay.input cimport input_begin_parse, input_parse
from fastpty.relay.lifecycle cimport (
    session_await_room, session_end_input, session_finish, session_keep_input, session_linger, session_output_ended,
    session_send_final, session_waits_for_memory,
)
from fastpty.relay.loop cimport STREAM_FROM_BYTES, Loop, loop_is_streaming, loop_runnable
from fastpty.relay.peer cimport peer_reject_stray
from fastpty.relay.queue cimport queue_pop, queue_push
from fastpty.relay.shared_step cimport shared_step
from fastpty.relay.state cimport ENDING_PEER_LEFT, ROLE_PRIVATE, Session, Task
from fastpty.relay.streams cimport stream_step

cdef enum:
    GATHER_BYTES = 32768               # a stream of output gathers this much before a write (docs/performance.md),
    GATHER_ALONE_BYTES = 4096          # or this much if it is the only stream and busy polling pays
    READS_MOST = 4                     # reads from a quiet source in one turn


cdef inline void step_queues(Loop *loop) noexcept nogil:
    """Serves all channels of the queue `fresh` and one of `bulk`."""
    cdef Task *task = queue_pop(&loop.fresh)
    while task != NULL:
        step_channel(loop, task)
        task = queue_pop(&loop.fresh)
    task = queue_pop(&loop.bulk)
    if task != NULL:
        step_channel(loop, task)


cdef inline void step_channel(Loop *loop, Task *task) noexcept nogil:
    """Serves one channel once."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint streams = loop_is_streaming(loop, task)
    cdef uint64_t moved = channel.read_bytes + channel.bytes
    if not channel.no_memory:
        task.no_memory_since_ns = 0
    loop.transfers += 1
    task.served_at = loop.transfers
    if session.finished:
        if task == &session.input:
            session_linger(loop, session)
        else:
            session_send_final(loop, session, False)
        return
    if session.role != ROLE_PRIVATE:
        shared_step(loop, task, streams)
        return
    if session.extension != NULL and task == &session.input:
        extension_step_input(loop, task)
        return
    if session.terminal.has_streams:
        stream_step(loop, task)
        return
    if channel.writable and not (channel.gathering and channel.readable):
        channel_flush(channel, &loop.pool)
    if channel_has_frames(channel):
        input_parse(session)
        if channel.writable:
            channel_flush(channel, &loop.pool)
    elif channel.state == CHANNEL_OPEN and channel.readable and (channel.gathering or not channel_holds(channel)):
        step_transfer(loop, task, streams)
    if session.extension == NULL or channel.read_bytes + channel.bytes != moved:
        session.active_ns = loop.now_ns   # frames that the router sends are no activity
    if session.finished:
        return
    if channel.state == CHANNEL_DRAINING and not channel_holds(channel):
        channel.state = CHANNEL_SHUT
        if task == &session.input:
            session_end_input(loop, session)
    step_settle(loop, task)


cdef inline size_t step_gather_bytes(const Loop *loop) noexcept nogil:
    """Returns how many bytes a stream of output gathers before it writes.

    A single stream is fastest in small pieces: program, router and client then work at the same time. If there are
    more streams, or if the router sleeps between pieces, fewer writes are better.
    """
    cdef bint is_alone = loop.bulk.length == 0 and busy_poll_pays(&loop.busy_poll)
    return min(<size_t>(GATHER_ALONE_BYTES if is_alone else GATHER_BYTES), <size_t>loop.pool.buffer_bytes)


cdef inline void step_transfer(Loop *loop, Task *task, bint streams) noexcept nogil:
    """Reads or splices until the source is empty, and writes until the target is full.

    A stream of output is read once a turn: a pty returns little at a time, and the other sessions wait for one read
    only. It is written when it has gathered enough, or when nothing more has come by its next turn, so the client
    wakes up less often. A read that finds a pty empty is avoided, since it waits for the kernel's tty worker.
    """
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint is_input = task == &session.input
    cdef bint framed = is_input and session.peer.framed
    cdef uint64_t read_before = channel.read_bytes
    # For a few bytes, splicing through a pipe costs more than a copy.
    cdef bint splice = loop.splice and streams and not framed
    cdef size_t most_bytes = loop.pool.buffer_bytes if is_input else step_gather_bytes(loop)
    channel.gathering = streams and not is_input
    channel_fill(channel, &loop.pool, most_bytes, 1 if channel.gathering else READS_MOST, splice)
    task.last_transfer_bytes = channel.read_bytes - read_before
    if is_input and read_before == 0 and peer_reject_stray(loop, session):
        return
    if channel.state != CHANNEL_OPEN or channel.no_memory or not 0 < channel_held_bytes(channel) < most_bytes:
        channel.gathering = False
    if framed and channel.buffer != NULL:
        input_begin_parse(session)
    if channel.writable and not channel.gathering:
        channel_flush(channel, &loop.pool)
    if streams and not is_input:
        busy_poll_expect_more(&loop.busy_poll)
    elif is_input and 0 < task.last_transfer_bytes < STREAM_FROM_BYTES:
        busy_poll_expect_answer(&loop.busy_poll)


cdef inline void step_settle(Loop *loop, Task *task) noexcept nogil:
    """After a step: ends the session, waits for room, or puts the channel back into the run queue."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint is_input = task == &session.input
    if channel.state == (CHANNEL_SOURCE_FAILED if is_input else CHANNEL_TARGET_FAILED):
        session_finish(loop, session, ENDING_PEER_LEFT)
        return
    if not is_input and channel_ended(channel):
        session_output_ended(loop, session)
        return
    if channel.state == CHANNEL_TARGET_FAILED:
        session_keep_input(loop, session, channel)
    if channel_holds(channel) and not channel.writable and not channel_has_frames(channel):
        session_await_room(loop, task)
    elif not session_waits_for_memory(loop, task) and loop_runnable(task):
        queue_push(&loop.bulk, task)
