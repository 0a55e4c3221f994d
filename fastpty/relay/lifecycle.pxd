"""A session's life in the loop: from its slot, through hang-up and lingering, to the list of the done.

A session is over when its output has ended or its peer has left. Its terminal closes then; it is buried, that is, put
into `loop.done` for the owner to report and release, when no peer lingers and no process is left to be awaited.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport strlen

from fastpty.relay.channel cimport Channel, channel_drop, channel_read
from fastpty.relay.errands cimport errands_close
from fastpty.relay.hang_up cimport session_hang_up
from fastpty.relay.loop cimport MILLISECOND_NS, RETRY_FIRST_MS, Loop, loop_arm, loop_retry, loop_source_ready
from fastpty.relay.pool cimport memory_is_short
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.shared cimport shared_part
from fastpty.relay.state cimport ENDING_EXIT, ENDING_MEMORY, ENDING_PEER_LEFT, ROLE_PRIVATE, Ending, Session, Task
from fastpty.relay.terminal cimport terminal_close, terminal_end_input, terminal_group_remains, terminal_reap
from fastpty.system.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, close, send, shutdown

cdef enum:
    AFTER_EXIT_BYTES = 65536           # more than a pty's own buffers hold: all that was written before the exit
    LINGER_READS_MOST = 16             # of a lingering peer's bytes in one step
    EXIT_MS = 200                      # for a leader that has closed its terminal to exit, before it is hung up
    LINGER_MS = 2000                   # for the peer to take what is left and close, after the session's end
    STARVE_MOST_MS = 1000              # that a channel waits for memory


cdef inline void session_end_with_line(Loop *loop, Session *session, Ending ending, const char *text) noexcept nogil:
    """Ends a session with a last line for the client, as far as its socket has room for that."""
    send(session.peer.fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL)
    session_finish(loop, session, ending)


cdef inline void session_finish(Loop *loop, Session *session, Ending ending) noexcept nogil:
    """The session is over: the terminal closes; the peer stays a while if it has yet to read the end.

    Closing at once would make the kernel throw away what such a peer has not read (TCP) or report a broken connection
    to it (unix(7)) whenever it had sent something that nobody read.
    """
    if session.over:
        return
    session_hang_up(loop, session)
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
    if session.peer.fd < 0:
        session_bury(loop, session)
        return
    if ending == ENDING_PEER_LEFT:
        session_close_peer(loop, session)
        return
    shutdown(session.peer.fd, SHUT_WR)
    if loop.stopping and loop.grace_ns == 0:
        session_close_peer(loop, session)
        return
    loop_arm(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    loop_source_ready(loop, &session.input, False)


cdef inline bint session_starves(Loop *loop, Task *task) noexcept nogil:
    """Whether the channel found no memory: it is tried again after a moment, as others give theirs back.

    But not for ever: those who hold it may wait for each other's. Then some sessions end, so that others can go on.
    """
    if not task.channel.starved:
        return False
    if task.starved_ns == 0:
        task.starved_ns = loop.now_ns
    if loop.now_ns - task.starved_ns > STARVE_MOST_MS * <int64_t>MILLISECOND_NS:
        session_finish(loop, task.session, ENDING_MEMORY)
    else:
        loop_arm(loop, &task.session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
    return True


cdef inline void session_linger(Loop *loop, Session *session) noexcept nogil:
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
        session_close_peer(loop, session)


cdef inline void session_close_peer(Loop *loop, Session *session) noexcept nogil:
    if session.peer.fd >= 0:
        session.peer.leaving = True
        queue_remove(&session.input)
        session_bury(loop, session)


cdef inline bint session_let_peer_go(Loop *loop, Session *session) noexcept nogil:
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


cdef inline void session_leave_open(Loop *loop, Session *session) noexcept nogil:
    """The router stops, and nobody takes what may wait for ever in its last close: no longer waits for that."""
    if session.terminal.fd >= 0:
        loop.leaves_open = True
        session.terminal.fd = -1
    if session.peer.fd >= 0 and session.peer.leaving:
        loop.leaves_open = True
        session.peer.fd = -1
    session_bury(loop, session)


cdef inline void session_bury(Loop *loop, Session *session) noexcept nogil:
    """Puts a session that left nothing behind, neither peer nor process, into the list of the done."""
    cdef bint is_closed
    if session.buried or not session.over:
        return
    is_closed = session_let_peer_go(loop, session)
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


cdef inline void session_output_ended(Loop *loop, Session *session) noexcept nogil:
    """Nobody has the terminal open any more, which is the session's end.

    A leader's descriptors close before it has exited, and some close them first. So it may come to its own end, and
    how it ended can be told, before a hang-up would kill it.
    """
    if session.terminal.pidfd >= 0 and not terminal_reap(&session.terminal):
        loop_arm(loop, &session.exit_by_ns, EXIT_MS * <int64_t>MILLISECOND_NS)
    else:
        session_finish(loop, session, ENDING_EXIT)


cdef inline void session_leader_exited(Loop *loop, Session *session) noexcept nogil:
    """Reaps the leader. What it and its children have written until now is still delivered, and no more than that.

    A leader that is traced is dead for its pidfd before it is for waitid(2): only when its tracer has waited.
    """
    cdef Channel *output = &session.output.channel
    if not terminal_reap(&session.terminal):
        if session.terminal.pidfd >= 0:
            loop_retry(loop, &session.reap)
        return
    if session.over:
        session_bury(loop, session)
        return
    if session.exit_by_ns != 0:
        session_finish(loop, session, ENDING_EXIT)
        return
    output.allowance = AFTER_EXIT_BYTES
    loop_source_ready(loop, &session.output, True)


cdef inline void session_end_input(Loop *loop, Session *session) noexcept nogil:
    """The peer's end of file lasts, so it is told again, ever more slowly, to whoever reads the terminal next."""
    terminal_end_input(&session.terminal)
    loop_retry(loop, &session.end_input)
