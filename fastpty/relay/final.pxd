"""The final frame of a session of the extension: STATUS or ERROR. docs/protocol.md, section 13.

It is the last frame, and follows every byte of output. A session sends one, unless its client has left.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport strlen

from fastpty.relay.channel cimport CHANNEL_TARGET_FAILED, Channel, channel_flush, channel_held_bytes, channel_holds
from fastpty.relay.loop cimport Loop
from fastpty.relay.outbox cimport Outbox
from fastpty.relay.state cimport (
    ENDING_EXIT, ENDING_IDLE, ENDING_LIFETIME, ENDING_MEMORY, PHASE_GREETING, PHASE_RUNNING, Ending, Extension, Session,
)
from fastpty.system.linux cimport CLD_DUMPED, CLD_EXITED, CLD_KILLED
from fastpty.wire.extension cimport (
    ERROR_HEAD_BYTES, ERROR_IN_GREETING, ERROR_IN_SESSION, ERROR_IN_START, ERROR_LIMIT, ERROR_STOPPED, NUMBER_ERROR,
    NUMBER_STATUS, STATUS_BYTES, ErrorCode, ErrorPhase, get_u16, put, put_error, put_header,
)
from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum StatusHow:
    STATUS_EXITED = 1
    STATUS_SIGNAL = 2
    STATUS_CORE = 3
    STATUS_UNKNOWN = 4

cdef enum:
    STATUS_OPEN = 1           # flag: a process still had an output stream open at the end
    STATUS_CUT = 2            # flag: output that was written after the leader's exit may be missing
    STATUS_BY_ROUTER = 8      # flag: the router has hung up the program


cdef inline bint final_is_known(const Session *session) noexcept nogil:
    return session.extension.outbox.final_bytes > 0


cdef inline bint final_is_owed(const Session *session) noexcept nogil:
    """True if a final frame is still to be sent. Always False for clients that do not speak the extension."""
    cdef const Outbox *outbox
    if session.extension == NULL:
        return False
    outbox = &session.extension.outbox
    return not outbox.is_final or outbox.start < outbox.end


cdef inline ErrorPhase final_phase(const Extension *extension) noexcept nogil:
    if extension.phase == PHASE_RUNNING:
        return ERROR_IN_SESSION
    return ERROR_IN_GREETING if extension.phase == PHASE_GREETING else ERROR_IN_START


cdef inline void final_set_error(
    Session *session, ErrorCode code, int error, const char *text, size_t size
) noexcept nogil:
    """Makes an ERROR the session's final frame, unless there is one already. `error`: an errno, or 0."""
    cdef Outbox *outbox = &session.extension.outbox
    if outbox.final_bytes == 0 and not outbox.is_final:
        outbox.final_bytes = <uint32_t>(put_error(
            outbox.final, code, error, final_phase(session.extension), text, size) - outbox.final)


cdef inline const uint8_t *final_error_text(const Session *session, size_t *size) noexcept nogil:
    """Returns the text of the session's final ERROR, and its size in `size[0]`. NULL: the final frame is no ERROR."""
    cdef const uint8_t *frame
    if session.extension == NULL:
        return NULL
    frame = session.extension.outbox.final
    if frame[FRAME_HEADER_BYTES - 1] != NUMBER_ERROR:
        return NULL
    size[0] = get_u16(frame + 1) - ERROR_HEAD_BYTES
    return frame + FRAME_HEADER_BYTES + ERROR_HEAD_BYTES


cdef inline void final_set_ending(Session *session, Ending ending) noexcept nogil:
    """Makes an ERROR that says why the router ends the session its final frame, unless there is one already."""
    cdef ErrorCode code = ERROR_LIMIT
    cdef const char *text = b"the session was idle for too long"
    if ending == ENDING_LIFETIME:
        text = b"the session's time is over"
    elif ending == ENDING_MEMORY:
        text = b"the router had no memory left for the session"
    elif ending != ENDING_IDLE:
        code, text = ERROR_STOPPED, b"the router was stopped"
    final_set_error(session, code, 0, text, strlen(text))


cdef inline void final_set_status(Session *session) noexcept nogil:
    """Makes the leader's status the session's final frame, unless there is one already."""
    cdef Outbox *outbox = &session.extension.outbox
    cdef uint8_t *place = outbox.final
    cdef StatusHow how = STATUS_UNKNOWN
    if outbox.final_bytes > 0 or outbox.is_final:
        return
    if session.terminal.exit_code == CLD_EXITED:
        how = STATUS_EXITED
    elif session.terminal.exit_code == CLD_KILLED:
        how = STATUS_SIGNAL
    elif session.terminal.exit_code == CLD_DUMPED:
        how = STATUS_CORE
    place = put_header(place, NUMBER_STATUS, STATUS_BYTES)
    place = put(place, how, 1)
    place = put(place, (STATUS_OPEN if session.extension.output_open else 0)
                | (STATUS_CUT if session.output_cut else 0) | (STATUS_BY_ROUTER if session.hung_up else 0), 1)
    place = put(place, <uint32_t>session.terminal.exit_status, 2)
    place = put(place, 0, 2)                                    # reserved
    place = put(place, session.output.channel.bytes, 8)
    place = put(place, session.extension.errors.channel.bytes, 8)
    place = put(place, session.input.channel.bytes, 8)
    place = put(place, session.extension.received - session.input.channel.bytes, 8)
    place = put(place, <unsigned long long>((session.ended_ns - session.extension.run_ns) / 1000), 8)
    outbox.final_bytes = <uint32_t>(place - outbox.final)


cdef inline void final_settle(Loop *loop, Session *session, bint at_last) noexcept nogil:
    """Sets the final frame of a finished session: an ERROR, or STATUS if that is known or `at_last` is set."""
    if session.ending != ENDING_EXIT or (loop.stopping and session.hung_up):
        final_set_ending(session, session.ending)
    elif session.terminal.pidfd < 0 or session.terminal.has_exited or at_last:
        final_set_status(session)


cdef inline bint final_flush(Loop *loop, Session *session) noexcept nogil:
    """Sends all output that a finished session holds, then its final frame. Returns False if something is left."""
    cdef Channel *output = &session.output.channel
    cdef Channel *errors = &session.extension.errors.channel
    session.extension.outbox.holds_final = channel_held_bytes(errors) > 0
    channel_flush(output, &loop.pool)
    if session.extension.outbox.holds_final:
        channel_flush(errors, &loop.pool)
        session.extension.outbox.holds_final = channel_held_bytes(errors) > 0
        channel_flush(output, &loop.pool)
        output.no_memory = output.no_memory or errors.no_memory
        if errors.state == CHANNEL_TARGET_FAILED:
            output.state = CHANNEL_TARGET_FAILED
    return not channel_holds(output) and channel_held_bytes(errors) == 0
