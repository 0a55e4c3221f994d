"""What a session of another user's account must not have of the router's process, which is root (`run-as peer`).

The router has it from its starter or service manager: a login uid or none, and priorities that its users could not give
themselves. What they could give themselves, limits and lower priorities included, the session keeps. All of it is done
while the child is still root.
"""

from libc.errno cimport EPERM, errno
from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport atoi
from libc.string cimport memset
from posix.types cimport uid_t

from fastpty.spawn.foreign cimport O_DIRECTORY, O_PATH, is_proc, open_below
from fastpty.system.linux cimport O_CLOEXEC, O_RDWR, c_open, close, read, syscall, write

cdef extern from *:
    """
    #include <sched.h>
    #include <sys/resource.h>
    #include <sys/syscall.h>
    """
    enum:
        PRIO_PROCESS
        SCHED_DEADLINE
        SCHED_FIFO
        SCHED_OTHER
        SCHED_RR
        SYS_capget
        SYS_capset
        SYS_getpriority
        SYS_ioprio_get
        SYS_ioprio_set
        SYS_sched_getscheduler
        SYS_sched_setscheduler
        SYS_setpriority

cdef enum:
    NICE_NONE = 20             # as the system call counts: 40 to 1 for -20 to 19
    IOPRIO_WHO_PROCESS = 1     # linux/ioprio.h
    IOPRIO_CLASS_SHIFT = 13
    IOPRIO_CLASS_RT = 1
    CAPABILITY_VERSION_3 = 0x20080522


cdef inline int open_own(const char *path) noexcept nogil:
    """A file of this process's in /proc, such as self/loginuid; -1 where there is none.

    In a changed root somebody else may have put there what they like, and the child is still root. So it must be a file
    of a real proc, with nothing mounted over it.
    """
    cdef int proc = c_open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)
    cdef int fd = -1
    if proc >= 0 and is_proc(proc):
        fd = open_below(proc, path, O_RDWR)
    if proc >= 0:
        close(proc)
    return fd


cdef inline void set_login_uid(uid_t uid) noexcept nogil:
    """For the audit log, as pam_loginuid(8). Left as it is without audit, or where it must not be changed any more."""
    cdef char text[16]
    cdef int fd = open_own("self/loginuid")
    if fd >= 0:
        write(fd, text, snprintf(text, sizeof(text), "%u", <unsigned int>uid))
        close(fd)


cdef inline void leave_memory_priority() noexcept nogil:
    """A process that the kernel spares when memory is short can make it kill all others."""
    cdef char text[16]
    cdef int fd = open_own("self/oom_score_adj")
    cdef ssize_t size
    if fd < 0:
        return
    size = read(fd, text, sizeof(text) - 1)
    text[max(size, 0)] = 0
    if atoi(text) < 0:
        # By root, it is also the least value that the process can have from now on.
        write(fd, "0", 1)
    close(fd)


cdef inline void leave_priorities() noexcept nogil:
    """Of the CPU and the disk."""
    cdef int ordinary = 0      # struct sched_param
    cdef long policy = syscall(SYS_sched_getscheduler, 0)
    if policy == SCHED_FIFO or policy == SCHED_RR or policy == SCHED_DEADLINE:
        syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &ordinary)
    if syscall(SYS_getpriority, PRIO_PROCESS, 0) > NICE_NONE:
        syscall(SYS_setpriority, PRIO_PROCESS, 0, 0)
    if syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) >> IOPRIO_CLASS_SHIFT == IOPRIO_CLASS_RT:
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0)


cdef inline void login_as(uid_t uid) noexcept nogil:
    """What root does for whoever logs in."""
    set_login_uid(uid)
    if uid != 0:
        leave_memory_priority()
        leave_priorities()


cdef inline int leave_capabilities() noexcept nogil:
    """Empties the permitted, effective, inheritable and, with them, ambient set: 0, or -1 with errno set.

    A change of user leaves the inheritable one, which a program with file capabilities would get something out of.
    """
    cdef uint32_t header[2]    # version, pid
    cdef uint32_t data[6]      # twice effective, permitted, inheritable
    cdef int index
    header[0], header[1] = CAPABILITY_VERSION_3, 0
    memset(data, 0, sizeof(data))
    if syscall(SYS_capset, header, data) < 0:
        return -1
    header[0], header[1] = CAPABILITY_VERSION_3, 0
    if syscall(SYS_capget, header, data) < 0:
        return -1
    for index in range(6):
        if data[index] != 0:
            (&errno)[0] = EPERM
            return -1
    return 0
