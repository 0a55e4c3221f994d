"""The listening sockets of a relay: accepts one connection at a time, and refuses it if no descriptor is left."""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uint32_t, uint8_t
from libc.string cimport memset

from fastpty.relay.errands cimport PASSED_MOST, errands_close_kept, may_pass_descriptors
from fastpty.relay.loop cimport (
    ABOUT_LISTENER, MILLISECOND_NS, Loop, loop_due, loop_set_deadline, loop_token, loop_watch,
)
from fastpty.relay.notice cimport notice_open_mark
from fastpty.relay.refuse cimport refuse_connection
from fastpty.system.linux cimport (
    AF_UNIX, EFD_CLOEXEC, EPOLLEXCLUSIVE, EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, RLIMIT_NOFILE, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOL_SOCKET, SO_DOMAIN, SO_SNDBUF, accept4, close, eventfd, getrlimit, getsockopt, rlimit,
    offsetof_sun_path, setsockopt, sockaddr_un, socklen_t,
)
from fastpty.wire.extension cimport NONCE_BYTES, name_asks, name_negotiated

cdef enum:
    FILES_OF_A_START = 16              # more descriptors than the start of a session needs
    LISTENERS_MOST = 64                # the same limit as in fastpty/configuration/config.py
    ACCEPT_PAUSE_MS = 100              # after a connection could be neither accepted nor refused
    # SO_SNDBUF of a client, which the kernel doubles. It gives as much throughput as Linux's 208 KiB, and after ^C a
    # slow client gets less of the earlier output (docs/performance.md).
    PEER_SEND_BYTES = 10240

# Which clients of a listener speak the negotiated extension.
cdef enum Negotiation:
    NEGOTIATES_NEVER
    NEGOTIATES_BY_NAME                 # unix clients that are bound to a name which asks for it
    NEGOTIATES_BEHIND_TLS              # clients that agreed on it in the TLS handshake; the TLS process says so
    NEGOTIATES_ALWAYS

# A connection that was accepted.
cdef struct Arrival:
    int fd                             # -1 = there is none
    bint is_unix
    bint is_guarded                    # the client may pass descriptors
    bint is_extended                   # the client speaks the extension
    uint8_t nonce[NONCE_BYTES]

cdef struct Listener:
    int fd
    bint framed
    bint is_unix
    Negotiation negotiation
    int64_t resume_at_ns               # accepting is paused until then; 0 = not paused

cdef struct Listeners:
    Listener each[LISTENERS_MOST]
    int count
    int guarded_fd_most                # a client that may pass descriptors is refused if its own is higher
    # When no descriptor is left, this one is closed for a moment to accept and refuse a client. It is an eventfd, not
    # /dev/null: in a foreign root that path could be a FIFO.
    int spare_fd


cdef inline void listeners_open(Loop *loop, Listeners *listeners) noexcept nogil:
    """Opens the descriptors that the relay always needs, before clients can use up all descriptors."""
    cdef rlimit files
    listeners.count = 0
    listeners.guarded_fd_most = INT_MAX
    if getrlimit(RLIMIT_NOFILE, &files) == 0 and files.rlim_cur < INT_MAX:
        # If a passed descriptor exceeds the limit, the kernel closes it in this process, and that could block.
        listeners.guarded_fd_most = <int>files.rlim_cur - PASSED_MOST - FILES_OF_A_START
    listeners.spare_fd = eventfd(0, EFD_CLOEXEC)
    loop.mark_fd = notice_open_mark()


cdef inline int listener_watch(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    """Registers a listener: level-triggered, since a turn accepts one client; exclusive, to wake one worker only."""
    return loop_watch(loop, EPOLL_CTL_ADD, listeners.each[index].fd, EPOLLIN | EPOLLEXCLUSIVE,
                      loop_token(ABOUT_LISTENER, 0, <uint32_t>index))


cdef inline int listener_watch_again(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    """Registers a listener again. Returns 0, or an errno; after an error it is tried again after a pause."""
    if listener_watch(loop, listeners, index) == 0:
        return 0
    loop_set_deadline(loop, &listeners.each[index].resume_at_ns, ACCEPT_PAUSE_MS * <int64_t>MILLISECOND_NS)
    return errno


cdef inline int listeners_add(
    Loop *loop, Listeners *listeners, int fd, bint framed, Negotiation negotiation
) noexcept nogil:
    """Returns the new listener's index, or -1 with errno set."""
    cdef Listener *listener = &listeners.each[listeners.count]
    cdef int domain = -1
    cdef socklen_t size = sizeof(domain)
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size)
    listener.fd = fd
    listener.framed = framed
    listener.is_unix = domain == AF_UNIX
    listener.negotiation = negotiation
    listener.resume_at_ns = 0
    if listener_watch(loop, listeners, listeners.count) < 0:
        return -1
    listeners.count += 1
    return listeners.count - 1


cdef inline void listener_pause(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    loop_watch(loop, EPOLL_CTL_DEL, listeners.each[index].fd, 0, 0)
    loop_set_deadline(loop, &listeners.each[index].resume_at_ns, ACCEPT_PAUSE_MS * <int64_t>MILLISECOND_NS)


cdef inline void listeners_resume(Loop *loop, Listeners *listeners) noexcept nogil:
    cdef int index
    for index in range(listeners.count):
        if loop_due(loop, &listeners.each[index].resume_at_ns):
            listener_watch_again(loop, listeners, index)


cdef inline void listeners_abandon(Loop *loop, Listeners *listeners) noexcept nogil:
    """Accepts no more connections."""
    cdef int index
    for index in range(listeners.count):
        loop_watch(loop, EPOLL_CTL_DEL, listeners.each[index].fd, 0, 0)
        listeners.each[index].resume_at_ns = 0


cdef inline int listener_accept_one(const Listener *listener, Arrival *arrival) noexcept nogil:
    """Accepts a connection, and finds out whether its client speaks the extension. Returns the descriptor, or -1."""
    cdef sockaddr_un address
    cdef socklen_t size = sizeof(address)
    cdef socklen_t before = offsetof_sun_path
    memset(arrival, 0, sizeof(arrival[0]))
    arrival.is_unix = listener.is_unix
    arrival.is_extended = listener.negotiation == NEGOTIATES_ALWAYS
    if not listener.is_unix or listener.negotiation == NEGOTIATES_NEVER:
        arrival.fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        return arrival.fd
    arrival.fd = accept4(listener.fd, &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if arrival.fd >= 0 and size > before:
        if listener.negotiation == NEGOTIATES_BEHIND_TLS:
            arrival.is_extended = name_negotiated(<const uint8_t *>address.sun_path, size - before)
        else:
            arrival.is_extended |= name_asks(<const uint8_t *>address.sun_path, size - before, arrival.nonce)
    return arrival.fd


cdef inline void listener_turn_one_away(Loop *loop, Listeners *listeners, int index, int error) noexcept nogil:
    """Closes the spare descriptor to accept and refuse one client. If that fails too, accepting pauses."""
    cdef Arrival arrival
    if listeners.spare_fd >= 0:
        close(listeners.spare_fd)
    if listener_accept_one(&listeners.each[index], &arrival) >= 0:
        arrival.is_guarded = listeners.each[index].is_unix and may_pass_descriptors(arrival.fd)
        arrival_refuse(loop, &arrival, error)
    else:
        listener_pause(loop, listeners, index)
    listeners.spare_fd = eventfd(0, EFD_CLOEXEC)


cdef inline void arrival_refuse(Loop *loop, Arrival *arrival, int error) noexcept nogil:
    """Refuses a connection because of this errno."""
    cdef const uint8_t *nonce = NULL
    if arrival.is_extended:
        nonce = arrival.nonce
    refuse_connection(loop, arrival.fd, not arrival.is_unix, arrival.is_guarded, nonce, error)


cdef inline int listener_accept(
    Loop *loop, Listeners *listeners, int index, Arrival *arrival, int *failure
) noexcept nogil:
    """Accepts a connection. Returns its descriptor, or -1. `failure`: an errno for the log, or 0.

    Called once a turn, because starting a session takes long and the other sessions wait meanwhile.
    """
    cdef Listener *listener = &listeners.each[index]
    cdef int send_bytes = PEER_SEND_BYTES
    cdef int fd
    failure[0] = 0
    if listener.is_unix and not errands_close_kept(&loop.errands):
        listener_pause(loop, listeners, index)
        return -1
    fd = listener_accept_one(listener, arrival)
    arrival.is_guarded = fd >= 0 and listener.is_unix and may_pass_descriptors(fd)
    if arrival.is_guarded and fd > listeners.guarded_fd_most:
        arrival_refuse(loop, arrival, EMFILE)
        failure[0] = EMFILE
        return -1
    if fd >= 0:
        # This puts the worker at the end of the socket's wait queue: otherwise epoll would always wake the same worker.
        loop_watch(loop, EPOLL_CTL_DEL, listener.fd, 0, 0)
        failure[0] = listener_watch_again(loop, listeners, index)
        if listener.is_unix:
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes))
        return fd
    if errno == EAGAIN or errno == EINTR or errno == ECONNABORTED:
        return -1
    failure[0] = errno
    if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
        listener_turn_one_away(loop, listeners, index, failure[0])
    else:
        listener_pause(loop, listeners, index)
    return -1
