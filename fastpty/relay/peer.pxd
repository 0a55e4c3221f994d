"""The client's end of a connection: who it is, whether it speaks another protocol, and whether it still exists."""

from libc.stdint cimport int64_t, uint8_t

from fastpty.relay.lifecycle cimport session_end_with_line
from fastpty.relay.loop cimport MILLISECOND_NS, Loop, loop_set_deadline
from fastpty.relay.pool cimport Buffer
from fastpty.relay.state cimport ENDING_HTTP, ENDING_TLS, Session
from fastpty.system.linux cimport (
    MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, SOL_SOCKET, SO_PEERCRED, getsockopt, send, socklen_t, ucred,
)
from fastpty.wire.http cimport http_request_begins, tls_hello_begins

cdef enum:
    PROBE_AFTER_MS = 1000     # after a TCP client has sent its last byte


cdef inline bint peer_reject_stray(Loop *loop, Session *session) noexcept nogil:
    """Ends a session whose TCP client begins with HTTP or TLS, before a program reads that as a command.

    Returns True if it did.
    """
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
    """Has a TCP client probed that has closed its connection, or only its sending half: TCP does not say which.

    The probe comes a moment later, so that its last input is read first.
    """
    if session.peer.is_tcp and not session.peer.is_probed:
        session.peer.is_probed = True
        loop_set_deadline(loop, &session.probe_at_ns, PROBE_AFTER_MS * <int64_t>MILLISECOND_NS)


cdef inline void peer_probe(Session *session) noexcept nogil:
    """Sends a byte of urgent data. A client that has closed its connection answers with a reset.

    A client that has closed only its sending half does not see the byte: urgent data is not part of the stream
    (tcp(7)). It is sent once only: a second byte would put the first one into the stream if the client is behind.
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
