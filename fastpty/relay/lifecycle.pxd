"""The end of a session, in three steps.

Finished: the output has ended or the client has left. The terminal is hung up and closed; the client may still read.
Completed: the connection is closed, the leader is reaped and the hung-up group is gone. The session is in `Loop.done`.
Released: the handler was told, and the slot is free (fastpty/relay/begin.pxd).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t

from fastpty.relay.channel cimport CHANNEL_OPEN, CHANNEL_TARGET_FAILED, Channel, channel_drop, channel_read
from fastpty.relay.errands cimport ERRAND_END_INPUT, ERRAND_KILL_LINE, ERRAND_SUBMIT_LINE, errands_close
from fastpty.relay.hang_up cimport session_hang_up
from fastpty.relay.loop cimport MILLISECOND_NS, RETRY_FIRST_MS, Loop, loop_retry, loop_set_deadline, loop_source_ready
from fastpty.relay.notice cimport notice_send_ending
from fastpty.relay.pool cimport memory_is_short
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.shared cimport shared_remove, shared_wake_inputs
from fastpty.relay.state cimport (
    ENDING_EXIT, ENDING_MEMORY, ENDING_PEER_LEFT, ROLE_PRIVATE, ROLE_PROGRAM, Ending, Retry, Session, Task,
)
from fastpty.relay.terminal cimport (
    terminal_close, terminal_end_input, terminal_events, terminal_group_remains, terminal_reap,
)
from fastpty.system.linux cimport POLLIN, SHUT_WR, close, shutdown

cdef enum:
    AFTER_EXIT_BYTES = 65536           # read after the leader's exit; the buffers of a pty hold less
    LINGER_READS_MOST = 16             # reads from a lingering peer in one step
    EXIT_MS = 200                      # a leader that has closed its terminal has this time to exit
    LINGER_MS = 2000                   # a peer has this time to read the last output and close
    END_LINE_MS = 1280                 # a pause between two ends of file; 2.5 s after the first one
    NO_MEMORY_MOST_MS = 1000           # a channel waits this long for memory


cdef inline void session_finish(Loop *loop, Session *session, Ending ending) noexcept nogil:
    """Finishes a session: hangs up and closes the terminal. The connection stays open until the client closes it.

    If the router has ended the session, a notice says why. If the connection were closed at once while input is
    unread, the kernel would discard output that the client has not read yet (TCP), or report a broken connection
    (unix(7)).
    """
    if session.finished:
        return
    notice_send_ending(loop, session, ending)
    session_hang_up(loop, session)
    session.finished = True
    session.ending = ending
    queue_remove(&session.input)
    queue_remove(&session.output)
    channel_drop(&session.input.channel, &loop.pool)
    channel_drop(&session.output.channel, &loop.pool)
    if not terminal_close(&session.terminal):
        loop_retry(loop, &session.retry_complete)
    if session.role != ROLE_PRIVATE:
        shared_remove(loop, session)
    if session.peer.fd < 0:
        session_complete(loop, session)
        return
    if ending == ENDING_PEER_LEFT:
        session_close_peer(loop, session)
        return
    shutdown(session.peer.fd, SHUT_WR)
    if loop.stopping and loop.grace_ns == 0:
        session_close_peer(loop, session)
        return
    loop_set_deadline(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    loop_source_ready(loop, &session.input, False)


cdef inline bint session_waits_for_memory(Loop *loop, Task *task) noexcept nogil:
    """Returns True if the channel's last step found no memory. Then it is tried again soon, when others may have freed
    some. After NO_MEMORY_MOST_MS the session ends: channels that hold memory may be waiting for each other.
    """
    if not task.channel.no_memory:
        return False
    if task.no_memory_since_ns == 0:
        task.no_memory_since_ns = loop.now_ns
    if loop.now_ns - task.no_memory_since_ns > NO_MEMORY_MOST_MS * <int64_t>MILLISECOND_NS:
        session_finish(loop, task.session, ENDING_MEMORY)
    else:
        loop_set_deadline(loop, &task.session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
    return True


cdef inline void session_linger(Loop *loop, Session *session) noexcept nogil:
    """Reads and discards what the client of a finished session still sends, until it closes its end."""
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
    """Closes the connection of a finished session."""
    if session.peer.fd >= 0:
        session.peer.leaving = True
        queue_remove(&session.input)
        session_complete(loop, session)


cdef inline bint session_let_peer_go(Loop *loop, Session *session) noexcept nogil:
    """Closes the connection if it is to be closed. Returns False if that must be tried again."""
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
    """Gives up closing descriptors whose close could block, since the router stops and no process takes them."""
    if session.terminal.fd >= 0:
        loop.leaves_open = True
        session.terminal.fd = -1
    if session.peer.fd >= 0 and session.peer.leaving:
        loop.leaves_open = True
        session.peer.fd = -1
    session_complete(loop, session)


cdef inline void session_complete(Loop *loop, Session *session) noexcept nogil:
    """Completes a finished session if its connection is closed and its processes have ended. Otherwise does nothing."""
    cdef bint is_closed
    if session.completed or not session.finished:
        return
    is_closed = session_let_peer_go(loop, session)
    if not terminal_close(&session.terminal) or not is_closed:
        loop_retry(loop, &session.retry_complete)
        return
    if session.peer.fd >= 0 or session.terminal.pidfd >= 0:
        return
    if session.kill_at_ns != 0 and terminal_group_remains(&session.terminal):
        # The group still runs, or holds a zombie. The kernel reports no event when a process group ends.
        loop_retry(loop, &session.retry_complete)
        return
    session.completed = True
    session.next_done = loop.done
    loop.done = session


cdef inline void session_output_ended(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose terminal no process has open any more.

    The kernel closes a leader's descriptors before it reports the exit, and some programs close the terminal before
    they exit. So the leader gets EXIT_MS to exit by itself, with its own status, before it is hung up. In this time it
    can also open the terminal again, as login and agetty do (session_reopened).
    """
    if session.terminal.pidfd >= 0 and not terminal_reap(&session.terminal):
        loop_set_deadline(loop, &session.exit_by_ns, EXIT_MS * <int64_t>MILLISECOND_NS)
    else:
        session_finish(loop, session, ENDING_EXIT)


cdef inline bint session_reopened(Loop *loop, Session *session) noexcept nogil:
    """Goes on with a session whose terminal was closed and opened again. Returns False if it is still closed."""
    cdef Channel *input = &session.input.channel
    cdef Channel *output = &session.output.channel
    cdef int events = terminal_events(&session.terminal)
    if events != 0 and not events & POLLIN:
        return False
    session.exit_by_ns = 0
    output.state = CHANNEL_OPEN
    output.hung_up = False
    loop_source_ready(loop, &session.output, False)
    if session.role == ROLE_PROGRAM:
        shared_wake_inputs(loop, session.shared)
    elif input.state == CHANNEL_TARGET_FAILED:
        input.state = CHANNEL_OPEN
        input.writable = True
        loop_source_ready(loop, &session.input, False)
    return True


cdef inline void session_leader_exited(Loop *loop, Session *session) noexcept nogil:
    """Reaps the leader. The output written until now is still delivered, but nothing later.

    If the leader is traced, its pidfd reports the exit before waitid(2) does: not until its tracer has waited for it.
    """
    cdef Channel *output = &session.output.channel
    if not terminal_reap(&session.terminal):
        if session.terminal.pidfd >= 0:
            loop_retry(loop, &session.retry_reap)
        return
    if session.finished:
        session_complete(loop, session)
        return
    if session.exit_by_ns != 0 and not session_reopened(loop, session):
        session_finish(loop, session, ENDING_EXIT)
        return
    output.allowance = AFTER_EXIT_BYTES
    loop_source_ready(loop, &session.output, True)


cdef inline void session_end_input(Loop *loop, Session *session) noexcept nogil:
    """Passes the client's end of file on to the terminal, again and again: the next program must see it, too.

    If that has not ended the program by END_LINE_MS, a line editor may hold text, where an end of file has no effect.
    A last line without a newline is submitted then, as canonical mode does at an end of file. Any other text is
    erased: an end of file that was typed while no program read it can become text. The end of file follows.
    """
    cdef Retry *retry = &session.retry_end_input
    if retry.pause_ns < END_LINE_MS * <int64_t>MILLISECOND_NS or session.line_ended:
        session.line_ended = False
        terminal_end_input(&session.terminal, ERRAND_END_INPUT)
        loop_retry(loop, retry)
        return
    session.line_ended = True
    terminal_end_input(&session.terminal,
                       ERRAND_SUBMIT_LINE if session.input.channel.last_byte >= b" " else ERRAND_KILL_LINE)
    loop_set_deadline(loop, &retry.at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
