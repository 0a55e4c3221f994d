"""The input of a client of the extension: reads it ahead, parses its frames and passes on what they carry.

The client never sends more STDIN than its window, and the session's buffer has room for more than that. So the relay
always reads the connection, and signals and sizes overtake input that the program does not read.
"""

from libc.signal cimport SIGINT, SIGTERM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from fastpty.relay.busy_poll cimport busy_poll_expect_answer
from fastpty.relay.channel cimport (
    CHANNEL_DRAINING, CHANNEL_OPEN, CHANNEL_SHUT, CHANNEL_SOURCE_FAILED, CHANNEL_TARGET_FAILED, Channel, FLUSH_ALL,
    channel_fill, channel_flush, channel_flush_buffer, channel_has_frames, channel_held_bytes,
)
from fastpty.relay.final cimport final_is_owed
from fastpty.relay.greeting cimport (
    GREETING_STDIN_MOST, WINDOW_RESERVE, request_collect, session_cancel_start, session_fail, start_report_arrives,
)
from fastpty.relay.input cimport ACTIONS_MOST
from fastpty.relay.lifecycle cimport (
    session_await_room, session_finish, session_keep_input, session_pass_end, session_waits_for_memory,
)
from fastpty.relay.loop cimport STREAM_FROM_BYTES, Loop, loop_runnable, loop_wake
from fastpty.relay.outbox cimport PONG_MOST
from fastpty.relay.peer cimport peer_reject_stray
from fastpty.relay.pool cimport Buffer
from fastpty.relay.queue cimport queue_push
from fastpty.relay.state cimport (
    ENDING_PEER_LEFT, ENDING_PROTOCOL, PHASE_GREETING, PHASE_RUNNING, PHASE_STARTING, Extension, Session, Task,
)
from fastpty.relay.streams cimport streams_refuse_input, streams_stop
from fastpty.relay.terminal cimport terminal_resize, terminal_signal
from fastpty.system.check cimport check
from fastpty.system.linux cimport SIGHUP, SIGKILL
from fastpty.wire.extension cimport (
    ERROR_PROTOCOL, ERROR_REFUSED, ERROR_UNSUPPORTED, FIRST_WITH_PAYLOAD, NUMBER_END_INPUT, NUMBER_PING, NUMBER_SIZE,
    NUMBER_START, NUMBER_STOP, STREAM_ERRORS, STREAM_OUTPUT, ExtensionFrame, extension_next, get_u16,
)
from fastpty.wire.uwsgi cimport MODIFIER2_COLUMNS, MODIFIER2_LAST_SIGNAL, MODIFIER2_ROWS, MODIFIER2_STDIN

cdef enum:
    READS_MOST = 4            # reads from the connection in one step
    SIZE_BYTES = 8


cdef inline void extension_violated(Loop *loop, Session *session, const char *text) noexcept nogil:
    session_fail(loop, session, ENDING_PROTOCOL, ERROR_PROTOCOL, text, 0)


cdef inline void extension_take_input(Loop *loop, Session *session, const ExtensionFrame *frame) noexcept nogil:
    """Appends a piece of STDIN to the input that waits in the buffer."""
    cdef Extension *extension = session.extension
    cdef Buffer *buffer = session.input.channel.buffer
    if extension.input_ended and frame.size > 0:
        extension_violated(loop, session, b"STDIN after the end of input")
    elif frame.size > extension.window_left:
        extension_violated(loop, session, b"more STDIN than the window allows")
    elif extension.phase == PHASE_GREETING and extension.received + frame.size > GREETING_STDIN_MOST:
        extension_violated(loop, session, b"too much STDIN before START")
    elif session.terminal.has_streams and extension.phase == PHASE_RUNNING and session.terminal.input_fd < 0:
        extension.window_left -= frame.size   # the program has closed its standard input
        extension.received += frame.size
    else:
        check(buffer.end + frame.size <= buffer.parsed, "joined input ends before the frames that are not parsed")
        if buffer.start == buffer.end:
            buffer.start = buffer.end = <uint32_t>(frame.payload - buffer.data)   # nothing waits: it stays in its place
        else:
            memmove(buffer.data + buffer.end, frame.payload, frame.size)
        buffer.end += frame.size
        extension.window_left -= frame.size
        extension.received += frame.size
        if frame.size > 0:
            session.active_ns = loop.now_ns


cdef inline void extension_signal(Loop *loop, Session *session, int number) noexcept nogil:
    """Signals the program. Before it runs, a signal that would end it cancels the start."""
    if session.extension.phase == PHASE_STARTING:
        start_report_arrives(loop, session, False)   # the report may have arrived already
        if session.finished:
            return
    if session.extension.phase == PHASE_RUNNING:
        session.active_ns = loop.now_ns
        if session.input.channel.writable:
            channel_flush_buffer(&session.input.channel, FLUSH_ALL)
        terminal_signal(&session.terminal, number)
    elif number == SIGINT or number == SIGTERM or number == SIGHUP or number == SIGKILL:
        session_cancel_start(loop, session, ERROR_REFUSED, b"cancelled")
    elif session.extension.phase == PHASE_GREETING:
        extension_violated(loop, session, b"a signal before START")


cdef inline bint extension_gather(Loop *loop, Session *session, const ExtensionFrame *frame) noexcept nogil:
    """Collects the payload of a short message. Returns True when it is whole."""
    cdef Extension *extension = session.extension
    if extension.small_bytes + frame.size > sizeof(extension.small):
        extension_violated(loop, session, b"a frame is too long")
        return False
    memcpy(extension.small + extension.small_bytes, frame.payload, frame.size)
    extension.small_bytes += frame.size
    return frame.is_last


cdef inline bint extension_apply_size(Loop *loop, Session *session) noexcept nogil:
    """Stores the window size of a complete SIZE frame."""
    cdef const uint8_t *values = session.extension.small
    if session.extension.small_bytes != SIZE_BYTES:
        extension_violated(loop, session, b"SIZE has another length")
        return False
    session.terminal.size.ws_row = get_u16(values)
    session.terminal.size.ws_col = get_u16(values + 2)
    session.terminal.size.ws_xpixel = get_u16(values + 4)
    session.terminal.size.ws_ypixel = get_u16(values + 6)
    return True


cdef inline void extension_answer_ping(Loop *loop, Session *session) noexcept nogil:
    cdef Extension *extension = session.extension
    memcpy(extension.outbox.pong, extension.small, extension.small_bytes)
    extension.outbox.pong_bytes = extension.small_bytes
    extension.outbox.has_pong = True
    loop_wake(loop, &session.output)


cdef inline bint extension_is_early(const Session *session, const ExtensionFrame *frame) noexcept nogil:
    """True for a frame that may not come before START."""
    return session.extension.phase == PHASE_GREETING and not (
        frame.number == NUMBER_START or frame.number == NUMBER_SIZE
        or frame.number == MODIFIER2_ROWS or frame.number == MODIFIER2_COLUMNS
        or 0 < frame.number <= MODIFIER2_LAST_SIGNAL)


cdef inline bint extension_knows(const Session *session, uint8_t number) noexcept nogil:
    """True if a client may send frames of this odd number, at least FIRST_WITH_PAYLOAD, in this session."""
    if number == NUMBER_STOP:   # before the program is chosen, it may still get streams
        return session.terminal.has_streams or session.extension.phase < PHASE_STARTING
    return number == NUMBER_START or number == NUMBER_END_INPUT


cdef inline void extension_stop(Loop *loop, Session *session) noexcept nogil:
    """Obeys a complete STOP."""
    cdef Extension *extension = session.extension
    if extension.small_bytes != 1 or not STREAM_OUTPUT <= extension.small[0] <= STREAM_ERRORS:
        extension_violated(loop, session, b"STOP names no output stream")
        return
    extension.stopped |= <uint8_t>(1 << extension.small[0])
    if session.terminal.has_streams and extension.phase == PHASE_RUNNING:
        streams_stop(loop, session, extension.stopped)


cdef inline bint extension_obey(Loop *loop, Session *session, const ExtensionFrame *frame) noexcept nogil:
    """Applies a frame, or a piece of one, that carries no input. Returns True if it has changed the window size."""
    cdef Extension *extension = session.extension
    cdef int number = frame.number
    if frame.is_stray:
        extension_violated(loop, session, b"a frame within another message")
    elif number >= FIRST_WITH_PAYLOAD and number % 2 == 1 and not extension_knows(session, number):
        session_fail(loop, session, ENDING_PROTOCOL, ERROR_UNSUPPORTED, b"the router does not know this frame", 0)
    elif extension_is_early(session, frame):
        extension_violated(loop, session, b"a frame that may not come before START")
    elif number <= MODIFIER2_LAST_SIGNAL:
        extension_signal(loop, session, number)
    elif number == MODIFIER2_ROWS or number == MODIFIER2_COLUMNS:
        if number == MODIFIER2_ROWS:
            session.terminal.size.ws_row = frame.value
        else:
            session.terminal.size.ws_col = frame.value
        return True
    elif number == NUMBER_START:
        if extension.phase == PHASE_GREETING:
            request_collect(loop, session, frame)
        else:
            extension_violated(loop, session, b"a second START")
    elif number == NUMBER_END_INPUT:
        extension.input_ended = True
    elif number == NUMBER_SIZE or number == NUMBER_PING or number == NUMBER_STOP:
        if extension_gather(loop, session, frame):
            if number == NUMBER_PING:
                extension_answer_ping(loop, session)
            elif number == NUMBER_STOP:
                extension_stop(loop, session)
            elif not extension_apply_size(loop, session):
                return False
            extension.small_bytes = 0
            return number == NUMBER_SIZE
    elif frame.is_last:
        session.peer.ignored_frames += 1
    return False


cdef inline void extension_parse(Loop *loop, Session *session) noexcept nogil:
    """Parses frames in the input's buffer, in place. As input_parse, it stops after ACTIONS_MOST signals or sizes."""
    cdef Buffer *buffer = session.input.channel.buffer
    cdef bint resized = False
    cdef bint changes
    cdef int acts = 0
    cdef ExtensionFrame frame
    while not session.finished and buffer.parsed < buffer.filled and acts < ACTIONS_MOST:
        buffer.parsed += <uint32_t>extension_next(&session.extension.parser, buffer.data + buffer.parsed,
                                                  buffer.filled - buffer.parsed, &frame)
        if frame.is_partial:
            continue
        if frame.number == MODIFIER2_STDIN and not frame.is_stray:
            extension_take_input(loop, session, &frame)
            continue
        changes = extension_obey(loop, session, &frame)
        if resized and not changes:
            extension_resize(session)
        resized = changes
        session.extension.is_resized = session.extension.is_resized or (
            changes and session.extension.phase != PHASE_GREETING)
        acts += changes or 0 < frame.number <= MODIFIER2_LAST_SIGNAL
    if resized:
        extension_resize(session)


cdef inline void extension_resize(Session *session) noexcept nogil:
    if session.terminal.fd >= 0 and not session.terminal.has_streams:   # else it is opened later, with this size
        terminal_resize(&session.terminal)


cdef inline void extension_read(Loop *loop, Task *task) noexcept nogil:
    """Reads from the client into the buffer, behind the input that waits there, and parses the new frames."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    cdef Buffer *buffer = channel.buffer
    cdef uint64_t read_before = channel.read_bytes
    cdef uint32_t held = 0
    if buffer != NULL:
        if buffer.start > 0 and loop.pool.buffer_bytes - buffer.end < WINDOW_RESERVE:
            memmove(buffer.data, buffer.data + buffer.start, buffer.end - buffer.start)
            buffer.end -= buffer.start
            buffer.start = 0
        held = buffer.end
    channel_fill(channel, &loop.pool, loop.pool.buffer_bytes, READS_MOST, False)
    task.last_transfer_bytes = channel.read_bytes - read_before
    if 0 < task.last_transfer_bytes < STREAM_FROM_BYTES:
        busy_poll_expect_answer(&loop.busy_poll)
    buffer = channel.buffer
    if read_before == 0 and peer_reject_stray(loop, session):
        return
    if buffer != NULL and buffer.end > held:
        buffer.parsed, buffer.filled, buffer.end = held, buffer.end, held
        extension_parse(loop, session)


cdef inline void extension_credit(Loop *loop, Session *session) noexcept nogil:
    """Gives the client credit to send more, each time half a window was written to the program."""
    cdef Extension *extension = session.extension
    cdef uint64_t taken = session.input.channel.bytes - extension.credited
    if taken >= extension.window / 2 and not extension.input_ended:
        extension.credited += taken
        extension.window_left += <uint32_t>taken
        extension.outbox.credit += <uint32_t>taken
        loop_wake(loop, &session.output)


cdef inline void extension_step_input(Loop *loop, Task *task) noexcept nogil:
    """Does one step of the input channel of a client of the extension."""
    cdef Session *session = task.session
    cdef Extension *extension = session.extension
    cdef Channel *channel = &task.channel
    cdef uint64_t written = channel.bytes
    if channel_has_frames(channel):
        extension_parse(loop, session)
    elif channel.state == CHANNEL_OPEN and channel.readable:
        extension_read(loop, task)
    if session.finished:
        return
    if channel.buffer != NULL and (extension.phase == PHASE_RUNNING and channel.writable
                                   or channel.buffer.start == channel.buffer.end):
        channel_flush(channel, &loop.pool)
    if channel.bytes != written:
        session.active_ns = loop.now_ns
    extension_credit(loop, session)
    if channel.state == CHANNEL_DRAINING and not channel_has_frames(channel):
        channel.state = CHANNEL_SHUT
        extension.is_cut_off = not extension.input_ended
        extension.input_ended = True
        if extension.is_cut_off and session.terminal.has_streams:
            session_finish(loop, session, ENDING_PEER_LEFT)   # with exec, only END_INPUT ends the input properly
            return
    if channel.state == CHANNEL_SOURCE_FAILED or (extension.input_ended and extension.phase == PHASE_GREETING):
        session_finish(loop, session, ENDING_PEER_LEFT)
        return
    session_pass_end(loop, session)
    extension_settle_input(loop, task)


cdef inline void extension_settle_input(Loop *loop, Task *task) noexcept nogil:
    """After a step: waits for room, or puts the channel back into the run queue."""
    cdef Session *session = task.session
    cdef Channel *channel = &task.channel
    if channel.state == CHANNEL_TARGET_FAILED and session.terminal.has_streams:
        channel.state = CHANNEL_OPEN
        channel.readable = True
        streams_refuse_input(loop, session)
    elif channel.state == CHANNEL_TARGET_FAILED:
        session_keep_input(loop, session, channel)
    if channel_held_bytes(channel) > 0 and not channel.writable and session.extension.phase == PHASE_RUNNING:
        session_await_room(loop, task)
    if not session_waits_for_memory(loop, task) and task.queue == NULL and loop_runnable(task):
        queue_push(&loop.bulk, task)
