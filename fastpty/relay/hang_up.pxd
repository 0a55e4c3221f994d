"""Hanging up a session: SIGHUP first, SIGKILL after the grace time."""

from libc.stdint cimport uint32_t

from fastpty.relay.loop cimport Loop, loop_set_deadline
from fastpty.relay.state cimport Session
from fastpty.relay.terminal cimport terminal_hang_up


cdef inline void session_hang_up(Loop *loop, Session *session) noexcept nogil:
    """Sends SIGHUP to the program, once. The grace time later, SIGKILL follows for what remains."""
    if session.terminal.fd >= 0 and session.terminal.pidfd >= 0 and not session.hung_up:
        session.hung_up = True
        terminal_hang_up(&session.terminal)
        loop_set_deadline(loop, &session.kill_at_ns, loop.grace_ns)


cdef inline void sessions_stop(Loop *loop) noexcept nogil:
    """Hangs up all sessions. The second call kills at once what remains."""
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
            if at_once or session.kill_at_ns == 0:
                loop_set_deadline(loop, &session.kill_at_ns, loop.grace_ns)
