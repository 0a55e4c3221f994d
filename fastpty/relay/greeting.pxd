"""The beginning of a session of the extension: greeting, START, and the child until it executes its program.

    GREETING ── START is whole ──▶ REQUESTED ── handler: a terminal ──▶ STARTING ── executed ──▶ RUNNING
        │                              └──────── handler: a text ──▶ ERROR   └── failed ──▶ ERROR
        └── no START in time ──▶ ERROR

No program is started before START. The loop never blocks on START or on the child: execve(2) closes the child's report
pipe, and a child that cannot execute the program first writes the reason into the pipe.
"""

from libc.errno cimport ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen
from libc.stdio cimport snprintf

from fastpty.relay.channel cimport CHANNEL_SHUT
from fastpty.relay.final cimport final_set_error
from fastpty.relay.lifecycle cimport session_finish, session_leader_exited, session_pass_end
from fastpty.relay.loop cimport (
    ABOUT_LEADER, ABOUT_START, ABOUT_TERMINAL, MILLISECOND_NS, Loop, loop_set_deadline, loop_source_ready,
    loop_wake, loop_watch_part,
)
from fastpty.relay.outbox cimport outbox_add
from fastpty.relay.queue cimport queue_push, queue_remove
from fastpty.relay.request cimport (
    report_close, request_abandon, request_has_room, request_oldest, request_room_for, request_set_room,
)
from fastpty.relay.state cimport (
    ENDING_NOT_STARTED, ENDING_PEER_LEFT, ENDING_PROTOCOL, ENDING_SILENT, ENDING_STOPPED, PHASE_GREETING,
    PHASE_REQUESTED, PHASE_RUNNING, PHASE_STARTING, Ending, Extension, Session,
)
from fastpty.relay.streams cimport streams_open
from fastpty.relay.terminal cimport terminal_has_executed, terminal_resize, terminal_signal_leader
from fastpty.spawn.report cimport STEP_DIRECTORY, STEP_EXECUTE, STEP_WORK, StartReport
from fastpty.system.linux cimport SIGKILL, read, strerror, winsize
from fastpty.wire.extension cimport (
    CAPABLE_TERMINAL, ERROR_EXECUTE, ERROR_LIMIT, ERROR_PROTOCOL, ERROR_TIMEOUT, NONCE_BYTES, NUMBER_STARTED,
    STARTED_BYTES, WELCOME_BYTES, ErrorCode, ExtensionFrame, put, put_header, put_welcome,
)
from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum:
    GREETING_MS = 3000             # the client has this time to send START
    STARTING_MS = 10000            # the child has this time to execute the program
    CANCEL_MS = 1000               # a killed child has this time to end
    GREETING_STDIN_MOST = 4096     # bytes of STDIN before START
    WINDOW_RESERVE = 4096          # room in the session's buffer behind a full window of STDIN
    REQUEST_MOST = 262144          # bytes of START


cdef inline bint extension_open(Loop *loop, Session *session, const uint8_t *nonce) noexcept nogil:
    """Prepares a new session for a client of the extension. Returns False if there is no memory."""
    cdef Extension *extension = <Extension *>calloc(1, sizeof(Extension))
    if extension == NULL:
        return False
    extension.phase = PHASE_GREETING
    extension.start.session = extension.errors.session = session
    extension.errors.channel.state = CHANNEL_SHUT   # until a program has a standard error
    extension.report_fd = -1
    memcpy(extension.nonce, nonce, NONCE_BYTES)
    extension.window = loop.pool.buffer_bytes - min(<uint32_t>WINDOW_RESERVE, loop.pool.buffer_bytes / 2)
    extension.window_left = extension.window
    session.extension = extension
    session.output.channel.outbox = &extension.outbox
    return True


cdef inline void extension_free(Loop *loop, Session *session) noexcept nogil:
    request_abandon(loop, session.extension)
    free(session.extension)
    session.extension = NULL


cdef inline void session_welcome(Loop *loop, Session *session, uint32_t capabilities) noexcept nogil:
    """Queues WELCOME for the client. If `capabilities` is 0, an ERROR follows. Call it before session_start."""
    cdef uint8_t frame[FRAME_HEADER_BYTES + WELCOME_BYTES]
    put_welcome(frame, session.extension.nonce, capabilities, session.extension.window, REQUEST_MOST)
    outbox_add(&session.extension.outbox, frame, sizeof(frame))
    session.input.channel.reads_ahead = True
    if capabilities != 0:
        loop_set_deadline(loop, &session.extension.start_by_ns, GREETING_MS * <int64_t>MILLISECOND_NS)


cdef inline void session_fail(
    Loop *loop, Session *session, Ending ending, ErrorCode code, const char *text, int error
) noexcept nogil:
    """Ends a session with an ERROR."""
    final_set_error(session, code, error, text, strlen(text))
    session_finish(loop, session, ending)


cdef inline bint request_make_room(Loop *loop, Session *session, uint32_t bytes) noexcept nogil:
    """Makes room for a START of `bytes` bytes, and ends other sessions if needed. False: this one has ended."""
    cdef uint32_t room = request_room_for(session.extension, bytes)
    cdef Session *ending
    while not request_has_room(loop, session.extension, room):
        ending = request_oldest(loop, session.extension, room)
        if ending == NULL:
            ending = session
        session_fail(loop, ending, ENDING_NOT_STARTED, ERROR_LIMIT,
                     b"too many long START frames are under way; try again later", ENOMEM)
        if ending == session:
            return False
    if not request_set_room(loop, session.extension, room):
        session_fail(loop, session, ENDING_NOT_STARTED, ERROR_LIMIT, b"the router has no memory for START", ENOMEM)
    return not session.finished


cdef inline void request_collect(Loop *loop, Session *session, const ExtensionFrame *frame) noexcept nogil:
    """Adds a piece of START. When START is complete, the session waits in the queue for its start."""
    cdef Extension *extension = session.extension
    if extension.request_bytes + frame.size > REQUEST_MOST:
        session_fail(loop, session, ENDING_PROTOCOL, ERROR_LIMIT, b"START is too long", 0)
        return
    if not request_make_room(loop, session, extension.request_bytes + frame.size):
        return
    memcpy(extension.request + extension.request_bytes, frame.payload, frame.size)
    extension.request_bytes += frame.size
    if frame.is_last and loop.stopping:
        session_finish(loop, session, ENDING_STOPPED)
    elif frame.is_last:
        extension.phase = PHASE_REQUESTED
        extension.start_by_ns = 0
        queue_remove(&extension.start)
        queue_push(&loop.requested, &extension.start)


cdef inline void session_begin_program(Loop *loop, Session *session, const winsize *size) noexcept nogil:
    """Called when the handler has started a child for the session. Waits until the child executes the program.

    size: the window size that the client has sent, before or after START.
    """
    cdef Extension *extension = session.extension
    if extension.is_resized:   # after START
        session.terminal.size = size[0]
        terminal_resize(&session.terminal)
    if loop_watch_part(loop, session, session.terminal.pidfd, ABOUT_LEADER) < 0:
        session_abandon_start(loop, session, errno)
    elif session.terminal.has_streams and extension.is_cut_off:
        session_finish(loop, session, ENDING_PEER_LEFT)
    elif extension.report_fd < 0:
        session_run(loop, session)
    else:
        extension.phase = PHASE_STARTING
        loop_set_deadline(loop, &extension.start_by_ns, STARTING_MS * <int64_t>MILLISECOND_NS)
        if loop_watch_part(loop, session, extension.report_fd, ABOUT_START) < 0:
            session_abandon_start(loop, session, errno)


cdef inline void session_abandon_start(Loop *loop, Session *session, int error) noexcept nogil:
    """Ends a session, and kills its child, because epoll did not register its descriptors. `error`: the errno."""
    terminal_signal_leader(&session.terminal, SIGKILL)
    session_fail(loop, session, ENDING_NOT_STARTED, ERROR_LIMIT, b"the router cannot watch another session", error)
    session_leader_exited(loop, session)


cdef inline int session_open_program(Loop *loop, Session *session) noexcept nogil:
    """Watches the terminal or the streams of a program that runs now. Returns 0, or -1 with errno set."""
    if session.terminal.has_streams:
        return streams_open(loop, session)
    session.input.channel.target = session.output.channel.source = session.terminal.fd
    return loop_watch_part(loop, session, session.terminal.fd, ABOUT_TERMINAL)


cdef inline void session_run(Loop *loop, Session *session) noexcept nogil:
    """Called when the program runs: sends STARTED, and begins to relay between the program and the client."""
    cdef uint8_t frame[FRAME_HEADER_BYTES + STARTED_BYTES]
    cdef uint8_t *place = put_header(frame, NUMBER_STARTED, STARTED_BYTES)
    session.extension.phase = PHASE_RUNNING
    session.extension.start_by_ns = 0
    session.extension.run_ns = session.active_ns = loop.now_ns
    session.input.channel.writable = True
    place = put(put(put(place, 2, 1), 8, 4), session.number, 8)
    place = put(put(put(place, 4, 1), 4, 4), session.terminal.leader, 4)
    place = put(put(place, 6, 1), 4, 4)
    put(put(place, session.terminal.size.ws_row, 2), session.terminal.size.ws_col, 2)
    outbox_add(&session.extension.outbox, frame, sizeof(frame))
    if session_open_program(loop, session) < 0:
        session_abandon_start(loop, session, errno)
        return
    loop_wake(loop, &session.output)
    loop_source_ready(loop, &session.input, False)
    session_pass_end(loop, session)   # the client may have ended its input already, and then no further step comes


cdef inline void start_report_arrives(Loop *loop, Session *session, bint is_dead) noexcept nogil:
    """Continues the start if the child runs its program or its work, has reported why it cannot, or has ended.

    is_dead: the child has ended, so no report will come. The report pipe ends when the program is executed, but also
    when the child ends.
    """
    cdef StartReport report
    cdef ssize_t got
    if session.finished or session.extension.phase != PHASE_STARTING:
        return
    got = read(session.extension.report_fd, &report, sizeof(report))
    if terminal_has_executed(&session.terminal) or (got == sizeof(report) and report.step == STEP_WORK):
        report_close(session.extension)
        session_run(loop, session)
    elif got >= 0 or is_dead:
        session_start_failed(loop, session, &report if got == sizeof(report) else NULL)


cdef inline const char *start_step_name(int step) noexcept nogil:
    if step == STEP_EXECUTE:
        return b"execute the command"
    return b"change to the directory" if step == STEP_DIRECTORY else b"prepare the session"


cdef inline void session_start_failed(Loop *loop, Session *session, const StartReport *report) noexcept nogil:
    """Ends a session whose child did not execute its program. report: the reason, or NULL if the child sent none."""
    cdef Extension *extension = session.extension
    cdef char text[128]
    if report != NULL:
        snprintf(text, sizeof(text), "cannot %s: %s", start_step_name(report.step), strerror(report.error))
        session_fail(loop, session, ENDING_NOT_STARTED, ERROR_EXECUTE, text, report.error)
    elif loop.stopping:
        session_finish(loop, session, ENDING_STOPPED)
    elif extension.cancel_text != NULL:
        session_fail(loop, session, ENDING_NOT_STARTED, extension.cancel_code, extension.cancel_text, 0)
    else:
        session_fail(loop, session, ENDING_NOT_STARTED, ERROR_EXECUTE, b"the process ended before the command began",
                     0)


cdef inline void session_cancel_start(Loop *loop, Session *session, ErrorCode code, const char *text) noexcept nogil:
    """Ends a session before its program runs, with this ERROR.

    If there is a child, it is killed, and the client gets its answer when the child has ended. Only then is it known
    whether the child executed the program before that: if so, the client gets STARTED and STATUS.
    """
    cdef Extension *extension = session.extension
    if extension.phase != PHASE_STARTING:
        session_fail(loop, session, ENDING_NOT_STARTED, code, text, 0)
    elif extension.cancel_text == NULL:
        extension.cancel_code, extension.cancel_text = code, text
        terminal_signal_leader(&session.terminal, SIGKILL)
        loop_set_deadline(loop, &extension.start_by_ns, CANCEL_MS * <int64_t>MILLISECOND_NS)


cdef inline void session_start_is_late(Loop *loop, Session *session) noexcept nogil:
    """Ends a session if START, the start of the program or the end of a killed child has taken too long."""
    if session.finished:
        return
    if session.extension.phase != PHASE_STARTING:
        session_fail(loop, session, ENDING_SILENT, ERROR_TIMEOUT, b"no START came in time", 0)
    elif session.extension.cancel_text != NULL:
        session_start_failed(loop, session, NULL)   # the child hangs in the kernel
    else:
        session_cancel_start(loop, session, ERROR_TIMEOUT, b"the start of the command takes too long")


cdef inline void greetings_stop(Loop *loop) noexcept nogil:
    """Ends the sessions of the extension whose program is not started yet."""
    cdef uint32_t slot
    cdef Session *session
    for slot in range(loop.slots):
        session = loop.sessions[slot]
        if session != NULL and session.extension != NULL and session.extension.phase <= PHASE_REQUESTED:
            session_finish(loop, session, ENDING_STOPPED)
