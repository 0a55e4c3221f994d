"""The relay as Python sees it: the class Relay, and its upcalls to a Handler (fastpty/relay/upcalls.py).

Everything else is C in fastpty/relay/*.pxd. It takes no GIL and touches no Python object: only the upcalls do.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fastpty.relay.accept cimport (
    LISTENERS_MOST, NEGOTIATES_ALWAYS, NEGOTIATES_BEHIND_TLS, NEGOTIATES_BY_NAME, NEGOTIATES_NEVER, Arrival, Listeners,
    listener_accept, listeners_abandon, listeners_add, listeners_open, listeners_resume,
)
from fastpty.relay.begin cimport arrival_session, session_new, session_new_own_viewer, session_release, session_start
from fastpty.relay.busy_poll cimport clock_ns
from fastpty.relay.deadlines cimport deadlines_meet
from fastpty.relay.errands cimport Errand
from fastpty.relay.events cimport events_handle
from fastpty.relay.greeting cimport greetings_stop, session_begin_program, session_fail, session_welcome
from fastpty.relay.hang_up cimport hang_up_told, hang_ups_abandon, sessions_stop
from fastpty.relay.loop cimport (
    ABOUT_ERRANDS, ABOUT_LISTENER, ABOUT_SIGNALS, EVENTS_MOST, Heartbeat, Loop, loop_check_returned,
    loop_defer_reports, loop_due, loop_retry, loop_wait, loop_watch_errands, loop_watch_signals,
)
from fastpty.relay.peer cimport peer_credentials
from fastpty.relay.pool cimport pool_drop_spares
from fastpty.relay.queue cimport queue_pop
from fastpty.relay.refuse cimport refuse_session
from fastpty.relay.request cimport request_free
from fastpty.relay.shared cimport shared_close, shared_end, shared_free, shared_new, shared_program_ended, shared_show
from fastpty.relay.shared_size cimport shared_size
from fastpty.relay.state cimport ENDING_NOT_STARTED, ROLE_PROGRAM, Session, Shared
from fastpty.relay.step cimport step_queues
from fastpty.relay.terminal cimport terminal_do_errand
from fastpty.relay.values cimport (
    loop_counters, loop_set, session_end, session_rows, session_take_streams, session_take_terminal, window_size,
    window_values,
)
from fastpty.system.linux cimport (
    EPOLL_CLOEXEC, close, epoll_create1, epoll_event, read, sigaddset, sigemptyset, signalfd_siginfo, sigset_t,
    ucred, winsize,
)
from fastpty.wire.extension cimport ERROR_INTERNAL

from fastpty.log import logger
from fastpty.relay.settings import Settings
from fastpty.relay.upcalls import JOIN, VIEW, Failure, SessionEnd, SessionRow, Streams

INTERNAL_ERROR = b"fastpty: internal error, see the router's log\r\n"
INTERNAL_FAILURE = Failure(ERROR_INTERNAL, 0, b"internal error, see the router's log")
NEGOTIATIONS = {
    "never": NEGOTIATES_NEVER, "by name": NEGOTIATES_BY_NAME, "behind tls": NEGOTIATES_BEHIND_TLS,
    "always": NEGOTIATES_ALWAYS,
}


def do_errand(int fd, bytes message):
    cdef Errand errand
    if len(message) != sizeof(errand):
        raise ValueError("no errand")
    memcpy(&errand, <const char *>message, sizeof(errand))
    with nogil:
        terminal_do_errand(&errand, fd)


@cython.final
cdef class Relay:
    cdef Loop loop
    cdef Listeners listeners
    cdef Shared *shared             # the terminal that clients can join, or NULL
    cdef object handler
    cdef int signals_fd
    cdef bint draining
    cdef Heartbeat own_heartbeat    # used if the owner gives none
    cdef Py_buffer memory[3]        # borrowed: heartbeat, errands, session numbers; .buf is NULL if not given

    def __cinit__(self):
        self.loop.now_ns = clock_ns()
        self.loop.heartbeat = &self.own_heartbeat
        self.loop.last_number = &self.loop.own_number
        self.loop.errands.queue = -1
        self.loop.errands.closed = &self.loop.errands.sent
        self.signals_fd = self.listeners.spare_fd = self.loop.mark_fd = -1
        self.loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.loop.epoll_fd < 0:
            raise OSError(errno, "epoll_create1")
        listeners_open(&self.loop, &self.listeners)

    def __init__(self, handler, settings=Settings(), *, heartbeat=None):
        loop_set(&self.loop, settings)
        if heartbeat is not None:
            self.loop.heartbeat = <Heartbeat *>self.borrow(0, heartbeat, sizeof(Heartbeat))
        self.handler = handler

    def __dealloc__(self):
        pool_drop_spares(&self.loop.pool)
        shared_free(self.shared)
        free(self.loop.sessions)
        for fd in (self.loop.epoll_fd, self.signals_fd, self.listeners.spare_fd, self.loop.mark_fd):
            if fd >= 0:
                close(fd)
        for index in range(3):
            if self.memory[index].buf != NULL:
                PyBuffer_Release(&self.memory[index])

    cdef void *borrow(self, int index, owner, size_t least) except NULL:
        if len(owner) < <Py_ssize_t>least:
            raise ValueError(f"{least} bytes of memory at least")
        PyObject_GetBuffer(owner, &self.memory[index], PyBUF_WRITABLE)
        return self.memory[index].buf

    def listen(self, int fd, *, bint framed, negotiates="never"):
        if self.listeners.count == LISTENERS_MOST:
            raise ValueError(f"at most {LISTENERS_MOST} listening sockets")
        os.set_blocking(fd, False)   # accept(2) must never make the sessions wait
        cdef int index = listeners_add(&self.loop, &self.listeners, fd, framed, NEGOTIATIONS[negotiates])
        if index < 0:
            raise OSError(errno, "epoll_ctl")
        return index

    def share(self, *, uint64_t scrollback_bytes, int rows=24, int columns=80, bint is_fixed=False):
        if self.shared != NULL:
            raise ValueError("there is a shared terminal already")
        self.shared = shared_new(scrollback_bytes, window_size(rows, columns), is_fixed)
        if self.shared == NULL:
            raise MemoryError()
        self.start_program()

    def join(self, int fd):
        cdef Session *session
        if self.shared == NULL:
            raise ValueError("there is no shared terminal")
        os.set_blocking(fd, False)
        session = session_new_own_viewer(&self.loop, self.shared)
        if session == NULL:
            raise MemoryError()
        self.start(session, fd, False)
        return session.number

    def watch_signals(self, signals):
        cdef sigset_t wanted
        sigemptyset(&wanted)
        for number in signals:
            sigaddset(&wanted, number)
        self.signals_fd = loop_watch_signals(&self.loop, &wanted)
        if self.signals_fd < 0:
            raise OSError(errno, "signalfd")

    def use_errands(self, int queue, closed, *, bint reads_proc=False):
        self.loop.errands.closed = <int64_t *>self.borrow(1, closed, sizeof(int64_t))
        self.loop.errands.reads_proc = reads_proc
        loop_watch_errands(&self.loop, queue)

    def number_sessions(self, counter):
        self.loop.last_number = <uint64_t *>self.borrow(2, counter, sizeof(uint64_t))

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
        sessions_stop(&self.loop)
        greetings_stop(&self.loop)
        if self.shared != NULL and self.shared.program == NULL:
            shared_end(&self.loop, self.shared)

    def drain(self):
        cdef int index
        if self.draining or self.loop.stopping:
            return
        self.loop.now_ns = clock_ns()
        # EPOLLEXCLUSIVE may have woken this worker alone for a connection: no other worker would accept it.
        for index in range(self.listeners.count):
            self.accept_from(index)
        listeners_abandon(&self.loop, &self.listeners)
        self.draining = True
        if self.shared != NULL:
            shared_close(&self.loop, self.shared)

    def sessions(self):
        return session_rows(&self.loop, clock_ns(), SessionRow)

    def counters(self):
        return loop_counters(&self.loop)

    cdef bint finished(self) noexcept nogil:
        return (self.loop.stopping or self.draining) and self.loop.live == 0

    cdef int turn(self) noexcept nogil:
        """Waits for events and handles them. Returns 0, or -errno if epoll_wait(2) failed."""
        cdef epoll_event events[EVENTS_MOST]
        cdef int index, count = loop_wait(&self.loop, events)
        if count < 0:
            return count
        self.loop.heartbeat.turn_since_ns = self.loop.now_ns
        events_handle(&self.loop, events, count)
        step_queues(&self.loop)
        if self.loop.requested.length > 0:   # one a turn: a start takes long, and the other sessions wait
            with gil:
                self.ask_to_start(queue_pop(&self.loop.requested).session)
        if 0 < self.loop.deferred_until_ns <= self.loop.now_ns:
            self.catch_up()
        # New connections come last: existing sessions are served first.
        for index in range(count):
            self.handle_own_event(events[index].data.u64)
        if 0 < self.loop.next_deadline_ns <= self.loop.now_ns:
            deadlines_meet(&self.loop)
            listeners_resume(&self.loop, &self.listeners)
            if self.shared != NULL and loop_due(&self.loop, &self.shared.restart.at_ns):
                self.start_program()
        if self.loop.done != NULL:
            self.report_ended()
        if self.loop.errands.wanted:
            with gil:
                self.ask_for_errands()
        self.loop.heartbeat.turn_since_ns = 0
        return 0

    cdef void handle_own_event(self, uint64_t about) noexcept nogil:
        cdef signalfd_siginfo info
        if about >> 56 == ABOUT_LISTENER:
            self.accept_from(<int><uint32_t>about)
        elif about >> 56 == ABOUT_SIGNALS:
            while read(self.signals_fd, &info, sizeof(info)) == sizeof(info):
                with gil:
                    self.handler.signalled(info.ssi_signo)
        elif about >> 56 == ABOUT_ERRANDS:
            with gil:
                self.hear_of_errands()

    cdef void accept_from(self, int index) noexcept nogil:
        cdef int failure
        cdef Arrival arrival
        if self.loop.stopping or self.draining:
            return
        if listener_accept(&self.loop, &self.listeners, index, &arrival, &failure) >= 0:
            self.begin(&arrival, index)
        if failure != 0:
            self.report_failure(failure)

    cdef void begin(self, Arrival *arrival, int index) noexcept nogil:
        """Makes a session for a new connection. The handler gives it a terminal, greets it or refuses it."""
        cdef Session *session = arrival_session(&self.loop, arrival)
        if session == NULL:
            self.report_failure(ENOMEM)
            return
        with gil:
            self.ask_for_session(session, arrival.fd, index)
        self.start(session, session.peer.fd, self.listeners.each[index].framed and not arrival.is_extended)

    cdef void ask_for_session(self, Session *session, int fd, int index) noexcept:
        cdef ucred peer = peer_credentials(fd)
        cdef bint is_extended = session.extension != NULL
        try:
            ask = self.handler.client_greeted if is_extended else self.handler.session_wanted
            answer = ask(session.number, index, fd, (peer.pid, peer.uid, peer.gid))
            if answer in (JOIN, VIEW) and self.shared == NULL:
                raise ValueError("there is no shared terminal to join")
        except Exception:
            logger.exception("session %d: internal error", session.number)
            answer = INTERNAL_ERROR
        if is_extended:
            capabilities, session.extension.owner = (0, 0) if isinstance(answer, bytes) else answer
            session_welcome(&self.loop, session, capabilities)
        if isinstance(answer, bytes):
            refuse_session(&self.loop, session, <const char *>answer, len(answer))
        elif answer in (JOIN, VIEW):
            session.shared = self.shared
            session.is_read_only = answer == VIEW
        elif not is_extended:
            session_take_terminal(session, answer)

    cdef void ask_to_start(self, Session *session) noexcept:
        """Asks the handler for the program of a client of the extension whose START is whole."""
        cdef winsize size = session.terminal.size
        request = session.extension.request[:session.extension.request_bytes]
        request_free(&self.loop, session.extension)
        try:
            answer = self.handler.start_wanted(session.number, request, window_values(&size))
        except Exception:
            logger.exception("session %d: internal error", session.number)
            answer = INTERNAL_FAILURE
        loop_defer_reports(&self.loop)   # the session's first log line is such a report
        if isinstance(answer, Failure):
            session_fail(&self.loop, session, ENDING_NOT_STARTED, answer.code, answer.text, answer.error)
        else:
            if isinstance(answer, Streams):
                session_take_streams(session, answer)
            else:
                session_take_terminal(session, answer)
            session_begin_program(&self.loop, session, &size)

    cdef void start_program(self) noexcept nogil:
        """Starts a program on the shared terminal, if the handler gives one."""
        cdef Session *session = session_new(&self.loop)
        if session == NULL:
            loop_retry(&self.loop, &self.shared.restart)
            return
        with gil:
            self.ask_for_program(session)
        if session.terminal.fd >= 0:
            session.shared = self.shared
            self.start(session, -1, False)
        else:
            session_release(&self.loop, session)

    cdef void ask_for_program(self, Session *session) noexcept:
        cdef winsize size = shared_size(self.shared)
        try:
            answer = self.handler.program_wanted(session.number, size.ws_row, size.ws_col)
        except Exception:
            logger.exception("session %d: internal error", session.number)
            answer = INTERNAL_ERROR
        if answer is None:
            shared_end(&self.loop, self.shared)
        elif isinstance(answer, bytes):
            shared_show(&self.loop, self.shared, <const char *>answer, len(answer))
            loop_retry(&self.loop, &self.shared.restart)
        else:
            session_take_terminal(session, answer)

    cdef void start(self, Session *session, int peer_fd, bint framed) noexcept nogil:
        cdef int failure = session_start(&self.loop, session, peer_fd, framed)
        if failure != 0:
            self.report_failure(failure)

    # -- upcalls that report --

    cdef void report_failure(self, int error) noexcept nogil:
        with gil:
            self.handler.accept_failed(error)
        loop_defer_reports(&self.loop)

    cdef void catch_up(self) noexcept nogil:
        if self.loop.deferred_until_ns != 0:
            self.loop.deferred_until_ns = 0
            with gil:
                if self.handler.caught_up():
                    loop_defer_reports(&self.loop)

    cdef void report_ended(self) noexcept nogil:
        cdef Session *session
        self.catch_up()
        while self.loop.done != NULL:
            session = self.loop.done
            self.loop.done = session.next_done
            with gil:
                self.report_end(session)
            if session.role == ROLE_PROGRAM:
                shared_program_ended(&self.loop, self.shared, session.started_ns)
            session_release(&self.loop, session)
        self.loop.heartbeat.sessions = self.loop.live

    cdef void report_end(self, Session *session) noexcept:
        if session.terminal.closes_elsewhere:
            self.handler.terminal_closes_later(session.number)
        self.handler.session_ended(session_end(&self.loop, session, SessionEnd))

    # -- errands: other processes do the calls that could block --

    cdef void ask_for_errands(self) noexcept:
        """Asks the handler for a process that does errands. If it has none, the next errand asks again."""
        cdef int queue
        self.loop.errands.wanted = False
        try:
            queue = self.handler.errands_wanted()
        except Exception:
            logger.exception("internal error")
            return
        self.loop.errands.attended = queue >= 0
        if queue < 0:
            hang_ups_abandon(&self.loop)
        if queue >= 0:
            # A new socket may have the old one's number. If it is the old one, epoll_ctl(2) fails with EEXIST.
            loop_watch_errands(&self.loop, queue)

    cdef void hear_of_errands(self) noexcept:
        for token in self.handler.errands_told():
            hang_up_told(&self.loop, token)
