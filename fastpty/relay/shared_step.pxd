"""The steps of a shared terminal's channels: the program's output, a viewer's input, and a viewer's output.

The program never waits for a viewer. A viewer whose connection has no room falls behind. When it has room again, it
goes on with the oldest byte that the ring still holds.
"""

from libc.stdint cimport int64_t, uint64_t, uint8_t

from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, CHANNEL_SOURCE_FAILED, CHANNEL_TARGET_FAILED, Channel,
    channel_drop, channel_fill, channel_flush, channel_has_frames, channel_held_bytes, channel_holds, channel_limit,
    channel_note_read, channel_note_write,
)
from fastpty.relay.input cimport input_begin_parse, input_parse
from fastpty.relay.lifecycle cimport (
    LINGER_MS, session_finish, session_keep_input, session_output_ended, session_waits_for_memory,
)
from fastpty.relay.loop cimport (
    MILLISECOND_NS, Loop, loop_runnable, loop_set_deadline, loop_source_ready, loop_watch_room,
)
from fastpty.relay.peer cimport peer_reject_stray
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.ring cimport ring_oldest, ring_piece, ring_room
from fastpty.relay.shared cimport shared_announce, shared_wake_next_input
from fastpty.relay.shared_size cimport window_forget
from fastpty.relay.state cimport ENDING_EXIT, ENDING_PEER_LEFT, ROLE_PROGRAM, Session, Shared, Task
from fastpty.system.linux cimport read, write

cdef enum:
    ANNOUNCE_BYTES = 32768    # a stream gathers this much before the viewers are woken
    QUIET_READS_MOST = 4      # reads from a quiet program in one turn
    WRITE_MOST_BYTES = 65536  # written to a viewer in one turn, while the others wait


cdef inline void shared_step(Loop *loop, Task *task, bint streams) noexcept nogil:
    if task.session.role == ROLE_PROGRAM:
        program_step(loop, task, streams)
    elif task == &task.session.input and task.session.is_read_only:
        viewer_discard_step(loop, task)
    elif task == &task.session.input:
        viewer_input_step(loop, task)
    else:
        viewer_output_step(loop, task)


cdef inline void program_step(Loop *loop, Task *task, bint streams) noexcept nogil:
    """Reads output into the ring. Wakes the viewers at once, or for a stream after ANNOUNCE_BYTES or a pause."""
    cdef Channel *channel = &task.channel
    cdef Session *session = task.session
    cdef Shared *shared = session.shared
    cdef uint64_t read_before = channel.read_bytes
    if channel.state == CHANNEL_OPEN and channel.readable:
        program_read(channel, shared, 1 if streams else QUIET_READS_MOST)
        task.last_transfer_bytes = channel.read_bytes - read_before
        channel.gathering = (streams and channel.state == CHANNEL_OPEN and not channel.no_memory
                             and shared.output.end - shared.announced < ANNOUNCE_BYTES)
    else:
        channel.gathering = False
    if not channel.gathering:
        shared_announce(loop, shared)
    if channel.state != CHANNEL_OPEN:
        channel.state = CHANNEL_SHUT
        session_output_ended(loop, session)
    elif not session_waits_for_memory(loop, task) and (channel.gathering or loop_runnable(task)):
        queue_push(&loop.bulk, task)


cdef inline void program_read(Channel *channel, Shared *shared, int reads) noexcept nogil:
    """Reads into the ring, `reads` times or until the terminal is empty."""
    cdef bint more = True
    cdef uint8_t *place
    cdef size_t room
    cdef ssize_t got
    while more and reads > 0:
        place = ring_room(&shared.output, &room)
        room = channel_limit(channel, room)
        got = read(channel.source, place, room) if room > 0 else 0
        if got > 0:
            shared.output.end += <uint64_t>got
            channel.bytes += <uint64_t>got
        more = channel_note_read(channel, got, room, channel.short_read_means_dry)
        reads -= 1


cdef inline void viewer_output_step(Loop *loop, Task *task) noexcept nogil:
    """Writes a piece of the output that the viewer has not seen yet."""
    cdef Channel *channel = &task.channel
    cdef Session *session = task.session
    cdef Shared *shared = session.shared
    cdef uint64_t oldest = ring_oldest(&shared.output)
    cdef const uint8_t *piece
    cdef size_t size
    cdef ssize_t sent
    if session.position < oldest:
        session.lagged_bytes += oldest - session.position
        session.position = oldest
    piece = ring_piece(&shared.output, session.position, &size)
    size = min(size, <size_t>WRITE_MOST_BYTES)
    task.last_transfer_bytes = 0
    if size > 0:
        sent = write(channel.target, piece, size)
        if sent > 0:
            session.position += <uint64_t>sent
            task.last_transfer_bytes = <uint64_t>sent
        channel_note_write(channel, sent, size)
    channel.readable = session.position < shared.output.end
    if channel.state == CHANNEL_TARGET_FAILED:
        viewer_left(loop, session)
    elif channel.state == CHANNEL_DRAINING and not channel.readable:
        session_finish(loop, session, ENDING_EXIT)
    elif channel.readable and not channel.writable:
        loop_watch_room(loop, task, True)
    elif not session_waits_for_memory(loop, task) and channel.readable:
        queue_push(&loop.bulk, task)


cdef inline bint viewer_read(Loop *loop, Task *task) noexcept nogil:
    """Reads a viewer's input, and parses frames. Returns False if the session ended: it speaks another protocol."""
    cdef uint64_t before = task.channel.read_bytes
    channel_fill(&task.channel, &loop.pool, loop.pool.buffer_bytes, QUIET_READS_MOST, False)
    task.last_transfer_bytes = task.channel.read_bytes - before
    if before == 0 and peer_reject_stray(loop, task.session):
        return False
    if task.session.peer.framed and task.channel.buffer != NULL:
        input_begin_parse(task.session)
    return True


cdef inline void viewer_input_step(Loop *loop, Task *task) noexcept nogil:
    """Reads a viewer's input and writes it to the terminal, or waits for its turn.

    If there is no program, or if it has closed the terminal, the input waits for the next program.
    """
    cdef Channel *channel = &task.channel
    cdef Shared *shared = task.session.shared
    cdef uint64_t before
    if shared.program == NULL:
        if shared.ended and task.session.output.channel.state == CHANNEL_SHUT:
            session_finish(loop, task.session, ENDING_PEER_LEFT)
        return
    if shared.program.output.channel.hung_up or shared.program.output.channel.state != CHANNEL_OPEN:
        return
    channel.target = shared.program.terminal.fd
    if not channel_holds(channel) and channel.state == CHANNEL_OPEN and channel.readable:
        if not viewer_read(loop, task):
            return
        if channel_held_bytes(channel) > 0 and shared.waiting.head != NULL:
            # Unparsed frames do not wait for room: a signal must reach a program that does not read.
            queue_push(&loop.bulk if channel_has_frames(channel) else &shared.waiting, task)
            return
    elif channel_has_frames(channel):
        input_parse(task.session)
    before = channel.bytes
    channel_flush(channel, &loop.pool)
    shared.program.input.channel.bytes += channel.bytes - before
    if channel.state == CHANNEL_TARGET_FAILED:
        session_keep_input(loop, shared.program, channel)
    viewer_input_settle(loop, task)


cdef inline void viewer_input_settle(Loop *loop, Task *task) noexcept nogil:
    """After a step: puts the input into the queue that it belongs to, or ends the session."""
    cdef Channel *channel = &task.channel
    cdef Session *session = task.session
    if channel_holds(channel) and not channel.writable and not channel_has_frames(channel):
        # To the end of the queue: the others that wait get the next room.
        queue_push(&session.shared.waiting, task)
        loop_watch_room(loop, &session.shared.program.input, True)
        return
    shared_wake_next_input(loop, session.shared)
    viewer_input_go_on(loop, task)


cdef inline void viewer_discard_step(Loop *loop, Task *task) noexcept nogil:
    """Reads the input of a viewer that may only watch, and drops it."""
    cdef Channel *channel = &task.channel
    if channel.state == CHANNEL_OPEN and channel.readable:
        if not viewer_read(loop, task):
            return
        channel_drop(channel, &loop.pool)
    viewer_input_go_on(loop, task)


cdef inline void viewer_input_go_on(Loop *loop, Task *task) noexcept nogil:
    """After a step, if the input does not wait for room: ends the session, or queues the next step."""
    cdef Channel *channel = &task.channel
    cdef Session *session = task.session
    if channel.state == CHANNEL_DRAINING and not channel_holds(channel):
        channel.state = CHANNEL_SHUT   # the viewer sends no more, but still gets output
    if channel.state == CHANNEL_SOURCE_FAILED or (
        channel.state == CHANNEL_SHUT and session.output.channel.state == CHANNEL_SHUT
    ):
        session_finish(loop, session, ENDING_PEER_LEFT)
    elif not session_waits_for_memory(loop, task) and loop_runnable(task):
        queue_push(&loop.bulk, task)


cdef inline void viewer_left(Loop *loop, Session *session) noexcept nogil:
    """The viewer has hung up. Its earlier input still goes to the terminal, if that has room within LINGER_MS."""
    cdef Channel *output = &session.output.channel
    if output.state == CHANNEL_SHUT:
        return
    output.state = CHANNEL_SHUT
    window_forget(session)
    queue_remove(&session.output)
    if session.input.channel.state == CHANNEL_SHUT:
        session_finish(loop, session, ENDING_PEER_LEFT)
        return
    loop_set_deadline(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    loop_source_ready(loop, &session.input, True)
