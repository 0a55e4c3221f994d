"""The streams of exec: the program has a standard input, output and error instead of a terminal.

The streams are pipes, or local sockets if the program runs as another user or in a foreign root: such a program could
hold the lock of a pipe for ever, with a write(2) from a page that never arrives, and block the router when it reads or
closes its end. The two output channels share the client's outbox and connection, and take turns.

The session ends when the leader has exited and both output streams have ended. Other processes can keep a stream open.
When the drain time is over, the router sends only the bytes that the stream holds at that moment.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from fastpty.relay.busy_poll cimport busy_poll_expect_more
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, CHANNEL_TARGET_FAILED, FLUSH_ALL, Channel, channel_drop_bytes,
    channel_ended, channel_fill, channel_flush, channel_held_bytes, channel_holds, channel_open,
)
from fastpty.relay.lifecycle cimport (
    session_close_input, session_finish, session_leader_exited, session_waits_for_memory,
)
from fastpty.relay.loop cimport (
    ABOUT_ERRORS, ABOUT_INPUT, ABOUT_TERMINAL, MILLISECOND_NS, RETRY_FIRST_MS, Loop, loop_is_streaming, loop_retry,
    loop_runnable, loop_set_deadline, loop_source_ready, loop_target_ready, loop_wake, loop_watch_part, loop_watch_room,
)
from fastpty.relay.outbox cimport outbox_reserve
from fastpty.relay.pool cimport BUFFER_BYTES
from fastpty.relay.queue cimport queue_push
from fastpty.relay.state cimport ENDING_EXIT, ENDING_PEER_LEFT, Session, Task
from fastpty.relay.terminal cimport terminal_close_stream, terminal_note_exit
from fastpty.system.linux cimport EPOLLERR, EPOLLHUP, EPOLLOUT, FIONREAD, POLLHUP, POLLIN, ioctl, poll, pollfd
from fastpty.wire.extension cimport NUMBER_STDERR, STREAM_ERRORS, STREAM_INPUT, STREAM_OUTPUT, Stream

cdef enum:
    STREAM_BYTES = 32768      # the most that one frame carries
    STREAM_READS_MOST = 4     # reads from a stream in one step


cdef inline void stream_prepare(Loop *loop, Session *session, Channel *channel) noexcept nogil:
    # A short read does not mean that the stream is empty: a pipe with O_DIRECT returns one packet, and a read from a
    # socket ends after bytes that were sent with a descriptor.
    channel.short_read_means_dry = channel.short_splice_means_dry = False
    channel.splice_bytes = BUFFER_BYTES
    if session.terminal.takes_descriptors:
        channel.guard = &loop.errands


cdef inline int streams_open(Loop *loop, Session *session) noexcept nogil:
    """Relays between the client and the streams of a program that runs now. Returns 0, or -1 with errno set."""
    cdef Task *errors = &session.extension.errors
    session.input.channel.target = session.terminal.input_fd
    session.input.channel.flush_bytes = FLUSH_ALL
    session.output.channel.source = session.terminal.fd
    stream_prepare(loop, session, &session.output.channel)
    channel_open(&errors.channel, session.terminal.error_fd, session.peer.fd)
    stream_prepare(loop, session, &errors.channel)
    errors.channel.outbox = &session.extension.outbox
    errors.channel.number = NUMBER_STDERR
    if session.terminal.error_fd >= 0:
        errors.channel.state = CHANNEL_OPEN
        if loop_watch_part(loop, session, session.terminal.error_fd, ABOUT_ERRORS) < 0:
            return -1
    if loop_watch_part(loop, session, session.terminal.input_fd, ABOUT_INPUT) < 0:
        return -1
    if loop_watch_part(loop, session, session.terminal.fd, ABOUT_TERMINAL) < 0:
        return -1
    loop_source_ready(loop, errors, False)
    streams_stop(loop, session, session.extension.stopped)
    return 0


cdef inline Task *stream_task(Session *session, Stream stream) noexcept nogil:
    return &session.extension.errors if stream == STREAM_ERRORS else &session.output


cdef inline Task *stream_other(Task *task) noexcept nogil:
    """Returns the task of the other output stream."""
    return &task.session.extension.errors if task == &task.session.output else &task.session.output


cdef inline void stream_drop(Loop *loop, Session *session, Stream stream) noexcept nogil:
    """Stops reading an output stream, and closes it. The rest of a frame that is begun is still sent."""
    cdef Task *task = stream_task(session, stream)
    cdef int *fd = &session.terminal.error_fd if stream == STREAM_ERRORS else &session.terminal.fd
    if task.channel.state != CHANNEL_OPEN:
        return
    if not terminal_close_stream(&session.terminal, fd):
        loop_set_deadline(loop, &session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
        return
    task.channel.state = CHANNEL_DRAINING
    task.channel.source = -1
    if session.extension.outbox.frame_left == 0 or session.extension.outbox.frame_number != task.channel.number:
        channel_drop_bytes(&task.channel, &loop.pool)
        if session.extension.outbox.reserved_for == task.channel.number:
            session.extension.outbox.is_reserved = False
    loop_wake(loop, task)


cdef inline void streams_stop(Loop *loop, Session *session, uint8_t stopped) noexcept nogil:
    """Closes the output streams that the client does not want any more. stopped: bit N is stream N."""
    if stopped & (1 << STREAM_OUTPUT):
        stream_drop(loop, session, STREAM_OUTPUT)
    if stopped & (1 << STREAM_ERRORS):
        stream_drop(loop, session, STREAM_ERRORS)


cdef inline void streams_refuse_input(Loop *loop, Session *session) noexcept nogil:
    """Called when no process has the standard input open. Drops the input that waits, and notifies the client."""
    if session.terminal.input_fd >= 0 and not session.finished:
        session_close_input(session)
        session.extension.outbox.ended |= 1 << STREAM_INPUT
        loop_wake(loop, &session.output)


cdef inline void streams_event(Loop *loop, Session *session, uint64_t about, uint32_t events) noexcept nogil:
    """Handles an event of one of the streams."""
    cdef bint hung_up = (events & EPOLLHUP) != 0
    if about >> 56 == ABOUT_TERMINAL:
        loop_source_ready(loop, &session.output, hung_up)
    elif about >> 56 == ABOUT_ERRORS:
        loop_source_ready(loop, &session.extension.errors, hung_up)
    elif events & (EPOLLERR | EPOLLHUP):
        streams_refuse_input(loop, session)
    elif events & EPOLLOUT and session.terminal.input_fd >= 0:
        loop_target_ready(loop, &session.input)


cdef inline bint streams_have_ended(const Session *session) noexcept nogil:
    return (channel_ended(&session.output.channel) and channel_ended(&session.extension.errors.channel))


cdef inline void program_exited(Loop *loop, Session *session) noexcept nogil:
    """Called when the leader has exited. Reaps it; while a program's streams are read, only records its status."""
    if not session.terminal.has_streams or session.finished or session.terminal.pidfd < 0:
        session_leader_exited(loop, session)
    elif session.terminal.has_exited:
        return
    elif not terminal_note_exit(&session.terminal):
        loop_retry(loop, &session.retry_reap)
    elif streams_have_ended(session):
        session_finish(loop, session, ENDING_EXIT)
    else:
        streams_drain(loop, session)


cdef inline void streams_drain(Loop *loop, Session *session) noexcept nogil:
    """Reads what the streams hold and, until the drain time is over, what other processes write."""
    cdef int64_t drain_ns = session.extension.drain_ns
    loop_source_ready(loop, &session.output, False)
    loop_source_ready(loop, &session.extension.errors, False)
    if drain_ns == 0:
        streams_cut(loop, session)
    elif drain_ns > 0:
        loop_set_deadline(loop, &session.extension.drain_by_ns, drain_ns)


cdef inline bint stream_is_open(int fd) noexcept nogil:
    """True if a process has the other end of a stream open."""
    cdef pollfd end
    end.fd = fd
    end.events = POLLIN
    end.revents = 0
    poll(&end, 1, 0)
    return not end.revents & POLLHUP


cdef inline void stream_cut(Loop *loop, Session *session, Task *task) noexcept nogil:
    """If other processes keep a stream open, limits it to the bytes that it holds now."""
    cdef int waiting = 0
    if task.channel.state != CHANNEL_OPEN or not stream_is_open(task.channel.source):
        return
    ioctl(task.channel.source, FIONREAD, &waiting)
    task.channel.allowance = max(waiting, 0)
    session.extension.output_open = True
    # Read until it is empty, as after a hang-up: there may be fewer bytes than FIONREAD has counted, since processes
    # can read from the pipe, and it counts urgent bytes (unix(7)).
    loop_source_ready(loop, task, True)


cdef inline void streams_cut(Loop *loop, Session *session) noexcept nogil:
    """Called when the drain time is over. Limits both streams to the bytes that they hold now."""
    if not session.finished:
        stream_cut(loop, session, &session.output)
        stream_cut(loop, session, &session.extension.errors)


cdef inline void stream_yield(Task *task) noexcept nogil:
    """Between two frames: lets the other stream begin the next one if it has bytes to send.

    Otherwise a stream that never pauses would begin the next frame in the step in which it completes one.
    """
    cdef const Channel *other = &stream_other(task).channel
    if task.channel.outbox.frame_left == 0 and channel_held_bytes(other) > 0:
        outbox_reserve(task.channel.outbox, other.number)


cdef inline void stream_step(Loop *loop, Task *task) noexcept nogil:
    """Serves an output stream once: writes what it holds, reads once more, and writes that."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef bint streams = loop_is_streaming(loop, task)
    cdef uint64_t moved = channel.read_bytes + channel.bytes
    cdef uint64_t read_before = channel.read_bytes
    if channel.writable:
        channel_flush(channel, &loop.pool)
    stream_yield(task)
    if channel.state == CHANNEL_OPEN and channel.readable and channel_held_bytes(channel) == 0:
        channel_fill(channel, &loop.pool, min(<size_t>STREAM_BYTES, <size_t>loop.pool.buffer_bytes),
                     STREAM_READS_MOST, loop.splice and streams)
        task.last_transfer_bytes = channel.read_bytes - read_before
        if streams:
            busy_poll_expect_more(&loop.busy_poll)
        if channel.writable:
            channel_flush(channel, &loop.pool)
    if channel.read_bytes + channel.bytes != moved:
        session.active_ns = loop.now_ns
    if channel.state == CHANNEL_TARGET_FAILED:
        session_finish(loop, session, ENDING_PEER_LEFT)
        return
    if channel.state != CHANNEL_OPEN and channel.state != CHANNEL_SHUT and channel_held_bytes(channel) == 0:
        stream_end(loop, session, task)
    if not session.finished:
        stream_settle(loop, task)


cdef inline void stream_end(Loop *loop, Session *session, Task *task) noexcept nogil:
    """Called when all output of a stream is sent. Tells the client, and ends the session if it was the last stream."""
    task.channel.state = CHANNEL_SHUT
    session.extension.outbox.ended |= 1 << (STREAM_ERRORS if task == &session.extension.errors else STREAM_OUTPUT)
    if session.terminal.has_exited and streams_have_ended(session):
        session_finish(loop, session, ENDING_EXIT)
    else:
        loop_wake(loop, &session.output)


cdef inline void stream_settle(Loop *loop, Task *task) noexcept nogil:
    """After a step: waits for room or for the next turn, and wakes the other stream."""
    cdef Session *session = task.session
    if channel_holds(&task.channel) and not task.channel.writable:
        loop_watch_room(loop, task, True)
    elif not session_waits_for_memory(loop, task) and task.queue == NULL and loop_runnable(task):
        queue_push(&loop.bulk, task)
    if not session.finished:
        loop_wake(loop, stream_other(task))
