"""Hanging up a session: SIGHUP first, SIGKILL after the grace time.

The leader and the foreground group are signalled here, at once. An errand does the same to the other processes of the
session (fastpty/errands/hang_up.py). The leader is reaped only after that, because its pid is the session's number.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastpty.relay.background cimport background_may_exist
from fastpty.relay.loop cimport (
    ABOUT_LEADER, MILLISECOND_NS, Loop, loop_find_session, loop_retry, loop_set_deadline, loop_token,
)
from fastpty.relay.state cimport Session
from fastpty.relay.terminal cimport terminal_hang_up, terminal_hang_up_background

cdef enum:
    ERRAND_LATE_MS = 2000     # an errand not done this long after the grace time is sent again: its process may be dead


cdef inline void session_hang_up(Loop *loop, Session *session) noexcept nogil:
    """Sends SIGHUP to the program, once. SIGKILL follows after the grace time, for processes that remain."""
    cdef bint has_program = session.terminal.fd >= 0 or session.terminal.has_streams
    if has_program and session.terminal.pidfd >= 0 and not session.hung_up:
        session.hung_up = True
        session.terminal.hangs_up = loop.errands.queue >= 0 and (
            not loop.errands.reads_proc or background_may_exist(session.terminal.leader))
        terminal_hang_up(&session.terminal)
        loop_set_deadline(loop, &session.kill_at_ns, loop.grace_ns)
        session_hang_up_background(loop, session)


cdef inline void session_hang_up_background(Loop *loop, Session *session) noexcept nogil:
    """Sends the errand that hangs up background processes, if it is needed and not done yet."""
    if not session.terminal.hangs_up:
        return
    if terminal_hang_up_background(&session.terminal, loop.grace_ns,
                                   loop_token(ABOUT_LEADER, session.generation, session.slot)):
        loop_set_deadline(loop, &session.retry_hang_up.at_ns,
                          loop.grace_ns + ERRAND_LATE_MS * <int64_t>MILLISECOND_NS)
    else:
        loop_retry(loop, &session.retry_hang_up)


cdef inline void session_background_ended(Loop *loop, Session *session) noexcept nogil:
    """Notes that the errand is done. A leader that has exited meanwhile is reaped now."""
    session.terminal.hangs_up = False
    if session.retry_reap.at_ns != 0:
        loop_set_deadline(loop, &session.retry_reap.at_ns, 0)


cdef inline void hang_up_told(Loop *loop, uint64_t token) noexcept nogil:
    """Handles the report that the errand with this token is done. The session may be gone."""
    cdef Session *session = loop_find_session(loop, token)
    if session != NULL and session.terminal.hangs_up:
        session_background_ended(loop, session)


cdef inline void hang_ups_abandon(Loop *loop) noexcept nogil:
    """Stops waiting for hang-up errands of all sessions, because no process can be started for errands."""
    cdef uint32_t slot
    for slot in range(loop.slots):
        if loop.sessions[slot] != NULL and loop.sessions[slot].terminal.hangs_up:
            session_background_ended(loop, loop.sessions[slot])


cdef inline void sessions_stop(Loop *loop) noexcept nogil:
    """Hangs up all sessions. A second call kills all remaining processes at once."""
    cdef bint at_once = loop.stopping
    cdef uint32_t slot
    cdef Session *session
    if at_once:
        loop.grace_ns = 0
    loop.stopping = True
    for slot in range(loop.slots):
        session = loop.sessions[slot]
        if session != NULL:
            session_hang_up(loop, session)
            if at_once:
                session_hang_up_background(loop, session)
            if at_once or session.kill_at_ns == 0:
                loop_set_deadline(loop, &session.kill_at_ns, loop.grace_ns)
