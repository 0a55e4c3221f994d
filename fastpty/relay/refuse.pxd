"""Clients that get no terminal: sends them a line that says why, and closes the connection."""

from libc.errno cimport ENOBUFS, ENOMEM, ENOSPC
from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memcpy, strlen

from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_SHUT
from fastpty.relay.errands cimport Errands, errands_close
from fastpty.relay.loop cimport Loop
from fastpty.relay.pool cimport Buffer, buffer_lend
from fastpty.relay.state cimport Session
from fastpty.system.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, close, read, send, shutdown

cdef enum:
    REFUSED_MOST = 64   # refused clients that may stay for two seconds to read why; further ones must go at once


cdef inline const char *refuse_reason(int error) noexcept nogil:
    """Returns a line for a client that the router cannot take because of this errno."""
    if error == ENOMEM or error == ENOBUFS:
        return b"fastpty: the router has no memory left for another session; try again later\r\n"
    if error == ENOSPC:   # fs.epoll.max_user_watches
        return b"fastpty: the kernel's limit of epoll watches is reached; try again later\r\n"
    return b"fastpty: the router has no descriptor left for another session; try again later\r\n"


cdef inline void refuse_say(int fd, int error) noexcept nogil:
    cdef const char *reason = refuse_reason(error)
    send(fd, reason, strlen(reason), MSG_DONTWAIT | MSG_NOSIGNAL)


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


cdef inline void refuse_connection(Errands *errands, int fd, bint is_guarded, int error) noexcept nogil:
    """Refuses a client for which there is no session, because of this errno."""
    refuse_say(fd, error)
    refuse_close(errands, fd, is_guarded)


cdef inline void refuse_session(Loop *loop, Session *session, const char *text, size_t size) noexcept nogil:
    """Makes a text the session's only output, and takes no input. Call it before session_start.

    A refused client may connect again and again, so only REFUSED_MOST of them may hold a descriptor to read the text.
    """
    cdef Buffer *buffer = buffer_lend(&loop.pool) if loop.refused < REFUSED_MOST else NULL
    session.input.channel.state = CHANNEL_SHUT
    session.output.channel.state = CHANNEL_DRAINING
    session.refused = True
    loop.refused += 1
    if buffer != NULL:
        buffer.end = <uint32_t>min(size, <size_t>loop.pool.buffer_bytes)
        memcpy(buffer.data, text, buffer.end)
        session.output.channel.buffer = buffer
    else:
        send(session.peer.fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        refuse_close(&loop.errands, session.peer.fd, session.peer.is_guarded)
        session.peer.fd = -1
