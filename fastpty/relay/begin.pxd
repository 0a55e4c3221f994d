"""The beginning of a session: session_new gives it a slot, session_start its descriptors. session_release frees it."""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from fastpty.relay.accept cimport Arrival, arrival_refuse
from fastpty.relay.channel cimport channel_holds, channel_open
from fastpty.relay.deadlines cimport deadlines_expect_limits
from fastpty.relay.greeting cimport extension_free, extension_open
from fastpty.relay.lifecycle cimport session_finish, session_leader_exited
from fastpty.relay.loop cimport Loop, loop_defer_reports, loop_wake, loop_watch_session
from fastpty.relay.pool cimport BUFFER_BYTES
from fastpty.relay.refuse cimport refuse_say_session
from fastpty.relay.shared cimport shared_join, shared_set_program
from fastpty.relay.state cimport ENDING_PEER_LEFT, Session, Shared, session_output_bytes
from fastpty.relay.terminal cimport terminal_signal_leader
from fastpty.system.check cimport check
from fastpty.system.linux cimport SIGKILL

cdef extern from * nogil:
    uint64_t atomic_add_fetch "__atomic_add_fetch"(uint64_t *, uint64_t, int)
    enum:
        ATOMIC_RELAXED "__ATOMIC_RELAXED"

cdef enum:
    PTY_SPLICE_BYTES = 4096   # the most that a pty returns in one read; a larger splice allocates pages for nothing
    PTY_WRITE_BYTES = 1792    # input written in one turn: one tty buffer; the program can read it before the next turn


cdef inline Session *session_new(Loop *loop) noexcept nogil:
    """Returns a session with a slot and a number but no descriptors, or NULL if there is no memory."""
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
    loop.generations = loop.generations % 0xFFFFFF + 1   # never 0: events that belong to no session have 0
    loop.live += 1
    loop.sessions[slot] = session
    session.slot = slot
    session.generation = loop.generations
    session.number = atomic_add_fetch(loop.last_number, 1, ATOMIC_RELAXED)
    session.terminal.fd = session.terminal.pidfd = session.terminal.input_fd = session.terminal.error_fd = -1
    session.terminal.errands = &loop.errands
    session.terminal.session = session.number
    session.started_ns = session.active_ns = loop.now_ns
    return session


cdef inline Session *session_new_own_viewer(Loop *loop, Shared *shared) noexcept nogil:
    """As session_new, for a viewer of the router's own, such as the log of a shared terminal's output."""
    cdef Session *session = session_new(loop)
    if session != NULL:
        session.shared = shared
        session.peer.is_own = True
    return session


cdef inline void session_release(Loop *loop, Session *session) noexcept nogil:
    """Frees a session that is completed or was not started."""
    check(session.completed or session.input.session == NULL, "a released session is completed or was not started")
    check(session.terminal.fd < 0, "a released session has no terminal")
    check(session.input.queue == NULL and session.output.queue == NULL, "a released session is in no queue")
    check(not channel_holds(&session.input.channel) and not channel_holds(&session.output.channel),
          "a released session holds nothing")
    check(session.extension == NULL or session.extension.errors.queue == NULL, "nor does its standard error wait")
    loop.sessions[session.slot] = NULL
    if session.slot < loop.first_free_slot:
        loop.first_free_slot = session.slot
    loop.live -= 1
    loop.refused -= session.refused
    loop.ended.bytes_in += session.input.channel.bytes
    loop.ended.bytes_out += session_output_bytes(session)
    loop.ended.ignored_frames += session.peer.ignored_frames
    extension_free(loop, session)
    free(session)


cdef inline Session *arrival_session(Loop *loop, Arrival *arrival) noexcept nogil:
    """Returns a new session for a connection, or NULL if there is no memory; then the client was refused."""
    cdef Session *session = session_new(loop)
    if session != NULL and arrival.is_extended and not extension_open(loop, session, arrival.nonce):
        session_release(loop, session)
        session = NULL
    if session == NULL:
        arrival_refuse(loop, arrival, ENOMEM)
        return NULL
    session.peer.fd = arrival.fd
    session.peer.is_guarded = arrival.is_guarded
    session.peer.is_tcp = not arrival.is_unix
    return session


cdef inline void session_open(Session *session, int peer_fd, bint framed, int terminal_fd) noexcept nogil:
    """Opens both channels. peer_fd is -1 for a shared terminal's program; terminal_fd is -1 for a viewer or a refused
    client.
    """
    session.peer.fd = peer_fd
    session.peer.framed = framed
    session.terminal.fd = terminal_fd
    session.input.session = session
    session.output.session = session
    channel_open(&session.input.channel, peer_fd, terminal_fd)
    channel_open(&session.output.channel, terminal_fd, peer_fd)
    session.input.channel.short_read_means_dry = True
    session.input.channel.short_splice_means_dry = False
    session.input.channel.splice_bytes = BUFFER_BYTES
    session.input.channel.flush_bytes = PTY_WRITE_BYTES
    session.output.channel.short_read_means_dry = True
    session.output.channel.short_splice_means_dry = True
    session.output.channel.splice_bytes = PTY_SPLICE_BYTES


cdef inline int session_start(Loop *loop, Session *session, int peer_fd, bint framed) noexcept nogil:
    """Opens a session's channels and registers its descriptors.

    Returns 0. If epoll fails, finishes the session and returns the errno.
    """
    loop.heartbeat.accepted += 1
    loop.heartbeat.sessions = loop.live
    loop_defer_reports(loop)
    session_open(session, peer_fd, framed, session.terminal.fd)
    if session.extension != NULL:
        session.input.channel.writable = False   # until it has a terminal
    if session.peer.is_guarded:
        session.input.channel.guard = &loop.errands
    if session.shared != NULL and peer_fd >= 0:
        shared_join(session.shared, session)
    elif session.shared != NULL:
        shared_set_program(loop, session.shared, session)
    deadlines_expect_limits(loop, session)
    if loop_watch_session(loop, session) < 0:
        return session_abandon(loop, session, errno)
    loop_wake(loop, &session.output)
    return 0


cdef inline int session_abandon(Loop *loop, Session *session, int error) noexcept nogil:
    """Ends a session whose descriptors epoll did not register. Returns `error`.

    No event would report the leader's exit, so the leader is killed and reaped here.
    """
    terminal_signal_leader(&session.terminal, SIGKILL)
    refuse_say_session(loop, session, error)
    session_finish(loop, session, ENDING_PEER_LEFT)
    session_leader_exited(loop, session)
    return error
