"""What a connection tells of its client: that it speaks another protocol, or that it has gone."""

from libc.stdint cimport int64_t, uint8_t

from fastpty.relay.lifecycle cimport session_end_with_line
from fastpty.relay.loop cimport MILLISECOND_NS, Loop, loop_arm
from fastpty.relay.pool cimport Buffer
from fastpty.relay.state cimport ENDING_HTTP, ENDING_TLS, Session
from fastpty.system.linux cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, SOL_SOCKET, SO_PEERCRED, getsockopt, send, socklen_t, ucred,
)
from fastpty.wire.http cimport http_request_begins, tls_hello_begins

cdef enum:
    PROBE_AFTER_MS = 1000              # since a TCP peer has sent its last


cdef inline bint peer_reject_stray(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose TCP peer has begun with HTTP or TLS, before a program could take that for a command."""
    cdef const Buffer *buffer = session.input.channel.buffer
    cdef const uint8_t *data
    cdef size_t held
    if not session.peer.is_tcp or buffer == NULL:
        return False
    data, held = buffer.data + buffer.start, buffer.end - buffer.start
    if http_request_begins(data, held):
        session_end_with_line(loop, session, ENDING_HTTP, (
            b"HTTP/1.0 400 Bad Request\r\n\r\nfastpty: this port gives terminals, not web pages\r\n"))
        return True
    if tls_hello_begins(data, held):
        session_end_with_line(loop, session, ENDING_TLS, (
            b"fastpty: this port does not speak TLS: connect without it\r\n"))
        return True
    return False


cdef inline void peer_expect_probe(Loop *loop, Session *session) noexcept nogil:
    """A peer has closed, or only its half: TCP does not tell. It is asked a moment later, after its last words."""
    if session.peer.is_tcp and not session.peer.is_probed:
        session.peer.is_probed = True
        loop_arm(loop, &session.probe_at_ns, PROBE_AFTER_MS * <int64_t>MILLISECOND_NS)


cdef inline void peer_probe(Session *session) noexcept nogil:
    """Has a TCP peer that has closed its connection say so: it answers data with a reset.

    A peer that has closed only its half does not see this byte: urgent data is not in the stream (tcp(7)). Once only,
    since a second byte would make the first a part of the stream if the peer has not read so far.
    """
    send(session.peer.fd, b"", 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline ucred peer_credentials(int fd) noexcept nogil:
    """Pid, uid and gid of the process that connected; 0 and twice -1 if it is not a process of this machine."""
    cdef ucred peer
    cdef socklen_t size = sizeof(peer)
    peer.pid = 0
    peer.uid = peer.gid = <unsigned int>-1
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)
    return peer
