"""Declarations of the Linux interfaces that the C part uses.

Each function sets errno as its manual page says. None takes the GIL or touches a Python object.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from posix.types cimport gid_t, mode_t, off_t, pid_t, uid_t

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *data, size_t size)
    ssize_t write(int fd, const void *data, size_t size)
    int close(int fd)
    int dup2(int fd, int target)
    int dup3(int fd, int target, int flags)
    int fchown(int fd, uid_t owner, gid_t group)
    int pipe2(int *fds, int flags)
    int chdir(const char *path)
    pid_t setsid()
    pid_t getpid()
    pid_t getppid()
    pid_t getsid(pid_t pid)
    int execve(const char *path, char *const *argv, char *const *envp)
    pid_t tcgetpgrp(int fd)
    long syscall(long number, ...)

cdef extern from "<fcntl.h>" nogil:
    enum:
        O_CLOEXEC
        O_NOCTTY
        O_NONBLOCK
        O_RDONLY
        O_RDWR
        O_WRONLY
        SPLICE_F_MOVE
        SPLICE_F_NONBLOCK
    int c_open "open"(const char *path, int flags, ...)
    int openat(int directory, const char *path, int flags, ...)
    ssize_t c_splice "splice"(int source, off_t *source_offset, int target, off_t *target_offset,
                              size_t size, unsigned int flags)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC
    int eventfd(unsigned int value, int flags)

cdef extern from "<stdio.h>" nogil:
    int dprintf(int fd, const char *format, ...)

cdef extern from "<string.h>" nogil:
    char *strerror(int error)
    void *memrchr(const void *data, int byte, size_t size)

cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_GET_PDEATHSIG
        PR_SET_NO_NEW_PRIVS
        PR_SET_PDEATHSIG

cdef extern from "<stdlib.h>" nogil:
    int posix_openpt(int flags)
    int unlockpt(int fd)

cdef extern from "<sys/ioctl.h>" nogil:
    enum:
        TIOCGPTPEER
        TIOCSCTTY
        TIOCSIG
        TIOCSWINSZ
    struct winsize:
        unsigned short ws_row
        unsigned short ws_col
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<termios.h>" nogil:
    enum:
        ECHO
        ICANON
        ISIG
        IUTF8
        TCSANOW
        VEOF
        VKILL
        _POSIX_VDISABLE
    struct termios:
        unsigned int c_iflag
        unsigned int c_lflag
        unsigned char *c_cc
    pid_t tcgetsid(int fd)
    int tcgetattr(int fd, termios *attributes)
    int tcsetattr(int fd, int when, const termios *attributes)

cdef extern from "<signal.h>" nogil:
    enum:
        NSIG "_NSIG"
        SIG_BLOCK
        SIG_SETMASK
        SIGCONT
        SIGHUP
        SIGINT
        SIGKILL
        SIGQUIT
        SIGTERM
        SIGTSTP
    ctypedef struct sigset_t:
        pass
    ctypedef struct siginfo_t:
        int si_code
        int si_status
    int kill(pid_t pid, int number)
    int sigemptyset(sigset_t *signals)
    int sigfillset(sigset_t *signals)
    int sigaddset(sigset_t *signals, int number)
    int pthread_sigmask(int how, const sigset_t *signals, sigset_t *previous)

cdef extern from "<sys/signalfd.h>" nogil:
    enum:
        SFD_CLOEXEC
        SFD_NONBLOCK
    struct signalfd_siginfo:
        uint32_t ssi_signo
    int signalfd(int fd, const sigset_t *signals, int flags)

cdef extern from "<sched.h>" nogil:
    enum:
        CLONE_FILES
        CLONE_PIDFD
        CLONE_VFORK
        CLONE_VM
        SIGCHLD
    int clone(int (*main)(void *) noexcept nogil, void *stack_top, int flags, void *argument, ...)

cdef extern from "<sys/syscall.h>" nogil:
    enum:
        SYS_close_range
        SYS_exit_group
        SYS_getgroups
        SYS_getresgid
        SYS_getresuid
        SYS_keyctl
        SYS_pidfd_send_signal
        SYS_prctl
        SYS_rt_sigaction
        SYS_setgroups
        SYS_setresgid
        SYS_setresuid

cdef extern from "<sys/wait.h>" nogil:
    enum:
        WEXITED
        WNOHANG
    int waitid(int kind, unsigned int number, siginfo_t *info, int options)

cdef extern from *:
    """
    /* glibc 2.36 names it; older ones do not. */
    #define FASTPTY_P_PIDFD 3
    /* linux/close_range.h, Linux 5.9. */
    #define FASTPTY_CLOSE_RANGE_UNSHARE 2
    /* waitid(2) through a pidfd: Linux 5.4. */
    #define FASTPTY_CHILD_SETTLED(info) ((info)->si_pid != 0)
    """
    enum:
        P_PIDFD "FASTPTY_P_PIDFD"
        CLOSE_RANGE_UNSHARE "FASTPTY_CLOSE_RANGE_UNSHARE"
    bint child_settled "FASTPTY_CHILD_SETTLED"(siginfo_t *info) nogil

cdef extern from "<sys/resource.h>" nogil:
    enum:
        RLIMIT_NOFILE
    struct rlimit:
        unsigned long rlim_cur
        unsigned long rlim_max
    int getrlimit(int resource, rlimit *limit)
    int setrlimit(int resource, const rlimit *limit)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLLERR
        EPOLLHUP
        EPOLLIN
        EPOLLOUT
        EPOLLPRI
        EPOLLRDHUP
    # The high bits do not fit an int, so these are not enumerators here.
    const uint32_t EPOLLET
    const uint32_t EPOLLEXCLUSIVE
    union epoll_data:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll_fd, epoll_event *events, int capacity, int timeout_ms)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_OOB
        SHUT_WR
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        SOL_SOCKET
        AF_UNIX
        SO_DOMAIN
        SO_PEERCRED
        SO_SNDBUF
    ctypedef unsigned int socklen_t
    struct ucred:
        pid_t pid
        uid_t uid
        gid_t gid
    int accept4(int fd, void *address, socklen_t *size, int flags)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
    ssize_t send(int fd, const void *data, size_t size, int flags)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLHUP
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *polled, unsigned long count, int timeout_ms)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)

cdef extern from "<sched.h>" nogil:
    int sched_yield()
