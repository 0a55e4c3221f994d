"""Resets what a session of another account must not inherit from the router, which is root (`run-as peer`).

The router has its own login uid, or none, and perhaps priorities that users could not give themselves. Limits and lower
priorities, which users could set themselves, stay. All this happens while the child is still root.
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
    NICE_NONE = 20             # nice 0, as the system call returns it: 40 to 1 are nice -20 to 19
    IOPRIO_WHO_PROCESS = 1     # linux/ioprio.h
    IOPRIO_CLASS_SHIFT = 13
    IOPRIO_CLASS_RT = 1
    CAPABILITY_VERSION_3 = 0x20080522


cdef inline int open_own(const char *path) noexcept nogil:
    """Opens a file of this process in /proc, such as self/loginuid. Returns -1 if that fails.

    The child is still root, and another user may control the root directory. So /proc must be a real proc file system,
    and nothing may be mounted over the file.
    """
    cdef int proc = c_open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)
    cdef int fd = -1
    if proc >= 0 and is_proc(proc):
        fd = open_below(proc, path, O_RDWR)
    if proc >= 0:
        close(proc)
    return fd


cdef inline void set_login_uid(uid_t uid) noexcept nogil:
    """Sets the login uid for the audit log, as pam_loginuid(8) does, if the kernel has one and permits the change."""
    cdef char text[16]
    cdef int fd = open_own("self/loginuid")
    if fd >= 0:
        write(fd, text, snprintf(text, sizeof(text), "%u", <unsigned int>uid))
        close(fd)


cdef inline void leave_memory_priority() noexcept nogil:
    """Raises a negative oom_score_adj to 0. Short of memory, the kernel would kill all other processes first."""
    cdef char text[16]
    cdef int fd = open_own("self/oom_score_adj")
    cdef ssize_t size
    if fd < 0:
        return
    size = read(fd, text, sizeof(text) - 1)
    text[max(size, 0)] = 0
    if atoi(text) < 0:
        # Since root writes it, it is also the lowest value that the process can set later.
        write(fd, "0", 1)
    close(fd)


cdef inline void leave_priorities() noexcept nogil:
    """Resets raised priorities of CPU and disk."""
    cdef int ordinary = 0      # struct sched_param
    cdef long policy = syscall(SYS_sched_getscheduler, 0)
    if policy == SCHED_FIFO or policy == SCHED_RR or policy == SCHED_DEADLINE:
        syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &ordinary)
    if syscall(SYS_getpriority, PRIO_PROCESS, 0) > NICE_NONE:
        syscall(SYS_setpriority, PRIO_PROCESS, 0, 0)
    if syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) >> IOPRIO_CLASS_SHIFT == IOPRIO_CLASS_RT:
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0)


cdef inline void login_as(uid_t uid) noexcept nogil:
    """Prepares the child for the login of this user."""
    set_login_uid(uid)
    if uid != 0:
        leave_memory_priority()
        leave_priorities()


cdef inline int leave_capabilities() noexcept nogil:
    """Empties the permitted, effective, inheritable and thus the ambient set. Returns 0, or -1 with errno set.

    A change of user keeps the inheritable set, which a program with file capabilities could use.
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
