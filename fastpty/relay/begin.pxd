"""The beginning of a session: its slot, its descriptors, and epoll."""

from libc.errno cimport errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from fastpty.relay.channel cimport channel_holds, channel_open
from fastpty.relay.deadlines cimport deadlines_expect_limits
from fastpty.relay.lifecycle cimport session_finish, session_leader_exited
from fastpty.relay.loop cimport Loop, loop_put_off, loop_wake, loop_watch_session
from fastpty.relay.pool cimport BUFFER_BYTES
from fastpty.relay.refuse cimport refuse_say_full
from fastpty.relay.shared cimport shared_begin, shared_join
from fastpty.relay.state cimport ENDING_PEER_LEFT, Session
from fastpty.relay.terminal cimport terminal_signal_leader
from fastpty.system.check cimport check
from fastpty.system.linux cimport SIGKILL

cdef enum:
    PTY_SPLICE_BYTES = 4096   # a pty gives at most about that in one read; asking for more allocates pages for nothing
    PTY_WRITE_BYTES = 1792    # of input in one turn: one of the tty's buffers, so that the program reads it meanwhile


cdef inline Session *session_new(Loop *loop) noexcept nogil:
    """A session with a slot, all else zero; NULL if memory is short."""
    cdef uint32_t slot = loop.first_free_slot
    cdef uint32_t wider
    cdef Session **table
    cdef Session *session
    while slot < loop.slots and loop.sessions[slot] != NULL:
        slot += 1
    if slot == loop.slots:
        wider = 2 * loop.slots + 16
        table = <Session **>realloc(loop.sessions, wider * sizeof(Session *))
        if table == NULL:
            return NULL
        memset(&table[loop.slots], 0, (wider - loop.slots) * sizeof(Session *))
        loop.sessions = table
        loop.slots = wider
    session = <Session *>calloc(1, sizeof(Session))
    if session == NULL:
        return NULL
    loop.first_free_slot = slot + 1
    loop.generations = loop.generations % 0xFFFFFF + 1   # never 0, which is that of events about no session
    loop.live += 1
    loop.sessions[slot] = session
    session.slot = slot
    session.generation = loop.generations
    loop.numbers += 1
    session.number = loop.numbers
    session.terminal.fd = session.terminal.pidfd = -1
    session.terminal.errands = &loop.errands
    session.started_ns = session.active_ns = loop.now_ns
    return session


cdef inline void session_release(Loop *loop, Session *session) noexcept nogil:
    check(session.buried or session.input.session == NULL, "a session that is released has ended, or never begun")
    check(session.terminal.fd < 0, "a released session has no terminal")
    check(session.input.queue == NULL and session.output.queue == NULL, "a released session is in no queue")
    check(not channel_holds(&session.input.channel) and not channel_holds(&session.output.channel),
          "a released session holds nothing")
    loop.sessions[session.slot] = NULL
    if session.slot < loop.first_free_slot:
        loop.first_free_slot = session.slot
    loop.live -= 1
    loop.refused -= session.refused
    loop.ended.bytes_in += session.input.channel.bytes
    loop.ended.bytes_out += session.output.channel.bytes
    loop.ended.ignored_frames += session.peer.ignored_frames
    free(session)


cdef inline void session_open(Session *session, int peer_fd, bint framed, int terminal_fd) noexcept nogil:
    """Connects the descriptors; peer_fd is -1 for a shared terminal, terminal_fd for a viewer of one and for a
    peer that is only told something.
    """
    session.peer.fd = peer_fd
    session.peer.framed = framed
    session.terminal.fd = terminal_fd
    session.input.session = session
    session.output.session = session
    channel_open(&session.input.channel, peer_fd, terminal_fd)
    channel_open(&session.output.channel, terminal_fd, peer_fd)
    session.input.channel.short_read_tells = True
    session.input.channel.short_splice_tells = False
    session.input.channel.splice_bytes = BUFFER_BYTES
    session.input.channel.flush_bytes = PTY_WRITE_BYTES
    session.output.channel.short_read_tells = True
    session.output.channel.short_splice_tells = True
    session.output.channel.splice_bytes = PTY_SPLICE_BYTES


cdef inline int session_start(Loop *loop, Session *session, int peer_fd, bint framed) noexcept nogil:
    """Connects a session's descriptors and registers them with epoll. Returns 0, or epoll's errno: it is over then."""
    loop.heartbeat.accepted += 1
    loop.heartbeat.sessions = loop.live
    loop_put_off(loop)
    session_open(session, peer_fd, framed, session.terminal.fd)
    if session.peer.is_guarded:
        session.input.channel.guard = &loop.errands
    if session.shared != NULL and peer_fd >= 0:
        shared_join(session.shared, session)
    elif session.shared != NULL:
        shared_begin(loop, session.shared, session)
    deadlines_expect_limits(loop, session)
    if loop_watch_session(loop, session) < 0:
        return session_abandon(loop, session, errno)
    loop_wake(loop, &session.output)
    return 0


cdef inline int session_abandon(Loop *loop, Session *session, int error) noexcept nogil:
    """epoll does not take the session's descriptors. No event would tell of the leader's end: it is looked for."""
    terminal_signal_leader(&session.terminal, SIGKILL)
    refuse_say_full(session.peer.fd)
    session_finish(loop, session, ENDING_PEER_LEFT)
    session_leader_exited(loop, session)
    return error
