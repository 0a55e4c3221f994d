"""The values of fastpty/relay/upcalls.py: builds those that go to Python, and takes over those that come from there."""

from libc.stdint cimport int64_t, uint32_t

from fastpty.relay.loop cimport Loop
from fastpty.relay.state cimport Session, ending_name


cdef inline void session_take_terminal(Session *session, answer):
    """Takes over a Terminal."""
    session.terminal.fd, session.terminal.pidfd = answer.master, answer.pidfd
    session.terminal.leader = answer.leader
    session.terminal.size.ws_row, session.terminal.size.ws_col = answer.rows, answer.columns
    session.terminal.has_user = answer.uid is not None
    session.terminal.uid = answer.uid or 0


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
                session.input.channel.bytes, session.output.channel.bytes, session.peer.ignored_frames,
                session.terminal.size.ws_row, session.terminal.size.ws_col,
            ))
    return rows


cdef inline object session_end(const Loop *loop, const Session *session, end):
    """Makes an `end` (SessionEnd) of a session."""
    return end(
        session.number, ending_name(session.ending).decode(),
        session.terminal.exit_code, session.terminal.exit_status,
        session.input.channel.bytes, session.output.channel.bytes,
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
            bytes_out += session.output.channel.bytes
            ignored_frames += session.peer.ignored_frames
    return dict(
        sessions=loop.live, accepted=loop.heartbeat.accepted,
        bytes_in=bytes_in, bytes_out=bytes_out, ignored_frames=ignored_frames,
        buffers_lent=loop.pool.lent_buffers, pipes_lent=loop.pool.lent_pipes,
        splice_refused=bool(loop.pool.splice_refused),
        transfers=loop.transfers, wakeups=loop.wakeups,
    )
