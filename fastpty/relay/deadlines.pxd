"""The deadlines of sessions, and what happens when one is reached.

The loop keeps only the earliest one (`Loop.next_deadline_ns`). When it is reached, the loop checks all sessions, which
is rare.
"""

from libc.stdint cimport int64_t, uint32_t

from fastpty.relay.greeting cimport session_start_is_late
from fastpty.relay.hang_up cimport session_hang_up_background
from fastpty.relay.lifecycle cimport (
    session_close_peer, session_complete, session_end_input, session_finish, session_leave_open, session_send_final,
    session_still_closed,
)
from fastpty.relay.loop cimport MILLISECOND_NS, Loop, loop_due, loop_note_deadline, loop_set_deadline, loop_wake
from fastpty.relay.peer cimport peer_probe
from fastpty.relay.shared cimport shared_wake_next_input
from fastpty.relay.state cimport (
    ENDING_IDLE, ENDING_LIFETIME, ENDING_PEER_LEFT, ENDING_SILENT, ENDING_STOPPED, ROLE_PRIVATE,
    ROLE_PROGRAM, Session,
)
from fastpty.relay.streams cimport program_exited, streams_cut, streams_stop
from fastpty.relay.terminal cimport terminal_close_input, terminal_forget_leader, terminal_kill

cdef enum:
    KILLED_MS = 1000          # a router that stops waits this long until a killed leader can be reaped


cdef inline void deadlines_expect_limits(Loop *loop, const Session *session) noexcept nogil:
    """Makes the loop wake up when a private session may reach one of its limits."""
    if session.role != ROLE_PRIVATE:
        return
    if loop.idle_ns > 0:
        loop_note_deadline(loop, session.active_ns + loop.idle_ns)
    if loop.lifetime_ns > 0:
        loop_note_deadline(loop, session.started_ns + loop.lifetime_ns)
    if loop.greeting_ns > 0 and session.peer.framed and session.input.channel.read_bytes == 0:
        loop_note_deadline(loop, session.started_ns + loop.greeting_ns)


cdef inline void deadlines_meet_limits(Loop *loop, Session *session) noexcept nogil:
    """Ends a private session that has reached one of its limits."""
    if session.role != ROLE_PRIVATE:
        return
    if loop.idle_ns > 0 and session.active_ns + loop.idle_ns <= loop.now_ns:
        session_finish(loop, session, ENDING_IDLE)
    elif loop.lifetime_ns > 0 and session.started_ns + loop.lifetime_ns <= loop.now_ns:
        session_finish(loop, session, ENDING_LIFETIME)
    elif (
        loop.greeting_ns > 0 and session.peer.framed and session.input.channel.read_bytes == 0
        and session.started_ns + loop.greeting_ns <= loop.now_ns
    ):
        session_finish(loop, session, ENDING_SILENT)
    else:
        deadlines_expect_limits(loop, session)


cdef inline void deadlines_meet(Loop *loop) noexcept nogil:
    """Handles the deadlines that are reached, of all sessions."""
    cdef uint32_t slot
    loop.next_deadline_ns = 0
    for slot in range(loop.slots):
        if loop.sessions[slot] != NULL:
            deadlines_meet_session(loop, loop.sessions[slot])


cdef inline void deadlines_meet_running(Loop *loop, Session *session) noexcept nogil:
    """Handles the deadlines of a session that is not finished."""
    if loop_due(loop, &session.probe_at_ns):
        peer_probe(session)
    if loop_due(loop, &session.retry_end_input.at_ns):
        session_end_input(loop, session)
    if loop_due(loop, &session.memory_at_ns):
        loop_wake(loop, &session.input)
        loop_wake(loop, &session.output)
        if session.terminal.has_streams:
            streams_stop(loop, session, session.extension.stopped)
            loop_wake(loop, &session.extension.errors)
        if session.role == ROLE_PROGRAM:
            shared_wake_next_input(loop, session.shared)
    if loop_due(loop, &session.look_at_ns):
        session_still_closed(loop, session)
    if not session.finished:
        deadlines_meet_limits(loop, session)


cdef inline void deadlines_meet_session(Loop *loop, Session *session) noexcept nogil:
    if loop_due(loop, &session.retry_reap.at_ns):
        program_exited(loop, session)
    if session.extension != NULL and loop_due(loop, &session.extension.start_by_ns):
        session_start_is_late(loop, session)
    if session.extension != NULL and loop_due(loop, &session.extension.drain_by_ns):
        streams_cut(loop, session)
    if not session.finished:
        deadlines_meet_running(loop, session)
    else:
        if loop_due(loop, &session.final_by_ns):
            session_send_final(loop, session, True)
        if loop_due(loop, &session.memory_at_ns):
            session_send_final(loop, session, False)
        if loop_due(loop, &session.retry_complete.at_ns):
            session_complete(loop, session)
    if loop_due(loop, &session.retry_hang_up.at_ns):
        session_hang_up_background(loop, session)
    if loop_due(loop, &session.kill_at_ns):
        terminal_kill(&session.terminal)
        if loop.stopping:
            session_finish(loop, session, ENDING_STOPPED)
            loop_set_deadline(loop, &session.forget_at_ns, KILLED_MS * <int64_t>MILLISECOND_NS)
            if loop.grace_ns == 0:
                session_close_peer(loop, session)
        terminal_close_input(&session.terminal)   # not earlier: the program could take cut-off input for complete input
        session_complete(loop, session)
    if loop_due(loop, &session.forget_at_ns):
        # The leader is traced or stuck in the kernel. The router does not wait for it.
        terminal_forget_leader(&session.terminal)
        session_complete(loop, session)
        session_leave_open(loop, session)
    if loop_due(loop, &session.linger_until_ns):
        session_finish(loop, session, ENDING_PEER_LEFT)
        session_close_peer(loop, session)
