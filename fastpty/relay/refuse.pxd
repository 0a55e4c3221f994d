"""Clients that get no terminal: sends them a line that says why, and closes the connection."""

from libc.errno cimport ENOBUFS, ENOMEM, ENOSPC
from libc.stdint cimport uint8_t
from libc.string cimport strlen, strncmp

from fastpty.relay.channel cimport CHANNEL_DRAINING, CHANNEL_SHUT, channel_drop, channel_flush
from fastpty.relay.errands cimport Errands, errands_close
from fastpty.relay.final cimport final_set_error
from fastpty.relay.loop cimport Loop
from fastpty.relay.notice cimport notice_send
from fastpty.relay.outbox cimport FINAL_MOST
from fastpty.relay.state cimport Session
from fastpty.system.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, close, read, send, shutdown
from fastpty.wire.extension cimport (
    ERROR_IN_GREETING, ERROR_LIMIT, ERROR_REFUSED, WELCOME_BYTES, ErrorCode, put_error, put_welcome,
)
from fastpty.wire.uwsgi cimport FRAME_HEADER_BYTES

cdef enum:
    REFUSED_MOST = 64   # refused clients that may stay for two seconds to read why; others are disconnected at once


cdef inline const char *refuse_reason(int error) noexcept nogil:
    """Returns a line for a client that the router cannot take because of this errno."""
    if error == ENOMEM or error == ENOBUFS:
        return b"fastpty: the router has no memory left for another session; try again later\r\n"
    if error == ENOSPC:   # fs.epoll.max_user_watches
        return b"fastpty: the kernel's limit of epoll watches is reached; try again later\r\n"
    return b"fastpty: the router has no descriptor left for another session; try again later\r\n"


cdef inline void refuse_say_frames(
    int fd, const uint8_t *nonce, ErrorCode code, const char *text, size_t size
) noexcept nogil:
    """Sends the line to a client of the extension as WELCOME and ERROR, if the socket has room."""
    cdef uint8_t frames[FRAME_HEADER_BYTES + WELCOME_BYTES + FINAL_MOST]
    cdef uint8_t *end = put_welcome(frames, nonce, 0, 0, 0)
    text = refuse_bare(text, &size)   # before the call, whose arguments C evaluates in any order
    end = put_error(end, code, 0, ERROR_IN_GREETING, text, size)
    send(fd, frames, end - frames, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef inline const char *refuse_bare(const char *text, size_t *size) noexcept nogil:
    """Returns the line without the `fastpty: ` at its beginning and the CR LF at its end."""
    cdef size_t prefix = strlen(b"fastpty: ")
    if size[0] >= 2 and text[size[0] - 1] == c'\n':
        size[0] -= 2
    if size[0] < prefix or strncmp(text, b"fastpty: ", prefix) != 0:
        return text
    size[0] -= prefix
    return text + prefix


cdef inline void refuse_say_session(Loop *loop, Session *session, int error) noexcept nogil:
    """Tells the client of a session that it cannot begin because of this errno."""
    cdef const char *reason = refuse_reason(error)
    if session.extension == NULL:
        notice_send(loop.mark_fd, session.peer.fd, session.peer.is_tcp, reason, strlen(reason))
    else:
        refuse_by_frames(session, ERROR_LIMIT, reason, strlen(reason))
        channel_flush(&session.output.channel, &loop.pool)


cdef inline void refuse_by_frames(Session *session, ErrorCode code, const char *text, size_t size) noexcept nogil:
    """Makes an ERROR with this line the final frame of a session."""
    text = refuse_bare(text, &size)
    final_set_error(session, code, 0, text, size)


cdef inline void refuse_close(Errands *errands, int fd, bint is_guarded) noexcept nogil:
    """Closes the connection of a refused client."""
    cdef uint8_t dropped[4096]
    shutdown(fd, SHUT_WR)
    if not is_guarded:
        # Read what it sent first (its window size): with unread input, the client would see a reset connection.
        read(fd, dropped, sizeof(dropped))
        close(fd)
    elif not errands_close(errands, fd):
        # There is room: no client that may pass descriptors is accepted while some are kept.
        errands.kept[errands.kept_count] = fd
        errands.kept_count += 1


cdef inline void refuse_connection(
    Loop *loop, int fd, bint is_tcp, bint is_guarded, const uint8_t *nonce, int error
) noexcept nogil:
    """Refuses a client that has no session, because of this errno. nonce: NULL if it does not speak the extension."""
    cdef const char *reason = refuse_reason(error)
    if nonce == NULL:
        notice_send(loop.mark_fd, fd, is_tcp, reason, strlen(reason))
    else:
        refuse_say_frames(fd, nonce, ERROR_LIMIT, reason, strlen(reason))
    refuse_close(&loop.errands, fd, is_guarded)


cdef inline void refuse_session(Loop *loop, Session *session, const char *text, size_t size) noexcept nogil:
    """Makes a text the session's only output, and takes no input. Call it before session_start.

    A new connection has room for the text. A refused client may connect again and again, so only REFUSED_MOST of them
    may hold a descriptor for two seconds to read the text.
    """
    cdef bint stays = loop.refused < REFUSED_MOST
    session.input.channel.state = CHANNEL_SHUT
    session.output.channel.state = CHANNEL_DRAINING
    session.refused = True
    loop.refused += 1
    if session.extension == NULL:
        notice_send(loop.mark_fd, session.peer.fd, session.peer.is_tcp, text, size)
        session.output.channel.bytes = size
    elif stays:
        refuse_by_frames(session, ERROR_REFUSED, text, size)
    else:
        refuse_say_frames(session.peer.fd, session.extension.nonce, ERROR_REFUSED, text, size)
    if not stays:
        refuse_close(&loop.errands, session.peer.fd, session.peer.is_guarded)
        channel_drop(&session.output.channel, &loop.pool)
        session.peer.fd = -1
