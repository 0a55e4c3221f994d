"""The listening sockets of a relay: accepting one connection at a time, also when there is no descriptor left."""

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t, uint32_t

from fastpty.relay.errands cimport PASSED_MOST, errands_close_kept, may_pass_descriptors
from fastpty.relay.loop cimport ABOUT_LISTENER, MILLISECOND_NS, Loop, loop_arm, loop_due, loop_token, loop_watch
from fastpty.relay.refuse cimport refuse_connection
from fastpty.system.linux cimport (
    AF_UNIX, EFD_CLOEXEC, EPOLLEXCLUSIVE, EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, RLIMIT_NOFILE, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOL_SOCKET, SO_DOMAIN, SO_SNDBUF, accept4, close, eventfd, getrlimit, getsockopt, rlimit,
    setsockopt, socklen_t,
)

cdef enum:
    FILES_OF_A_START = 16              # descriptors, and more than it needs
    LISTENERS_MOST = 64                # the configuration's, too (values.py)
    ACCEPT_PAUSE_MS = 100              # when not even the spare descriptor helps
    # Of output that a client has not read yet; the kernel doubles it, for what it needs itself. As much flows through
    # as with Linux's 208 KiB, and after ^C a slow client sees less of what was before (docs/performance.md).
    PEER_SEND_BYTES = 10240

cdef struct Listener:
    int fd
    bint framed
    bint is_unix
    int64_t resume_at_ns               # 0 = accepting

cdef struct Listeners:
    Listener each[LISTENERS_MOST]
    int count
    int guarded_fd_most                # of a client that may pass descriptors: there is room for as many as it can
    # Given up for a moment to tell a client that there is no descriptor left. It is no file: in a foreign root that
    # could be a FIFO.
    int spare_fd


cdef inline void listeners_open(Listeners *listeners) noexcept nogil:
    cdef rlimit files
    listeners.count = 0
    listeners.guarded_fd_most = INT_MAX
    if getrlimit(RLIMIT_NOFILE, &files) == 0 and files.rlim_cur < INT_MAX:
        # What finds no place in the table of descriptors is closed by the kernel, in this process.
        listeners.guarded_fd_most = <int>files.rlim_cur - PASSED_MOST - FILES_OF_A_START
    listeners.spare_fd = eventfd(0, EFD_CLOEXEC)


cdef inline int listener_watch(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    """Level-triggered, so that what one turn leaves comes again; exclusive, so that one of several workers wakes."""
    return loop_watch(loop, EPOLL_CTL_ADD, listeners.each[index].fd, EPOLLIN | EPOLLEXCLUSIVE,
                      loop_token(ABOUT_LISTENER, 0, <uint32_t>index))


cdef inline int listener_watch_again(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    """0, or the errno for which epoll does not take the listener now: then it is asked again after a pause."""
    if listener_watch(loop, listeners, index) == 0:
        return 0
    loop_arm(loop, &listeners.each[index].resume_at_ns, ACCEPT_PAUSE_MS * <int64_t>MILLISECOND_NS)
    return errno


cdef inline int listeners_add(Loop *loop, Listeners *listeners, int fd, bint framed) noexcept nogil:
    """The new listener's index, or -1 with errno set."""
    cdef Listener *listener = &listeners.each[listeners.count]
    cdef int domain = -1
    cdef socklen_t size = sizeof(domain)
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size)
    listener.fd = fd
    listener.framed = framed
    listener.is_unix = domain == AF_UNIX
    listener.resume_at_ns = 0
    if listener_watch(loop, listeners, listeners.count) < 0:
        return -1
    listeners.count += 1
    return listeners.count - 1


cdef inline void listener_pause(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    loop_watch(loop, EPOLL_CTL_DEL, listeners.each[index].fd, 0, 0)
    loop_arm(loop, &listeners.each[index].resume_at_ns, ACCEPT_PAUSE_MS * <int64_t>MILLISECOND_NS)


cdef inline void listeners_resume(Loop *loop, Listeners *listeners) noexcept nogil:
    cdef int index
    for index in range(listeners.count):
        if loop_due(loop, &listeners.each[index].resume_at_ns):
            listener_watch_again(loop, listeners, index)


cdef inline void listeners_abandon(Loop *loop, Listeners *listeners) noexcept nogil:
    cdef int index
    for index in range(listeners.count):
        loop_watch(loop, EPOLL_CTL_DEL, listeners.each[index].fd, 0, 0)
        listeners.each[index].resume_at_ns = 0


cdef inline int listener_accept_one(const Listener *listener) noexcept nogil:
    return accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)


cdef inline void listener_turn_one_away(Loop *loop, Listeners *listeners, int index) noexcept nogil:
    """No descriptor is left: gives up the spare one to tell a client so. If that fails too, accepting pauses."""
    cdef int fd
    if listeners.spare_fd >= 0:
        close(listeners.spare_fd)
    fd = listener_accept_one(&listeners.each[index])
    if fd >= 0:
        refuse_connection(&loop.errands, fd, listeners.each[index].is_unix and may_pass_descriptors(fd))
    else:
        listener_pause(loop, listeners, index)
    listeners.spare_fd = eventfd(0, EFD_CLOEXEC)


cdef inline int listener_accept(
    Loop *loop, Listeners *listeners, int index, bint *is_guarded, int *failure
) noexcept nogil:
    """A new connection, or -1; `failure` is the errno of what somebody should hear of, else 0: nobody is accepted now.

    One a turn: a start takes long, compared to what the sessions that there are wait for.
    """
    cdef Listener *listener = &listeners.each[index]
    cdef int send_bytes = PEER_SEND_BYTES
    cdef int fd
    failure[0] = 0
    if listener.is_unix and not errands_close_kept(&loop.errands):
        listener_pause(loop, listeners, index)
        return -1
    fd = listener_accept_one(listener)
    is_guarded[0] = fd >= 0 and listener.is_unix and may_pass_descriptors(fd)
    if is_guarded[0] and fd > listeners.guarded_fd_most:
        refuse_connection(&loop.errands, fd, True)
        failure[0] = EMFILE
        return -1
    if fd >= 0:
        # To the end of the queue of waiting workers, which epoll would otherwise always wake in the same order.
        loop_watch(loop, EPOLL_CTL_DEL, listener.fd, 0, 0)
        failure[0] = listener_watch_again(loop, listeners, index)
        if listener.is_unix:
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes))
        return fd
    if errno == EAGAIN or errno == EINTR or errno == ECONNABORTED:
        return -1
    failure[0] = errno
    if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
        listener_turn_one_away(loop, listeners, index)
    else:
        listener_pause(loop, listeners, index)
    return -1
