"""Conversion of the values of fastpty/relay/upcalls.py: builds those for the handler, and takes over its answers."""

from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.string cimport memset

from fastpty.relay.errands cimport may_pass_descriptors
from fastpty.relay.final cimport final_error_text
from fastpty.relay.loop cimport EVENTS_MOST, MILLISECOND_NS, Loop
from fastpty.relay.pool cimport BUFFER_BYTES, BUFFER_LEAST_BYTES
from fastpty.relay.state cimport Session, ending_name, session_output_bytes
from fastpty.system.linux cimport winsize


cdef inline void session_take_terminal(Session *session, answer):
    """Takes over a Terminal."""
    session.terminal.fd, session.terminal.pidfd = answer.master, answer.pidfd
    session.terminal.leader = answer.leader
    session.terminal.size.ws_row, session.terminal.size.ws_col = answer.rows, answer.columns
    session.terminal.has_user = answer.uid is not None
    session.terminal.uid = answer.uid or 0
    if session.extension != NULL:
        session.extension.report_fd = answer.report


cdef inline void session_take_streams(Session *session, answer):
    """Takes over Streams."""
    session.terminal.has_streams = True
    session.terminal.input_fd, session.terminal.fd, session.terminal.error_fd = answer.descriptors
    session.terminal.pidfd, session.terminal.leader = answer.pidfd, answer.leader
    session.terminal.has_user = answer.uid is not None
    session.terminal.uid = answer.uid or 0
    session.terminal.takes_descriptors = may_pass_descriptors(session.terminal.fd)
    session.extension.report_fd = answer.report
    session.extension.drain_ns = -1 if answer.drain_ms is None else answer.drain_ms * <int64_t>MILLISECOND_NS


cdef inline int loop_set(Loop *loop, settings) except -1:
    """Takes over Settings (fastpty/relay/settings.py). Raises ValueError."""
    if not 1 <= settings.events <= EVENTS_MOST:
        raise ValueError(f"events: from 1 to {EVENTS_MOST}")
    if not BUFFER_LEAST_BYTES <= settings.buffer_bytes <= BUFFER_BYTES:
        raise ValueError(f"buffer_bytes: from {BUFFER_LEAST_BYTES} to {BUFFER_BYTES}")
    loop.events_most = settings.events
    loop.pool.buffer_bytes = settings.buffer_bytes
    loop.splice = settings.splice
    loop.busy_poll.limit_ns = <int64_t>(<double>settings.busy_poll_seconds * 1e9)
    loop.idle_ns = <int64_t>(<double>settings.idle_seconds * 1e9)
    loop.grace_ns = <int64_t>(<double>settings.grace_seconds * 1e9)
    loop.lifetime_ns = <int64_t>(<double>settings.lifetime_seconds * 1e9)
    loop.greeting_ns = <int64_t>(<double>settings.greeting_seconds * 1e9)
    return 0


cdef inline winsize window_size(int rows, int columns) noexcept:
    cdef winsize size
    memset(&size, 0, sizeof(size))
    size.ws_row, size.ws_col = rows, columns
    return size


cdef inline tuple window_values(const winsize *size):
    return size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel


cdef inline list session_rows(const Loop *loop, int64_t now_ns, row):
    """Makes a `row` (SessionRow) of each live session."""
    cdef uint32_t slot
    cdef const Session *session
    cdef list rows = []
    for slot in range(loop.slots):
        session = loop.sessions[slot]
        if session != NULL:
            rows.append(row(
                session.number, session.terminal.leader if session.terminal.pidfd >= 0 else 0,
                (now_ns - session.started_ns) / 1e9, (now_ns - session.active_ns) / 1e9,
                session.input.channel.bytes, session_output_bytes(session), session.peer.ignored_frames,
                session.terminal.size.ws_row, session.terminal.size.ws_col,
            ))
    return rows


cdef inline object session_end(const Loop *loop, const Session *session, end):
    """Makes an `end` (SessionEnd) of a session."""
    cdef size_t size = 0
    cdef const uint8_t *text = final_error_text(session, &size)
    return end(
        session.number, ending_name(session.ending).decode(), text[:size].decode(errors="replace") if text else "",
        session.terminal.exit_code, session.terminal.exit_status,
        session.input.channel.bytes, session_output_bytes(session),
        session.peer.ignored_frames, session.lagged_bytes, (loop.now_ns - session.started_ns) / 1e9,
    )


cdef inline dict loop_counters(const Loop *loop):
    """Returns the sums over all sessions."""
    cdef uint32_t slot
    cdef const Session *session
    bytes_in, bytes_out = loop.ended.bytes_in, loop.ended.bytes_out
    ignored_frames = loop.ended.ignored_frames
    for slot in range(loop.slots):
        session = loop.sessions[slot]
        if session != NULL:
            bytes_in += session.input.channel.bytes
            bytes_out += session_output_bytes(session)
            ignored_frames += session.peer.ignored_frames
    return dict(
        sessions=loop.live, accepted=loop.heartbeat.accepted,
        bytes_in=bytes_in, bytes_out=bytes_out, ignored_frames=ignored_frames,
        buffers_lent=loop.pool.lent_buffers, pipes_lent=loop.pool.lent_pipes,
        splice_refused=bool(loop.pool.splice_refused),
        transfers=loop.transfers, wakeups=loop.wakeups,
    )
