"""The client of a connection: its credentials, whether it speaks another protocol, and whether it is still there."""

from libc.stdint cimport int64_t

from fastpty.relay.lifecycle cimport session_finish
from fastpty.relay.loop cimport MILLISECOND_NS, Loop, loop_set_deadline
from fastpty.relay.outbox cimport outbox_close
from fastpty.relay.pool cimport Buffer
from fastpty.relay.state cimport ENDING_FRAMES, ENDING_HTTP, ENDING_RAW, ENDING_TLS, Session
from fastpty.system.linux cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, SOL_SOCKET, SO_PEERCRED, getsockopt, send, socklen_t, ucred,
)
from fastpty.wire.strays cimport STRAY_HTTP, STRAY_NONE, STRAY_RAW, STRAY_TLS, Stray, stray_kind, stray_over_tcp

cdef enum:
    PROBE_AFTER_MS = 1000     # how long after a TCP client's end of file the probe is sent


cdef inline bint peer_reject_stray(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose client speaks another protocol, before a program reads its bytes as a command.

    To be called after the first read. Returns True if the session has ended.
    """
    cdef const Buffer *buffer = session.input.channel.buffer
    cdef Stray stray = STRAY_NONE
    if buffer == NULL:
        return False
    if session.extension == NULL:
        stray = stray_kind(buffer.data + buffer.start, buffer.end - buffer.start, session.peer.framed,
                           session.peer.is_tcp)
    elif session.peer.is_tcp:
        stray = stray_over_tcp(buffer.data + buffer.start, buffer.end - buffer.start)
    if stray == STRAY_NONE:
        return False
    if session.extension != NULL:
        outbox_close(&session.extension.outbox)   # the client does not speak the extension: it gets a line of text
    if stray == STRAY_HTTP:
        session_finish(loop, session, ENDING_HTTP)
    elif stray == STRAY_TLS:
        session_finish(loop, session, ENDING_TLS)
    else:
        session_finish(loop, session, ENDING_RAW if stray == STRAY_RAW else ENDING_FRAMES)
    return True


cdef inline void peer_expect_probe(Loop *loop, Session *session) noexcept nogil:
    """Schedules a probe of a TCP client that has closed its connection or its sending half: TCP does not say which.

    The probe is sent a moment later, so that the client's last input is read first.
    """
    if session.peer.is_tcp and not session.peer.is_probed:
        session.peer.is_probed = True
        loop_set_deadline(loop, &session.probe_at_ns, PROBE_AFTER_MS * <int64_t>MILLISECOND_NS)


cdef inline void peer_probe(Session *session) noexcept nogil:
    """Sends a byte of urgent data. A client that has closed its connection answers with a reset.

    A client that has closed only its sending half does not see the byte: urgent data is not part of the stream
    (tcp(7)). It is sent once only: a second byte would put the first one into the stream if the client has not read
    that far.
    """
    send(session.peer.fd, b"", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline ucred peer_credentials(int fd) noexcept nogil:
    """Returns pid, uid and gid of the process that connected; 0 and -1 if it is not a process of this machine."""
    cdef ucred peer
    cdef socklen_t size = sizeof(peer)
    peer.pid = 0
    peer.uid = peer.gid = <unsigned int>-1
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)
    return peer
