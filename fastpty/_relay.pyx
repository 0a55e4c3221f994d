"""The relay as Python sees it: listeners, signals, and the upcalls of a session's life, its start and its end.

Between those everything is C without the GIL: _listeners (accepting), _loop (epoll, run queue, deadlines), _lifecycle
(a session's life), _flow (serving channels), _shared and _shared_flow (a terminal with many viewers), _session,
_terminal, _channel and _frame.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastpty.relay.channel cimport (
    BUFFER_BYTES,
    BUFFER_LEAST_BYTES,
    CHANNEL_DRAINING,
    CHANNEL_SHUT,
    Buffer,
    buffer_lend,
    pool_drop_spares,
)
from fastpty.relay.errands cimport ERRAND_END_INPUT, ERRAND_RESIZE, Errand
from fastpty.relay.step cimport loop_serve, loop_session, loop_session_event
from fastpty.relay.lifecycle cimport (
    loop_expect_limits,
    loop_finish,
    loop_hang_up,
    loop_leader_exited,
    loop_meet_deadlines,
    loop_new_session,
    loop_release_session,
    loop_stop,
)
from fastpty.system.linux cimport (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLLET,
    EPOLLIN,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SFD_CLOEXEC,
    SFD_NONBLOCK,
    SIG_BLOCK,
    SIGKILL,
    SO_PEERCRED,
    SOL_SOCKET,
    close,
    epoll_create1,
    epoll_event,
    getsockopt,
    pthread_sigmask,
    read,
    send,
    sigaddset,
    sigemptyset,
    signalfd,
    signalfd_siginfo,
    sigset_t,
    socklen_t,
    ucred,
)
from fastpty.relay.accept cimport (
    LISTENERS_MOST,
    Listeners,
    listener_accept,
    listeners_abandon,
    listeners_add,
    listeners_open,
    listeners_resume,
    part_at_once,
    tell_exhausted,
    turn_away,
)
from fastpty.relay.loop cimport (
    ABOUT_ERRANDS,
    ABOUT_LISTENER,
    ABOUT_SIGNALS,
    EVENTS_MOST,
    EVENTS_USUAL,
    MILLISECOND_NS,
    PUT_OFF_MS,
    Heartbeat,
    RETRY_SLOWEST_MS,
    Loop,
    clock_ns,
    loop_check_returned,
    loop_due,
    loop_retry,
    loop_token,
    loop_wait,
    loop_wake,
    loop_watch,
    loop_watch_session,
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
    ROLE_PROGRAM,
    Session,
    Shared,
    session_open,
)
from fastpty.relay.shared cimport shared_begin, shared_end, shared_free, shared_join, shared_new, shared_tell
from fastpty.relay.terminal cimport Terminal, terminal_resize, terminal_signal_leader, terminal_type_end

from fastpty.relay.upcalls import JOIN
from fastpty.log import logger

cdef extern from * nogil:
    uint64_t atomic_add_fetch "__atomic_add_fetch"(uint64_t *, uint64_t, int)
    enum:
        ATOMIC_RELAXED "__ATOMIC_RELAXED"

cdef enum:
    REFUSED_MOST = 64   # clients that were refused and may stay for two seconds, to read why; more must go at once

INTERNAL_ERROR = b"fastpty: internal error, see the router's log\r\n"

ENDINGS = {
    ENDING_EXIT: "exit",
    ENDING_PEER_LEFT: "client left",
    ENDING_IDLE: "idle",
    ENDING_LIFETIME: "lifetime over",
    ENDING_SILENT: "never said anything",
    ENDING_HTTP: "an HTTP request",
    ENDING_MEMORY: "out of memory",
    ENDING_STOPPED: "stopped",
    ENDING_TLS: "a TLS hello",
}


def do_errand(int fd, bytes message):
    cdef Errand errand
    cdef Terminal terminal
    if len(message) != sizeof(errand):
        raise ValueError("no errand")
    memcpy(&errand, <const char *>message, sizeof(errand))
    memset(&terminal, 0, sizeof(terminal))
    terminal.fd = fd
    terminal.size = errand.size
    terminal.leader = errand.leader
    with nogil:
        if errand.kind == ERRAND_RESIZE:
            terminal_resize(&terminal)
        elif errand.kind == ERRAND_END_INPUT:
            terminal_type_end(&terminal)
        close(fd)


@cython.final
cdef class Relay:
    cdef Loop loop
    cdef object handler
    cdef int signals_fd
    cdef Listeners listeners
    cdef uint64_t own_number
    cdef uint64_t *last_number  # of sessions begun, and of programs that did not start; may be shared with other relays
    cdef Py_buffer numbers
    cdef int refused           # of those that there are, how many are only told why
    cdef uint64_t ended_bytes[2]  # in and out, of sessions that have ended
    cdef uint64_t ended_ignored_frames
    cdef bint draining
    cdef Heartbeat unseen_heartbeat
    cdef Py_buffer shown       # the heartbeat that others look at; .buf is NULL where nobody does
    cdef Py_buffer errands_closed  # what fastpty.errands shares with its processes
    cdef Shared *shared        # the terminal that clients can join, or NULL

    def __cinit__(self):
        self.loop.now_ns = clock_ns()
        self.loop.heartbeat = &self.unseen_heartbeat
        self.last_number = &self.own_number
        self.loop.errands.queue = -1
        self.loop.errands.closed = &self.loop.errands.sent
        self.signals_fd = self.listeners.spare_fd = -1
        self.loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.loop.epoll_fd < 0:
            raise OSError(errno, "epoll_create1")
        listeners_open(&self.listeners)

    def __init__(self, handler, *, bint splice=True, double idle_seconds=0, double grace_seconds=10,
                 double lifetime_seconds=0, double greeting_seconds=0, double busy_poll_seconds=0,
                 int events=EVENTS_USUAL, int buffer_bytes=BUFFER_BYTES, heartbeat=None):
        if not 1 <= events <= EVENTS_MOST:
            raise ValueError(f"events: from 1 to {EVENTS_MOST}")
        if not BUFFER_LEAST_BYTES <= buffer_bytes <= BUFFER_BYTES:
            raise ValueError(f"buffer_bytes: from {BUFFER_LEAST_BYTES} to {BUFFER_BYTES}")
        if heartbeat is not None:
            if len(heartbeat) < <Py_ssize_t>sizeof(Heartbeat):
                raise ValueError(f"heartbeat: {sizeof(Heartbeat)} bytes at least")
            PyObject_GetBuffer(heartbeat, &self.shown, PyBUF_WRITABLE)
            self.loop.heartbeat = <Heartbeat *>self.shown.buf
        self.handler = handler
        self.loop.events_most = events
        self.loop.pool.buffer_bytes = buffer_bytes
        self.loop.splice = splice
        self.loop.busy_poll.limit_ns = <int64_t>(busy_poll_seconds * 1e9)
        self.loop.idle_ns = <int64_t>(idle_seconds * 1e9)
        self.loop.grace_ns = <int64_t>(grace_seconds * 1e9)
        self.loop.lifetime_ns = <int64_t>(lifetime_seconds * 1e9)
        self.loop.greeting_ns = <int64_t>(greeting_seconds * 1e9)

    def __dealloc__(self):
        pool_drop_spares(&self.loop.pool)
        shared_free(self.shared)
        free(self.loop.sessions)
        for fd in (self.loop.epoll_fd, self.signals_fd, self.listeners.spare_fd):
            if fd >= 0:
                close(fd)
        if self.shown.buf != NULL:
            PyBuffer_Release(&self.shown)
        if self.errands_closed.buf != NULL:
            PyBuffer_Release(&self.errands_closed)
        if self.numbers.buf != NULL:
            PyBuffer_Release(&self.numbers)

    def listen(self, int fd, *, bint framed):
        cdef int index
        if self.listeners.count == LISTENERS_MOST:
            raise ValueError(f"at most {LISTENERS_MOST} listening sockets")
        os.set_blocking(fd, False)   # accept(2) must never make the sessions wait
        index = listeners_add(&self.loop, &self.listeners, fd, framed)
        if index < 0:
            raise OSError(errno, "epoll_ctl")
        return index

    def share(self, *, uint64_t scrollback_bytes):
        if self.shared != NULL:
            raise ValueError("there is a shared terminal already")
        self.shared = shared_new(scrollback_bytes)
        if self.shared == NULL:
            raise MemoryError()
        self.start_program()

    def join(self, int fd):
        cdef Session *session
        if self.shared == NULL:
            raise ValueError("there is no shared terminal")
        os.set_blocking(fd, False)
        session = self.new_session()
        if session == NULL:
            raise MemoryError()
        session.shared = self.shared
        self.open_session(session, fd, False)
        return session.number

    def watch_signals(self, signals):
        cdef sigset_t wanted
        sigemptyset(&wanted)
        for number in signals:
            sigaddset(&wanted, number)
        pthread_sigmask(SIG_BLOCK, &wanted, NULL)
        self.signals_fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC)
        if self.signals_fd < 0:
            raise OSError(errno, "signalfd")
        loop_watch(&self.loop, EPOLL_CTL_ADD, self.signals_fd, EPOLLIN, loop_token(ABOUT_SIGNALS, 0, 0))

    def use_errands(self, int queue, closed):
        PyObject_GetBuffer(closed, &self.errands_closed, PyBUF_WRITABLE)
        self.loop.errands.closed = <int64_t *>self.errands_closed.buf
        self.watch_errands(queue)

    def number_sessions(self, counter):
        if len(counter) < <Py_ssize_t>sizeof(uint64_t):
            raise ValueError(f"counter: {sizeof(uint64_t)} bytes at least")
        PyObject_GetBuffer(counter, &self.numbers, PyBUF_WRITABLE)
        self.last_number = <uint64_t *>self.numbers.buf

    def leaves_open(self):
        return bool(self.loop.leaves_open)

    def run(self):
        cdef int result = 0
        while not self.finished():
            with nogil:
                while result == 0 and not self.finished():
                    result = self.turn()
            if result == -EINTR:
                PyErr_CheckSignals()
                result = 0
            elif result < 0:
                raise OSError(-result, "epoll_wait")
        loop_check_returned(&self.loop)

    def stop(self):
        self.loop.now_ns = clock_ns()
        if not self.loop.stopping and not self.draining:
            listeners_abandon(&self.loop, &self.listeners)
        loop_stop(&self.loop)
        if self.shared != NULL and self.shared.program == NULL:
            shared_end(&self.loop, self.shared)

    def drain(self):
        cdef int index
        if self.draining or self.loop.stopping:
            return
        self.loop.now_ns = clock_ns()
        # Whoever has woken this worker alone (EPOLLEXCLUSIVE) would otherwise wait until somebody else comes.
        for index in range(self.listeners.count):
            self.accept_from(index)
        listeners_abandon(&self.loop, &self.listeners)
        self.draining = True
        if self.shared != NULL:
            self.close_shared()

    def sessions(self):
        cdef uint32_t slot
        cdef const Session *session
        cdef int64_t now_ns = clock_ns()
        rows = []
        for slot in range(self.loop.slots):
            session = self.loop.sessions[slot]
            if session != NULL:
                rows.append((
                    session.number,
                    session.terminal.leader if session.terminal.pidfd >= 0 else 0,
                    (now_ns - session.started_ns) / 1e9,
                    (now_ns - session.active_ns) / 1e9,
                    session.input.channel.bytes,
                    session.output.channel.bytes,
                    session.peer.ignored_frames,
                    session.terminal.size.ws_row,
                    session.terminal.size.ws_col,
                ))
        return rows

    def counters(self):
        sessions = self.sessions()
        return {
            "sessions": self.loop.live,
            "accepted": self.loop.heartbeat.accepted,
            "bytes_in": self.ended_bytes[0] + sum(row[4] for row in sessions),
            "bytes_out": self.ended_bytes[1] + sum(row[5] for row in sessions),
            "ignored_frames": self.ended_ignored_frames + sum(row[6] for row in sessions),
            "buffers_lent": self.loop.pool.lent_buffers,
            "pipes_lent": self.loop.pool.lent_pipes,
            "splice_refused": bool(self.loop.pool.splice_refused),
            "transfers": self.loop.transfers,
            "wakeups": self.loop.wakeups,
        }

    cdef bint finished(self) noexcept nogil:
        return (self.loop.stopping or self.draining) and self.loop.live == 0

    cdef int turn(self) noexcept nogil:
        """One turn of the loop: 0, or -errno."""
        cdef epoll_event events[EVENTS_MOST]
        cdef int count = loop_wait(&self.loop, events)
        cdef int index
        cdef Session *session
        if count < 0:
            return count
        self.loop.heartbeat.turn_since_ns = self.loop.now_ns
        for index in range(count):
            session = loop_session(&self.loop, events[index].data.u64)
            if session != NULL:
                loop_session_event(&self.loop, session, events[index].data.u64, events[index].events)
        loop_serve(&self.loop)
        if 0 < self.loop.put_off_until_ns <= self.loop.now_ns:
            self.catch_up()
        # After the sessions: whoever is connected goes before those who want to be.
        for index in range(count):
            self.own_event(events[index].data.u64)
        if 0 < self.loop.next_deadline_ns <= self.loop.now_ns:
            loop_meet_deadlines(&self.loop)
            listeners_resume(&self.loop, &self.listeners)
            if self.shared != NULL and loop_due(&self.loop, &self.shared.restart.at_ns):
                self.start_program()
        if self.loop.done != NULL:
            self.report_done()
        if self.loop.errands.wanted:
            self.start_errands()
        self.loop.heartbeat.turn_since_ns = 0
        return 0

    cdef void own_event(self, uint64_t about) noexcept nogil:
        if about >> 56 == ABOUT_LISTENER:
            self.accept_from(<int><uint32_t>about)
        elif about >> 56 == ABOUT_SIGNALS:
            self.read_signals()
        elif about >> 56 == ABOUT_ERRANDS:
            with gil:
                self.handler.errands_told()

    cdef void start_errands(self) noexcept nogil:
        """Once a turn at the most, and if it fails, in the next one again."""
        self.loop.errands.wanted = False
        with gil:
            self.ask_for_errands()

    cdef void ask_for_errands(self) noexcept:
        cdef int queue
        try:
            queue = self.handler.errands_wanted()
        except Exception:
            logger.exception("internal error")
            return
        self.loop.errands.attended = queue >= 0
        if queue >= 0 and queue != self.loop.errands.queue:
            self.watch_errands(queue)

    cdef void watch_errands(self, int queue):
        self.loop.errands.queue = queue
        loop_watch(&self.loop, EPOLL_CTL_ADD, queue, EPOLLIN | EPOLLET, loop_token(ABOUT_ERRANDS, 0, 0))

    cdef void read_signals(self) noexcept nogil:
        cdef signalfd_siginfo info
        while read(self.signals_fd, &info, sizeof(info)) == sizeof(info):
            with gil:
                self.handler.signalled(info.ssi_signo)

    cdef void accept_from(self, int index) noexcept nogil:
        cdef int failure, fd
        cdef bint is_guarded = False
        if self.loop.stopping or self.draining:
            return
        fd = listener_accept(&self.loop, &self.listeners, index, &is_guarded, &failure)
        if fd >= 0:
            self.begin(fd, index, is_guarded)
        if failure != 0:
            self.report_failure(failure)

    cdef void report_failure(self, int error) noexcept nogil:
        with gil:
            self.handler.accept_failed(error)
        if self.loop.put_off_until_ns == 0:
            self.loop.put_off_until_ns = self.loop.now_ns + PUT_OFF_MS * <int64_t>MILLISECOND_NS

    # -- a session's life, and its upcalls --

    cdef Session *new_session(self) noexcept nogil:
        cdef Session *session = loop_new_session(&self.loop)
        if session != NULL:
            session.number = atomic_add_fetch(self.last_number, 1, ATOMIC_RELAXED)
            session.terminal.fd = session.terminal.pidfd = -1
            session.terminal.errands = &self.loop.errands
        return session

    cdef void begin(self, int fd, int index, bint is_guarded) noexcept nogil:
        """Makes a session of a connection, with the terminal that the handler gives, or with its refusal as output."""
        cdef Session *session = self.new_session()
        if session == NULL:
            turn_away(&self.loop.errands, fd, is_guarded)
            return
        session.peer.fd = fd
        session.peer.is_guarded = is_guarded
        session.peer.is_tcp = not self.listeners.each[index].is_unix
        with gil:
            self.ask_handler(session, fd, index)
        self.open_session(session, session.peer.fd, self.listeners.each[index].framed)

    cdef void open_session(self, Session *session, int fd, bint framed) noexcept nogil:
        self.loop.heartbeat.accepted += 1
        self.loop.heartbeat.sessions = self.loop.live
        if self.loop.put_off_until_ns == 0:
            self.loop.put_off_until_ns = self.loop.now_ns + PUT_OFF_MS * <int64_t>MILLISECOND_NS
        session_open(session, fd, framed, session.terminal.fd)
        if session.peer.is_guarded:
            session.input.channel.guard = &self.loop.errands
        if session.shared != NULL and fd >= 0:
            shared_join(session.shared, session)
        elif session.shared != NULL:
            shared_begin(&self.loop, session.shared, session)
        loop_expect_limits(&self.loop, session)
        if loop_watch_session(&self.loop, session) < 0:
            self.abandon(session, errno)
        else:
            loop_wake(&self.loop, &session.output)

    cdef void abandon(self, Session *session, int error) noexcept nogil:
        """epoll does not take the session's descriptors. No event would tell of the leader's end: it is looked for."""
        terminal_signal_leader(&session.terminal, SIGKILL)
        tell_exhausted(session.peer.fd)
        loop_finish(&self.loop, session, ENDING_PEER_LEFT)
        loop_leader_exited(&self.loop, session)
        self.report_failure(error)

    cdef void ask_handler(self, Session *session, int fd, int index) noexcept:
        cdef ucred peer
        cdef socklen_t size = sizeof(peer)
        peer.pid = 0
        peer.uid = peer.gid = <unsigned int>-1
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)
        try:
            answer = self.handler.session_wanted(session.number, index, fd, (peer.pid, peer.uid, peer.gid))
            if answer == JOIN and self.shared == NULL:
                raise ValueError("there is no shared terminal to join")
        except Exception:
            logger.exception("session %d: internal error", session.number)
            answer = INTERNAL_ERROR
        if isinstance(answer, bytes):
            self.refuse(session, answer)
        elif answer == JOIN:
            session.shared = self.shared
        else:
            self.take_terminal(session, answer)

    cdef void take_terminal(self, Session *session, answer) noexcept:
        session.terminal.fd, session.terminal.leader, session.terminal.pidfd = answer[:3]
        session.terminal.size.ws_row, session.terminal.size.ws_col = answer[3:5]
        session.terminal.has_user = answer[5] is not None
        if session.terminal.has_user:
            session.terminal.uid = answer[5]

    cdef void refuse(self, Session *session, bytes text) noexcept:
        """The text is all the output that there will be, and no input is taken.

        Whom the rules keep out may come as often as it likes: only so many may hold a descriptor for that.
        """
        cdef Buffer *buffer = buffer_lend(&self.loop.pool) if self.refused < REFUSED_MOST else NULL
        session.input.channel.state = CHANNEL_SHUT
        session.output.channel.state = CHANNEL_DRAINING
        session.refused = True
        self.refused += 1
        if buffer != NULL:
            buffer.end = <uint32_t>min(len(text), self.loop.pool.buffer_bytes)
            memcpy(buffer.data, <const char *>text, buffer.end)
            session.output.channel.buffer = buffer
        else:
            send(session.peer.fd, <const char *>text, len(text), MSG_DONTWAIT | MSG_NOSIGNAL)
            part_at_once(&self.loop.errands, session.peer.fd, session.peer.is_guarded)
            session.peer.fd = -1

    cdef void catch_up(self) noexcept nogil:
        if self.loop.put_off_until_ns != 0:
            self.loop.put_off_until_ns = 0
            with gil:
                if self.handler.caught_up():
                    self.loop.put_off_until_ns = self.loop.now_ns + PUT_OFF_MS * <int64_t>MILLISECOND_NS

    cdef void start_program(self) noexcept nogil:
        """A program for the shared terminal, if the handler has another one."""
        cdef Session *session = self.new_session()
        if session == NULL:
            loop_retry(&self.loop, &self.shared.restart)
            return
        with gil:
            self.ask_for_program(session)
        if session.terminal.fd >= 0:
            session.shared = self.shared
            self.open_session(session, -1, False)
        else:
            loop_release_session(&self.loop, session)

    cdef void ask_for_program(self, Session *session) noexcept:
        try:
            answer = self.handler.program_wanted(session.number)
        except Exception:
            logger.exception("session %d: internal error", session.number)
            answer = INTERNAL_ERROR
        if answer is None:
            shared_end(&self.loop, self.shared)
        elif isinstance(answer, bytes):
            shared_tell(&self.loop, self.shared, <const char *>answer, len(answer))
            loop_retry(&self.loop, &self.shared.restart)
        else:
            self.take_terminal(session, answer)

    cdef void close_shared(self) noexcept nogil:
        """Its program is the last; and when nobody looks any more, nobody can come back to it."""
        self.shared.closing = True
        if self.shared.program == NULL:
            shared_end(&self.loop, self.shared)
        elif self.shared.viewers == NULL:
            loop_hang_up(&self.loop, self.shared.program)

    cdef void after_program(self, const Session *session) noexcept nogil:
        """The next one comes soon, but ever later if each ends early."""
        if self.loop.stopping or self.shared.closing:
            shared_end(&self.loop, self.shared)
            return
        if self.loop.now_ns - session.started_ns > RETRY_SLOWEST_MS * <int64_t>MILLISECOND_NS:
            self.shared.restart.pause_ns = 0
        loop_retry(&self.loop, &self.shared.restart)

    cdef void report_done(self) noexcept nogil:
        cdef Session *session
        self.catch_up()
        while self.loop.done != NULL:
            session = self.loop.done
            self.loop.done = session.next_done
            with gil:
                self.report(session)
            if session.role == ROLE_PROGRAM:
                self.after_program(session)
            self.refused -= session.refused
            loop_release_session(&self.loop, session)
        self.loop.heartbeat.sessions = self.loop.live

    cdef void report(self, Session *session) noexcept:
        self.ended_bytes[0] += session.input.channel.bytes
        self.ended_bytes[1] += session.output.channel.bytes
        self.ended_ignored_frames += session.peer.ignored_frames
        self.handler.session_ended(
            session.number,
            ENDINGS[session.ending],
            session.terminal.exit_code,
            session.terminal.exit_status,
            (session.input.channel.bytes, session.output.channel.bytes),
            session.peer.ignored_frames,
            session.lagged_bytes,
            (self.loop.now_ns - session.started_ns) / 1e9,
        )
