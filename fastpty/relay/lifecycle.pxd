"""A session's life in the loop: from its slot, through hang-up and lingering, to the list of the done.

A session is over when its output has ended or its peer has left. Its terminal closes then; it is buried, that is, put
into `loop.done` for the owner to report and release, when no peer lingers and no process is left to be awaited.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset, strlen

from fastpty.relay.channel cimport Buffer, Channel, channel_drop, channel_holds, channel_read, memory_is_short
from fastpty.system.check cimport check
from fastpty.relay.errands cimport errands_close
from fastpty.wire.http cimport http_request_begins, tls_hello_begins
from fastpty.system.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, SHUT_WR, close, send, shutdown
from fastpty.relay.loop cimport (
    MILLISECOND_NS,
    RETRY_FIRST_MS,
    Loop,
    loop_arm,
    loop_due,
    loop_expect,
    loop_retry,
    loop_source_ready,
    loop_wake,
)
from fastpty.relay.state cimport (
    ENDING_EXIT,
    ENDING_HTTP,
    ENDING_IDLE,
    ENDING_LIFETIME,
    ENDING_MEMORY,
    ENDING_PEER_LEFT,
    ENDING_SILENT,
    ENDING_STOPPED,
    ENDING_TLS,
    ROLE_PRIVATE,
    Ending,
    Session,
    Task,
    queue_push,
    queue_remove,
)
from fastpty.relay.shared cimport shared_part
from fastpty.relay.terminal cimport (
    terminal_close,
    terminal_end_input,
    terminal_forget_leader,
    terminal_group_remains,
    terminal_hang_up,
    terminal_kill,
    terminal_reap,
)

cdef enum:
    AFTER_EXIT_BYTES = 65536           # more than a pty's own buffers hold: all that was written before the exit
    LINGER_READS_MOST = 16             # of a lingering peer's bytes in one step
    EXIT_MS = 200                      # for a leader that has closed its terminal to exit, before it is hung up
    LINGER_MS = 2000                   # for the peer to take what is left and close, after the session's end
    KILLED_MS = 1000                   # for a killed leader to be reaped, where the router stops
    PROBE_AFTER_MS = 1000              # since a TCP peer has sent its last
    STARVE_MOST_MS = 1000              # that a channel waits for memory


cdef inline void loop_expect_limits(Loop *loop, const Session *session) noexcept nogil:
    """Has the loop look at a private session again when the first of its times may be over."""
    if session.role != ROLE_PRIVATE:
        return
    if loop.idle_ns > 0:
        loop_expect(loop, session.active_ns + loop.idle_ns)
    if loop.lifetime_ns > 0:
        loop_expect(loop, session.started_ns + loop.lifetime_ns)
    if loop.greeting_ns > 0 and session.peer.framed and session.input.channel.taken_bytes == 0:
        loop_expect(loop, session.started_ns + loop.greeting_ns)


cdef inline void loop_meet_limits(Loop *loop, Session *session) noexcept nogil:
    """Ends a private session one of whose times is over, and tells the client which."""
    if session.role != ROLE_PRIVATE:
        return
    if loop.idle_ns > 0 and session.active_ns + loop.idle_ns <= loop.now_ns:
        loop_end(loop, session, ENDING_IDLE, b"\r\nfastpty: the session was idle for too long\r\n")
    elif loop.lifetime_ns > 0 and session.started_ns + loop.lifetime_ns <= loop.now_ns:
        loop_end(loop, session, ENDING_LIFETIME, b"\r\nfastpty: the session's time is over\r\n")
    elif (
        loop.greeting_ns > 0 and session.peer.framed and session.input.channel.taken_bytes == 0
        and session.started_ns + loop.greeting_ns <= loop.now_ns
    ):
        loop_end(loop, session, ENDING_SILENT, b"\r\nfastpty: the client never said anything\r\n")
    else:
        loop_expect_limits(loop, session)


cdef inline void loop_end(Loop *loop, Session *session, Ending ending, const char *text) noexcept nogil:
    """Ends a session with a last line for the client, as far as its socket has room for that."""
    send(session.peer.fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL)
    loop_finish(loop, session, ending)


cdef inline bint loop_end_stray(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose TCP peer has begun with HTTP or TLS, before a program could take that for a command."""
    cdef const Buffer *buffer = session.input.channel.buffer
    cdef const uint8_t *data
    cdef size_t held
    if not session.peer.is_tcp or buffer == NULL:
        return False
    data, held = buffer.data + buffer.start, buffer.end - buffer.start
    if http_request_begins(data, held):
        loop_end(loop, session, ENDING_HTTP,
                 b"HTTP/1.0 400 Bad Request\r\n\r\nfastpty: this port gives terminals, not web pages\r\n")
        return True
    if tls_hello_begins(data, held):
        loop_end(loop, session, ENDING_TLS, b"fastpty: this port does not speak TLS: connect without it\r\n")
        return True
    return False


cdef inline Session *loop_new_session(Loop *loop) noexcept nogil:
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
    session.started_ns = session.active_ns = loop.now_ns
    return session


cdef inline void loop_release_session(Loop *loop, Session *session) noexcept nogil:
    check(session.buried or session.input.session == NULL, "a session that is released has ended, or never begun")
    check(session.terminal.fd < 0, "a released session has no terminal")
    check(session.input.queue == NULL and session.output.queue == NULL, "a released session is in no queue")
    check(not channel_holds(&session.input.channel) and not channel_holds(&session.output.channel),
          "a released session holds nothing")
    loop.sessions[session.slot] = NULL
    if session.slot < loop.first_free_slot:
        loop.first_free_slot = session.slot
    loop.live -= 1
    free(session)


cdef inline void loop_hang_up(Loop *loop, Session *session) noexcept nogil:
    """SIGHUP now, once, and SIGKILL after the grace time to what is left then."""
    if session.terminal.fd >= 0 and session.terminal.pidfd >= 0 and not session.hung_up:
        session.hung_up = True
        terminal_hang_up(&session.terminal)
        loop_arm(loop, &session.kill_at_ns, loop.grace_ns)


cdef inline void loop_stop(Loop *loop) noexcept nogil:
    """Hangs up every session. What is left of one after the grace time ends then; the second time, at once."""
    cdef bint at_once = loop.stopping
    cdef uint32_t slot
    cdef Session *session
    if at_once:
        loop.grace_ns = 0
    loop.stopping = True
    for slot in range(loop.slots):
        session = loop.sessions[slot]
        if session != NULL:
            loop_hang_up(loop, session)
            if at_once or session.kill_at_ns == 0:
                loop_arm(loop, &session.kill_at_ns, loop.grace_ns)


cdef inline void loop_finish(Loop *loop, Session *session, Ending ending) noexcept nogil:
    """The session is over: the terminal closes; the peer stays a while if it has yet to read the end.

    Closing at once would make the kernel throw away what such a peer has not read (TCP) or report a broken connection
    to it (unix(7)) whenever it had sent something that nobody read.
    """
    if session.over:
        return
    loop_hang_up(loop, session)
    session.over = True
    session.ending = ending
    queue_remove(&session.input)
    queue_remove(&session.output)
    channel_drop(&session.input.channel, &loop.pool)
    channel_drop(&session.output.channel, &loop.pool)
    if not terminal_close(&session.terminal):
        loop_retry(loop, &session.bury)
    if session.role != ROLE_PRIVATE:
        shared_part(loop, session)
        if session.shared.closing and session.shared.viewers == NULL and session.shared.program != NULL:
            loop_hang_up(loop, session.shared.program)
    if session.peer.fd < 0:
        loop_bury(loop, session)
        return
    if ending == ENDING_PEER_LEFT:
        loop_close_peer(loop, session)
        return
    shutdown(session.peer.fd, SHUT_WR)
    if loop.stopping and loop.grace_ns == 0:
        loop_close_peer(loop, session)
        return
    loop_arm(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    loop_source_ready(loop, &session.input, False)


cdef inline bint loop_starves(Loop *loop, Task *task) noexcept nogil:
    """Whether the channel found no memory: it is tried again after a moment, as others give theirs back.

    But not for ever: those who hold it may wait for each other's. Then some sessions end, so that others can go on.
    """
    if not task.channel.starved:
        return False
    if task.starved_ns == 0:
        task.starved_ns = loop.now_ns
    if loop.now_ns - task.starved_ns > STARVE_MOST_MS * <int64_t>MILLISECOND_NS:
        loop_finish(loop, task.session, ENDING_MEMORY)
    else:
        loop_arm(loop, &task.session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
    return True


cdef inline void loop_linger(Loop *loop, Session *session) noexcept nogil:
    """Reads and drops what a peer still sends, until it closes too."""
    cdef uint8_t dropped[4096]
    cdef ssize_t got = 1
    cdef int reads = 0
    while got > 0 and reads < LINGER_READS_MOST:
        got = channel_read(&session.input.channel, dropped, sizeof(dropped))
        reads += 1
    if got > 0 or (got < 0 and errno == EINTR):
        queue_push(&loop.bulk, &session.input)
        return
    session.input.channel.readable = False
    if got == 0 or not (errno == EAGAIN or memory_is_short(got)):
        loop_close_peer(loop, session)


cdef inline void loop_close_peer(Loop *loop, Session *session) noexcept nogil:
    if session.peer.fd >= 0:
        session.peer.leaving = True
        queue_remove(&session.input)
        loop_bury(loop, session)


cdef inline bint loop_let_peer_go(Loop *loop, Session *session) noexcept nogil:
    """Closes the connection of a peer that leaves. False: not yet."""
    cdef int fd = session.peer.fd
    if fd < 0 or not session.peer.leaving:
        return True
    if not session.peer.is_guarded:
        close(fd)
    elif not errands_close(&loop.errands, fd):
        return False
    session.peer.fd = -1
    return True


cdef inline void loop_leave_open(Loop *loop, Session *session) noexcept nogil:
    """The router stops, and nobody takes what may wait for ever in its last close: no longer waits for that."""
    if session.terminal.fd >= 0:
        loop.leaves_open = True
        session.terminal.fd = -1
    if session.peer.fd >= 0 and session.peer.leaving:
        loop.leaves_open = True
        session.peer.fd = -1
    loop_bury(loop, session)


cdef inline void loop_bury(Loop *loop, Session *session) noexcept nogil:
    """Puts a session that left nothing behind, neither peer nor process, into the list of the done."""
    cdef bint is_closed
    if session.buried or not session.over:
        return
    is_closed = loop_let_peer_go(loop, session)
    if not terminal_close(&session.terminal) or not is_closed:
        loop_retry(loop, &session.bury)
        return
    if session.peer.fd >= 0 or session.terminal.pidfd >= 0:
        return
    if session.kill_at_ns != 0 and terminal_group_remains(&session.terminal):
        # Hung up a moment ago, or a zombie that its own parent has yet to reap. No event tells of a group's end.
        loop_retry(loop, &session.bury)
        return
    session.buried = True
    session.next_done = loop.done
    loop.done = session


cdef inline void loop_output_ended(Loop *loop, Session *session) noexcept nogil:
    """Nobody has the terminal open any more, which is the session's end.

    A leader's descriptors close before it has exited, and some close them first. So it may come to its own end, and
    how it ended can be told, before a hang-up would kill it.
    """
    if session.terminal.pidfd >= 0 and not terminal_reap(&session.terminal):
        loop_arm(loop, &session.exit_by_ns, EXIT_MS * <int64_t>MILLISECOND_NS)
    else:
        loop_finish(loop, session, ENDING_EXIT)


cdef inline void loop_leader_exited(Loop *loop, Session *session) noexcept nogil:
    """Reaps the leader. What it and its children have written until now is still delivered, and no more than that.

    A leader that is traced is dead for its pidfd before it is for waitid(2): only when its tracer has waited.
    """
    cdef Channel *output = &session.output.channel
    if not terminal_reap(&session.terminal):
        if session.terminal.pidfd >= 0:
            loop_retry(loop, &session.reap)
        return
    if session.over:
        loop_bury(loop, session)
        return
    if session.exit_by_ns != 0:
        loop_finish(loop, session, ENDING_EXIT)
        return
    output.allowance = AFTER_EXIT_BYTES
    loop_source_ready(loop, &session.output, True)


cdef inline void loop_end_input(Loop *loop, Session *session) noexcept nogil:
    """The peer's end of file lasts, so it is told again, ever more slowly, to whoever reads the terminal next."""
    terminal_end_input(&session.terminal)
    loop_retry(loop, &session.end_input)


cdef inline void loop_doubt(Loop *loop, Session *session) noexcept nogil:
    """A peer has closed, or only its half: TCP does not tell. It is asked a moment later, after its last words."""
    if session.peer.is_tcp and not session.peer.is_probed:
        session.peer.is_probed = True
        loop_arm(loop, &session.probe_at_ns, PROBE_AFTER_MS * <int64_t>MILLISECOND_NS)


cdef inline void loop_probe(Session *session) noexcept nogil:
    """Has a TCP peer that has closed its connection say so: it answers data with a reset.

    A peer that has closed only its half does not see this byte: urgent data is not in the stream (tcp(7)). Once only,
    since a second byte would make the first a part of the stream if the peer has not read so far.
    """
    send(session.peer.fd, b"", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline void loop_meet_deadlines(Loop *loop) noexcept nogil:
    """Looks at every session, which is rare: only when the earliest deadline has come."""
    cdef uint32_t slot
    loop.next_deadline_ns = 0
    for slot in range(loop.slots):
        if loop.sessions[slot] != NULL:
            loop_meet_session_deadlines(loop, loop.sessions[slot])


cdef inline void loop_meet_session_deadlines(Loop *loop, Session *session) noexcept nogil:
    if loop_due(loop, &session.reap.at_ns):
        loop_leader_exited(loop, session)
    if not session.over:
        if loop_due(loop, &session.probe_at_ns):
            loop_probe(session)
        if loop_due(loop, &session.end_input.at_ns):
            loop_end_input(loop, session)
        if loop_due(loop, &session.memory_at_ns):
            loop_wake(loop, &session.input)
            loop_wake(loop, &session.output)
        if loop_due(loop, &session.exit_by_ns):
            loop_finish(loop, session, ENDING_EXIT)
        else:
            loop_meet_limits(loop, session)
    elif loop_due(loop, &session.bury.at_ns):
        loop_bury(loop, session)
    if loop_due(loop, &session.kill_at_ns):
        terminal_kill(&session.terminal)
        if loop.stopping:
            loop_finish(loop, session, ENDING_STOPPED)
            loop_arm(loop, &session.forget_at_ns, KILLED_MS * <int64_t>MILLISECOND_NS)
            if loop.grace_ns == 0:
                loop_close_peer(loop, session)
        loop_bury(loop, session)
    if loop_due(loop, &session.forget_at_ns):
        # A tracer has it, or it hangs in the kernel. It is not for the router to wait for that.
        terminal_forget_leader(&session.terminal)
        loop_bury(loop, session)
        loop_leave_open(loop, session)
    if loop_due(loop, &session.linger_until_ns):
        loop_finish(loop, session, ENDING_PEER_LEFT)
        loop_close_peer(loop, session)
