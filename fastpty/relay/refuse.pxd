"""Clients that get no terminal: sends them a line that says why, and closes the connection."""

from libc.errno cimport ENOBUFS, ENOMEM, ENOSPC
from libc.stdint cimport uint8_t
from libc.string cimport strlen

from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_SHUT
from fastpty.relay.errands cimport Errands, errands_close
from fastpty.relay.loop cimport Loop
from fastpty.relay.notice cimport notice_send
from fastpty.relay.state cimport Session
from fastpty.system.linux cimport SHUT_WR, close, read, shutdown

cdef enum:
    REFUSED_MOST = 64   # refused clients that may stay for two seconds to read why; further ones must go at once


cdef inline const char *refuse_reason(int error) noexcept nogil:
    """Returns a line for a client that the router cannot take because of this errno."""
    if error == ENOMEM or error == ENOBUFS:
        return b"fastpty: the router has no memory left for another session; try again later\r\n"
    if error == ENOSPC:   # fs.epoll.max_user_watches
        return b"fastpty: the kernel's limit of epoll watches is reached; try again later\r\n"
    return b"fastpty: the router has no descriptor left for another session; try again later\r\n"


cdef inline void refuse_say(Loop *loop, int fd, bint is_tcp, int error) noexcept nogil:
    cdef const char *reason = refuse_reason(error)
    notice_send(loop.mark_fd, fd, is_tcp, reason, strlen(reason))


cdef inline void refuse_close(Errands *errands, int fd, bint is_guarded) noexcept nogil:
    """Closes the connection of a refused client."""
    cdef uint8_t dropped[4096]
    shutdown(fd, SHUT_WR)
    if not is_guarded:
        # Read what it sent first (its window size): otherwise the close looks like a broken connection.
        read(fd, dropped, sizeof(dropped))
        close(fd)
    elif not errands_close(errands, fd):
        # There is room: no client that may pass descriptors is accepted while some are kept.
        errands.kept[errands.kept_count] = fd
        errands.kept_count += 1


cdef inline void refuse_connection(Loop *loop, int fd, bint is_tcp, bint is_guarded, int error) noexcept nogil:
    """Refuses a client for which there is no session, because of this errno."""
    refuse_say(loop, fd, is_tcp, error)
    refuse_close(&loop.errands, fd, is_guarded)


cdef inline void refuse_session(Loop *loop, Session *session, const char *text, size_t size) noexcept nogil:
    """Makes a text the session's only output, and takes no input. Call it before session_start.

    A new connection has room for the text. A refused client may connect again and again, so only REFUSED_MOST of them
    may hold a descriptor for two seconds to read the text.
    """
    session.input.channel.state = CHANNEL_SHUT
    session.output.channel.state = CHANNEL_DRAINING
    session.refused = True
    notice_send(loop.mark_fd, session.peer.fd, session.peer.is_tcp, text, size)
    session.output.channel.bytes = size
    if loop.refused >= REFUSED_MOST:
        refuse_close(&loop.errands, session.peer.fd, session.peer.is_guarded)
        session.peer.fd = -1
    loop.refused += 1
