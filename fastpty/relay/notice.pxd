"""Notices: lines that tell a client why it gets no session, or why the router has ended it.

A program can write a line that looks the same. So a notice carries a mark that no program's output has: over a local
socket a descriptor (SCM_RIGHTS), over TCP a byte of urgent data behind the line. A client that does not ask for the
mark does not see it: the kernel drops it, as it is not part of the stream (unix(7), tcp(7)).
"""

from libc.string cimport strlen

from fastpty.relay.errands cimport send_descriptors
from fastpty.relay.loop cimport Loop
from fastpty.relay.state cimport (
    ENDING_EXIT, ENDING_FRAMES, ENDING_HTTP, ENDING_IDLE, ENDING_LIFETIME, ENDING_MEMORY, ENDING_RAW, ENDING_SILENT,
    ENDING_STOPPED, ENDING_TLS, ROLE_VIEWER, Ending, Session,
)
from fastpty.system.linux cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, O_CLOEXEC, O_NONBLOCK, RLIMIT_NOFILE, close, getrlimit, pipe2, rlimit, send,
    setrlimit,
)


cdef inline int notice_open_mark() noexcept nogil:
    """Returns the descriptor that marks notices, the read end of a pipe without a writer; or -1."""
    cdef int ends[2]
    if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
        return -1
    close(ends[1])
    return ends[0]


cdef inline int notice_send_marked(int mark_fd, int fd, const char *text, size_t size) noexcept nogil:
    """Sends a notice with the mark over a local socket. Returns 0, or -1 if the mark cannot be sent.

    The kernel counts the passed descriptors that nobody has received yet, and refuses more than RLIMIT_NOFILE (unix(7),
    ETOOMANYREFS). Errands pass descriptors, too. So the marks may use only half of the limit: clients that read no
    notices must not stop the errands.
    """
    cdef rlimit files
    cdef rlimit half
    cdef int result
    if mark_fd < 0 or getrlimit(RLIMIT_NOFILE, &files) < 0:
        return -1
    half = files
    half.rlim_cur = files.rlim_cur // 2
    setrlimit(RLIMIT_NOFILE, &half)
    result = send_descriptors(fd, text, size, &mark_fd, 1)
    setrlimit(RLIMIT_NOFILE, &files)
    return result


cdef inline void notice_send(int mark_fd, int fd, bint is_tcp, const char *text, size_t size) noexcept nogil:
    """Sends a notice, as far as the connection has room. Never waits."""
    if is_tcp:
        send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        send(fd, b"!", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL)
    elif notice_send_marked(mark_fd, fd, text, size) < 0:
        send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline const char *notice_of(Ending ending) noexcept nogil:
    """Returns the notice about an ending, or NULL if there is none. If output may precede it, it begins a new line."""
    if ending == ENDING_IDLE:
        return b"\r\nfastpty: the session was idle for too long\r\n"
    if ending == ENDING_LIFETIME:
        return b"\r\nfastpty: the session's time is over\r\n"
    if ending == ENDING_SILENT:
        return b"\r\nfastpty: no input arrived in time\r\n"
    if ending == ENDING_MEMORY:
        return b"\r\nfastpty: the router had no memory left for the session\r\n"
    if ending == ENDING_STOPPED:
        return b"\r\nfastpty: the router was stopped\r\n"
    if ending == ENDING_HTTP:
        return b"HTTP/1.0 400 Bad Request\r\n\r\nfastpty: this port gives terminals, not web pages\r\n"
    if ending == ENDING_TLS:
        return b"\r\nfastpty: this port does not speak TLS: connect without it\r\n"
    if ending == ENDING_RAW:
        return b"\r\nfastpty: this socket speaks the uwsgi protocol: connect with --uwsgi\r\n"
    if ending == ENDING_FRAMES:
        return b"\r\nfastpty: this socket speaks the raw protocol: connect without --uwsgi\r\n"
    return NULL


cdef inline void notice_send_ending(Loop *loop, const Session *session, Ending ending) noexcept nogil:
    """Tells the client why the router ends its session. Call it when all output is sent or dropped."""
    cdef bint is_first = session.output.channel.bytes == 0 and session.extension == NULL
    cdef const char *text
    if ending == ENDING_EXIT and loop.stopping and (session.hung_up or session.role == ROLE_VIEWER):
        ending = ENDING_STOPPED   # the program exited because the stopping router hung it up
    text = notice_of(ending)
    if ending in (ENDING_TLS, ENDING_RAW, ENDING_FRAMES) and is_first:
        text += 2   # the line is the first of the connection: it needs no line break before it
    if text != NULL and session.peer.fd >= 0 and not session.peer.is_own:
        # The probe was urgent data, too: a second urgent byte could put the first one into the stream (peer_probe).
        if session.peer.is_probed:
            send(session.peer.fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL)
        else:
            notice_send(loop.mark_fd, session.peer.fd, session.peer.is_tcp, text, strlen(text))
