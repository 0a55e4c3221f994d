"""Errands: system calls that another user's process can block for ever. Other processes do them (fastpty/errands/).

The last close of a pty master waits while a program is inside a write(2) to the terminal. If the program writes from a
page of its own FUSE file system, that write may never end. Changing the window size and reading the terminal's settings
wait in the same way. The last close of a descriptor that a client has passed (SCM_RIGHTS) can block for ever, too. So
the relay sends such descriptors through a socket to an errand process. That process closes its copy only after the
relay has closed its own, which it sees from `Errands.closed`: so the relay's close is never the last.
"""

from libc.errno cimport ECONNREFUSED, ECONNRESET, ENOBUFS, ENOTCONN, EPIPE, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.types cimport pid_t

from fastpty.system.linux cimport close, winsize

cdef enum:
    PASSED_MOST = 253         # the most descriptors in one message (SCM_MAX_FD)

cdef enum ErrandKind:
    ERRAND_CLOSE
    ERRAND_RESIZE
    ERRAND_END_INPUT
    ERRAND_HANG_UP
    ERRAND_SUBMIT_LINE
    ERRAND_KILL_LINE

cdef enum:
    # Owners other than uids. The errand processes are limited per owner, so no user can occupy all of them.
    OWNER_ROUTER = 0xFFFFFFFE     # a terminal of the router's own user
    OWNER_CLIENTS = 0xFFFFFFFF    # connections, and descriptors that clients passed

cdef struct Errand:
    ErrandKind kind
    winsize size              # for ERRAND_RESIZE
    int64_t number            # counts the ERRAND_CLOSE ones, from 1
    uint32_t owner            # the uid whose programs can block this, or one of OWNER_…
    pid_t leader              # for ERRAND_HANG_UP, whose descriptor is the leader's pidfd
    uint64_t session          # the session's number, or the token of ERRAND_HANG_UP; 0 = do not report a close
    pid_t foreground          # for ERRAND_HANG_UP: the process group that the relay has signalled
    int64_t grace_ns          # for ERRAND_HANG_UP: between SIGHUP and SIGKILL

cdef struct Errands:
    int queue                 # the socket to the errand processes; -1 = there are none
    int64_t sent              # the number of the last ERRAND_CLOSE
    int64_t *closed           # shared memory: the number of the last ERRAND_CLOSE whose descriptors are closed here
    bint attended             # a process takes errands from the queue
    bint reads_proc           # /proc is the kernel's own, and shows the processes of this pid namespace
    bint wanted               # the handler should start such a process
    int kept[PASSED_MOST]     # descriptors that a client has passed, and no errand process has got yet
    int kept_count

cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/uio.h>

    #define FASTPTY_PASSED_MOST 253
    #define FASTPTY_SO_PASSRIGHTS 83   /* asm-generic/socket.h, Linux 6.16 */

    union fastpty_control {
        struct cmsghdr head;
        char space[CMSG_SPACE(FASTPTY_PASSED_MOST * sizeof(int))];
    };

    /* Sends `data` and descriptors without blocking. Returns 0, or -1 with errno set. */
    static inline int fastpty_send_descriptors(int queue, const void *data, size_t size, const int *fds, int count)
    {
        union fastpty_control control;
        struct iovec piece = {(void *)data, size};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control};
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        memset(&control, 0, message.msg_controllen);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
        return sendmsg(queue, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 0;
    }

    /* As read(2). Puts descriptors that come with the bytes into `fds`, at most PASSED_MOST. */
    static inline ssize_t fastpty_receive(int fd, void *data, size_t size, int *fds, int *count)
    {
        union fastpty_control control;
        struct iovec piece = {data, size};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                                 .msg_controllen = sizeof control};
        ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        struct cmsghdr *head = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
        *count = 0;
        for (; head != NULL; head = CMSG_NXTHDR(&message, head)) {
            if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
                *count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                memcpy(fds, CMSG_DATA(head), *count * sizeof(int));
            }
        }
        return got;
    }

    /* Returns whether descriptors can be passed through this connection or pipe. */
    static inline int fastpty_may_pass_descriptors(int fd)
    {
        int passes = 1;
        socklen_t size = sizeof passes;
        return getsockopt(fd, SOL_SOCKET, FASTPTY_SO_PASSRIGHTS, &passes, &size) < 0 ? errno != ENOTSOCK : passes;
    }
    """
    int send_descriptors "fastpty_send_descriptors"(
        int queue, const void *data, size_t size, const int *fds, int count) nogil
    ssize_t receive "fastpty_receive"(int fd, void *data, size_t size, int *fds, int *count) nogil
    bint may_pass_descriptors "fastpty_may_pass_descriptors"(int fd) nogil


cdef inline bint errands_send(Errands *errands, const Errand *errand, const int *fds, int count) noexcept nogil:
    """Sends an errand with descriptors. Returns False if it must be tried again later."""
    if send_descriptors(errands.queue, errand, sizeof(errand[0]), fds, count) < 0:
        if errno in (EPIPE, ECONNREFUSED, ECONNRESET, ENOTCONN):
            errands.attended = False   # no process is left
            errands.wanted = True
        return False
    errands.wanted = errands.wanted or not errands.attended
    return True


cdef inline bint errands_close_all(Errands *errands, Errand *errand, const int *fds, int count) noexcept nogil:
    """Closes descriptors; an errand process makes the last close if there is a queue. False: try again later."""
    cdef int index
    errand.kind = ERRAND_CLOSE
    errand.number = errands.sent + 1
    if errands.queue >= 0 and not errands_send(errands, errand, fds, count):
        return False
    errands.sent += 1
    for index in range(count):
        close(fds[index])
    errands.closed[0] = errands.sent
    return True


cdef inline bint errands_close_passed(Errands *errands, const int *fds, int count) noexcept nogil:
    """As errands_close_all, for connections, and for descriptors that clients passed through them."""
    cdef Errand errand
    memset(&errand, 0, sizeof(errand))
    errand.owner = OWNER_CLIENTS
    return errands_close_all(errands, &errand, fds, count)


cdef inline bint errands_close(Errands *errands, int fd) noexcept nogil:
    return errands_close_passed(errands, &fd, 1)


cdef inline bint errands_close_kept(Errands *errands) noexcept nogil:
    """Closes the descriptors that are kept. Returns False if some remain: then no more may be received."""
    if errands.kept_count > 0 and not errands_close_passed(errands, errands.kept, errands.kept_count):
        return False
    errands.kept_count = 0
    return True


cdef inline ssize_t errands_read(Errands *errands, int fd, void *data, size_t size) noexcept nogil:
    """As read(2), for a socket through which a client may pass descriptors: these are closed by an errand."""
    cdef ssize_t got
    if not errands_close_kept(errands):
        (&errno)[0] = ENOBUFS
        return -1
    got = receive(fd, data, size, errands.kept, &errands.kept_count)
    if errands.kept_count > 0:
        errands_close_kept(errands)
    return got
