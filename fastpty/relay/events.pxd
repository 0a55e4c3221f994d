"""The events that epoll reports about sessions."""

from libc.stdint cimport uint32_t, uint64_t

from fastpty.relay.final cimport final_is_owed
from fastpty.relay.greeting cimport start_report_arrives
from fastpty.relay.lifecycle cimport (
    session_close_peer, session_finish, session_hold_input, session_reopened,
)
from fastpty.relay.loop cimport (
    ABOUT_LEADER, ABOUT_PEER, ABOUT_START, ABOUT_TERMINAL, Loop, loop_find_session, loop_source_ready,
    loop_target_ready,
)
from fastpty.relay.peer cimport peer_expect_probe
from fastpty.relay.shared cimport shared_wake_next_input
from fastpty.relay.shared_step cimport viewer_left
from fastpty.relay.state cimport ENDING_PEER_LEFT, ROLE_PRIVATE, ROLE_VIEWER, Session
from fastpty.relay.streams cimport program_exited, streams_event
from fastpty.system.linux cimport EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, epoll_event


cdef inline void events_handle(Loop *loop, const epoll_event *events, int count) noexcept nogil:
    """Handles the events of sessions, and skips all others."""
    cdef Session *session
    cdef int index
    for index in range(count):
        session = loop_find_session(loop, events[index].data.u64)
        if session != NULL:
            event_handle(loop, session, events[index].data.u64, events[index].events)


cdef inline void event_handle(Loop *loop, Session *session, uint64_t about, uint32_t events) noexcept nogil:
    if about >> 56 == ABOUT_START:
        start_report_arrives(loop, session, False)
    elif about >> 56 == ABOUT_LEADER:
        if session.extension != NULL:
            start_report_arrives(loop, session, True)
        program_exited(loop, session)
    elif session.terminal.has_streams and about >> 56 != ABOUT_PEER:
        streams_event(loop, session, about, events)
    elif about >> 56 == ABOUT_TERMINAL:
        if session.closed_ns != 0 and not session.finished:
            session_reopened(loop, session)
        if events & (EPOLLIN | EPOLLHUP | EPOLLERR):
            loop_source_ready(loop, &session.output, (events & EPOLLHUP) != 0)
        if events & EPOLLHUP and not session.finished:
            session_hold_input(loop, session)
        elif events & EPOLLOUT:
            loop_target_ready(loop, &session.input)
            if session.role != ROLE_PRIVATE:
                shared_wake_next_input(loop, session.shared)
    elif events & (EPOLLHUP | EPOLLERR):
        if session.role == ROLE_VIEWER and not session.finished:
            viewer_left(loop, session)
            return
        if session.finished and final_is_owed(session):
            session_close_peer(loop, session)   # nobody will read the final frame
            return
        if session.finished:
            # Do not close with input unread: TCP would discard output that the client has not read yet.
            loop_source_ready(loop, &session.input, True)
            return
        session_finish(loop, session, ENDING_PEER_LEFT)
    else:
        if events & EPOLLPRI:
            # A read stops at urgent data even if more follows: from now on only EAGAIN means that all is read.
            session.input.channel.short_read_means_dry = False
        if events & EPOLLRDHUP:
            peer_expect_probe(loop, session)
        if events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI):
            loop_source_ready(loop, &session.input, (events & EPOLLRDHUP) != 0)
        if events & EPOLLOUT:
            loop_target_ready(loop, &session.output)
            if session.terminal.has_streams:
                loop_target_ready(loop, &session.extension.errors)
