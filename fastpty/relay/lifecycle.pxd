"""The end of a session, in three steps.

Finished: the output has ended or the client has left. The terminal is hung up and closed; the client may still read.
Completed: the connection is closed, the leader is reaped and the hung-up group is gone. The session is in `Loop.done`.
Released: the handler was notified, and the slot is free (fastpty/relay/begin.pxd).
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t

from fastpty.relay.channel cimport (
    CHANNEL_OPEN, CHANNEL_TARGET_FAILED, Channel, channel_drop, channel_drop_bytes, channel_ended, channel_held_bytes,
    channel_holds, channel_read,
)
from fastpty.relay.errands cimport ERRAND_END_INPUT, ERRAND_KILL_LINE, ERRAND_SUBMIT_LINE, errands_close
from fastpty.relay.final cimport final_flush, final_is_known, final_is_owed, final_settle
from fastpty.relay.hang_up cimport session_hang_up
from fastpty.relay.loop cimport (
    MILLISECOND_NS, RETRY_FIRST_MS, Loop, loop_retry, loop_set_deadline, loop_source_ready, loop_wake,
    loop_watch_room,
)
from fastpty.relay.notice cimport notice_send_ending
from fastpty.relay.pool cimport memory_is_short
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.request cimport request_abandon
from fastpty.relay.shared cimport shared_remove, shared_wake_inputs
from fastpty.relay.state cimport (
    ENDING_EXIT, ENDING_MEMORY, ENDING_PEER_LEFT, PHASE_RUNNING, ROLE_PRIVATE, ROLE_PROGRAM, Ending, Extension, Retry,
    Session, Task,
)
from fastpty.relay.terminal cimport (
    terminal_close, terminal_close_input, terminal_end_input, terminal_events, terminal_group_remains,
    terminal_leaders_group_remains, terminal_reap,
)
from fastpty.system.linux cimport POLLHUP, POLLIN, SHUT_WR, SOL_SOCKET, SO_SNDBUF, close, setsockopt, shutdown

cdef enum:
    AFTER_EXIT_BYTES = 65536           # the most output read after the leader's exit; the buffers of a pty hold less
    LINGER_READS_MOST = 16             # reads from a lingering peer in one step
    CLOSED_LOOK_MS = 50                # a closed terminal is looked at this often
    CLOSED_MOST_MS = 1000              # a leader that has closed its terminal has this time to exit or to open it again
    LINGER_MS = 2000                   # a peer has this time to read the last output and close
    END_LINE_MS = 1280                 # after this pause, 2.5 s after the first end of file, a line is ended, too
    FINAL_MS = 1000                    # after SIGKILL the leader has this time to be reaped, for its status
    FINAL_SEND_BYTES = 131072          # SO_SNDBUF for the rest of a session whose client does not read
    NO_MEMORY_MOST_MS = 1000           # a channel waits this long for memory


cdef inline void session_finish(Loop *loop, Session *session, Ending ending) noexcept nogil:
    """Finishes a session: hangs up and closes the terminal. The connection stays open until the client closes it.

    If the router has ended the session, a notice says why. If the connection were closed at once while input is
    unread, the kernel would discard output that the client has not read yet (TCP), or report a broken connection
    (unix(7)).
    """
    if session.finished:
        return
    if not final_is_owed(session):   # otherwise the final frame says why
        notice_send_ending(loop, session, ending)
    if not (session.terminal.has_exited and ending == ENDING_EXIT):   # processes that a finished exec left behind go on
        session_hang_up(loop, session)
    session.finished = True
    session.ending = ending
    session.ended_ns = loop.now_ns
    queue_remove(&session.input)
    queue_remove(&session.output)
    if session.extension != NULL:
        queue_remove(&session.extension.errors)
    request_abandon(loop, session.extension)
    channel_drop(&session.input.channel, &loop.pool)
    if session.extension == NULL or ending == ENDING_PEER_LEFT:
        session_drop_output(loop, session)
    if session.terminal.has_exited and session.terminal.pidfd >= 0 and not session_reap(session):
        loop_retry(loop, &session.retry_reap)
    if not terminal_close(&session.terminal):
        loop_retry(loop, &session.retry_complete)
    if session.role != ROLE_PRIVATE:
        shared_remove(loop, session)
    if session.peer.fd < 0:
        session_complete(loop, session)
        return
    if ending == ENDING_PEER_LEFT:
        session_close_peer(loop, session)
    elif not final_is_owed(session):
        session_part(loop, session)
    else:
        loop_set_deadline(loop, &session.final_by_ns, loop.grace_ns + FINAL_MS * <int64_t>MILLISECOND_NS)
        loop_source_ready(loop, &session.input, False)
        session_send_final(loop, session, False)


cdef inline void session_drop_output(Loop *loop, Session *session) noexcept nogil:
    """Discards the output and the frames that are not sent yet."""
    queue_remove(&session.output)
    channel_drop(&session.output.channel, &loop.pool)
    if session.extension != NULL:
        queue_remove(&session.extension.errors)
        channel_drop_bytes(&session.extension.errors.channel, &loop.pool)


cdef inline void session_send_final(Loop *loop, Session *session, bint at_last) noexcept nogil:
    """Sends the output that a finished session still holds, then its final frame if that is known.

    at_last: does not wait for the leader's status any longer.
    """
    cdef Channel *output = &session.output.channel
    cdef int send_bytes = FINAL_SEND_BYTES
    cdef bint is_sent
    if not final_is_owed(session) or session.peer.fd < 0:
        return
    final_settle(loop, session, at_last)
    is_sent = final_flush(loop, session)
    if not is_sent and output.state != CHANNEL_TARGET_FAILED and final_is_known(session):
        # The client does not read now. A larger socket buffer takes the rest, so that the session can end.
        setsockopt(session.peer.fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes))
        is_sent = final_flush(loop, session)
        if session.linger_until_ns == 0:
            loop_set_deadline(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    if output.state == CHANNEL_TARGET_FAILED:
        session_close_peer(loop, session)
    elif not final_is_owed(session):
        session_part(loop, session)
    elif not is_sent and output.no_memory:
        loop_set_deadline(loop, &session.memory_at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)
    elif not is_sent:
        loop_watch_room(loop, &session.output, True)


cdef inline void session_part(Loop *loop, Session *session) noexcept nogil:
    """Half-closes the connection, and gives the client LINGER_MS to read the rest and close."""
    shutdown(session.peer.fd, SHUT_WR)
    if loop.stopping and loop.grace_ns == 0:
        session_close_peer(loop, session)
        return
    loop_set_deadline(loop, &session.linger_until_ns, LINGER_MS * <int64_t>MILLISECOND_NS)
    loop_source_ready(loop, &session.input, False)


cdef inline bint session_waits_for_memory(Loop *loop, Task *task) noexcept nogil:
    """Returns True if the channel's last step found no memory. Then it tries again soon, as other sessions may have
    freed some. After NO_MEMORY_MOST_MS the session ends: channels that hold memory may be waiting for each other.
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
    if got == 0 and final_is_owed(session):
        return   # it may have closed only its sending half: sending the final frame will show
    if got == 0 or not (errno == EAGAIN or memory_is_short(got)):
        session_close_peer(loop, session)


cdef inline void session_close_peer(Loop *loop, Session *session) noexcept nogil:
    """Closes the connection of a finished session."""
    if session.peer.fd >= 0:
        session.peer.leaving = True
        queue_remove(&session.input)
        session_drop_output(loop, session)
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
    """Leaves descriptors open whose close could block, since the router stops and no errand process takes them."""
    if session.terminal.fd >= 0 or (session.terminal.has_streams and session.terminal.error_fd >= 0):
        loop.leaves_open = True
        session.terminal.fd = session.terminal.error_fd = -1
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
    terminal_close_input(&session.terminal)
    session.completed = True
    session.next_done = loop.done
    loop.done = session


cdef inline bint session_reap(Session *session) noexcept nogil:
    """Reaps the leader, as terminal_reap does, and notes whether processes of its group may still have output.

    The kernel hangs up the terminal when the leader exits, so what these processes write later is lost.
    """
    if not terminal_reap(&session.terminal):
        return False
    session.output_cut = session.output_cut or (
        session.extension != NULL and not session.terminal.has_streams
        and terminal_leaders_group_remains(&session.terminal))
    return True


cdef inline void session_output_ended(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose terminal no process has open any more.

    The kernel closes a leader's descriptors before it reports the exit, and some programs close the terminal before
    they exit. So the leader gets CLOSED_MOST_MS to exit by itself, with its own status, before it is hung up. In this
    time it can also open the terminal again, as login and agetty do (session_reopened).
    """
    cdef Channel *output = &session.output.channel
    session.output_cut = session.output_cut or output.allowance == 0
    if session.terminal.pidfd >= 0 and not session_reap(session):
        session_note_closed(loop, session)
    elif not session_has_last_words(session):
        session_finish(loop, session, ENDING_EXIT)
    else:
        session_reopened(loop, session)
        output.allowance = output.allowance if output.allowance > 0 else AFTER_EXIT_BYTES


cdef inline bint session_has_last_words(const Session *session) noexcept nogil:
    """Returns True if an exited leader has opened its terminal again and written, while earlier output was not sent."""
    return (session.terminal.fd >= 0 and session.output.channel.allowance != 0
            and terminal_events(&session.terminal) & POLLIN != 0)


cdef inline void session_note_closed(Loop *loop, Session *session) noexcept nogil:
    """Has the closed terminal looked at again in CLOSED_LOOK_MS: epoll does not report that a process opens it."""
    if session.closed_ns == 0:
        session.closed_ns = loop.now_ns
    if session.look_at_ns == 0:
        loop_set_deadline(loop, &session.look_at_ns, CLOSED_LOOK_MS * <int64_t>MILLISECOND_NS)


cdef inline void session_keep_input(Loop *loop, Session *session, Channel *input) noexcept nogil:
    """Keeps input that was refused because no process has the session's terminal open, until one opens it again.

    `input` is the session's own channel or a viewer's.
    """
    input.state = CHANNEL_OPEN
    input.readable = True   # if the client's end of file was read before, it is read again
    session_note_closed(loop, session)


cdef inline void session_hold_input(Loop *loop, Session *session) noexcept nogil:
    """Stops writing input, since no process has the terminal open now. Goes on when one opens it again.

    After vhangup(2) a terminal would take input, but its next reader would not see it until more is written.
    """
    session.input.channel.writable = False
    if channel_holds(&session.input.channel):
        session_note_closed(loop, session)


cdef inline void session_await_room(Loop *loop, Task *task) noexcept nogil:
    """Makes the loop wake a channel that holds bytes when its target has room."""
    cdef Session *session = task.session
    cdef const Channel *output = &session.output.channel
    cdef bint may_be_closed = output.hung_up or output.state != CHANNEL_OPEN
    if task == &session.input and session.terminal.pidfd >= 0 and may_be_closed and not session.terminal.has_streams:
        if not session_reopened(loop, session):
            session_note_closed(loop, session)
    else:
        loop_watch_room(loop, task, True)


cdef inline bint session_reopened(Loop *loop, Session *session) noexcept nogil:
    """Resumes a session whose terminal was closed and opened again. Returns False if no process has it open now.

    If a process has opened the terminal, written to it and closed it, the time CLOSED_MOST_MS begins again.
    """
    cdef Channel *output = &session.output.channel
    cdef int events = terminal_events(&session.terminal)
    if events != 0 and not events & POLLIN:
        return False
    session.closed_ns = session.look_at_ns = 0
    output.state = CHANNEL_OPEN
    output.hung_up = False
    loop_source_ready(loop, &session.output, (events & POLLHUP) != 0 or session.terminal.pidfd < 0)
    if events & POLLHUP:
        session_note_closed(loop, session)
        return False
    if session.role == ROLE_PROGRAM:
        shared_wake_inputs(loop, session.shared)
    else:
        session.input.channel.writable = True
        loop_wake(loop, &session.input)
    return True


cdef inline void session_still_closed(Loop *loop, Session *session) noexcept nogil:
    """Ends the session if its terminal has been closed for CLOSED_MOST_MS and the client has all output."""
    if session_reopened(loop, session):
        return
    if (channel_ended(&session.output.channel)
            and loop.now_ns - session.closed_ns >= CLOSED_MOST_MS * <int64_t>MILLISECOND_NS):
        session_finish(loop, session, ENDING_EXIT)
    else:
        session_note_closed(loop, session)


cdef inline void session_leader_exited(Loop *loop, Session *session) noexcept nogil:
    """Reaps the leader. The output written until now is still delivered, but nothing later.

    If the leader is traced, its pidfd reports the exit at once, but waitid(2) only after the tracer has waited for it.
    """
    cdef Channel *output = &session.output.channel
    if not session_reap(session):
        if session.terminal.pidfd >= 0:
            loop_retry(loop, &session.retry_reap)
        return
    if session.finished:
        session_send_final(loop, session, False)
        session_complete(loop, session)
        return
    if session.closed_ns != 0 and not session_reopened(loop, session) and channel_ended(output):
        session_finish(loop, session, ENDING_EXIT)
        return
    output.allowance = AFTER_EXIT_BYTES
    loop_source_ready(loop, &session.output, True)


cdef inline void session_end_input(Loop *loop, Session *session) noexcept nogil:
    """Types the client's end of file on the terminal, again and again: the next program must see it, too.

    If the program still runs after a pause of END_LINE_MS, a line editor may hold text, and then it ignores an end of
    file. If the client's input ended without a newline, that line is submitted, as canonical mode does at an end of
    file. Any other text is erased: it can be an end of file that was typed while no program read the terminal. Then the
    end of file is typed again.
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
    session.input.channel.last_byte = b"\r"   # Enter is typed once: a second one could confirm a program's question
    loop_set_deadline(loop, &retry.at_ns, RETRY_FIRST_MS * <int64_t>MILLISECOND_NS)


cdef inline void session_pass_end(Loop *loop, Session *session) noexcept nogil:
    """Passes on the end of input of a client of the extension, once the program runs and has all earlier input."""
    cdef Extension *extension = session.extension
    if (extension.input_ended and not extension.end_was_typed and extension.phase == PHASE_RUNNING
            and channel_held_bytes(&session.input.channel) == 0):
        extension.end_was_typed = True
        if session.terminal.has_streams:
            session_close_input(session)
        else:
            session_end_input(loop, session)


cdef inline void session_close_input(Session *session) noexcept nogil:
    """Closes the standard input of a program that has streams, and drops input that waits for room."""
    cdef Channel *input = &session.input.channel
    terminal_close_input(&session.terminal)
    input.target = -1
    input.writable = False
    session.input.room_watched = False
    if input.buffer != NULL:
        input.buffer.start = input.buffer.end
