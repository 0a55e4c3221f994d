"""Decides whether a session leader may have left background processes in its session.

Only a scan of all processes finds processes whose parents have ended. If the leader never had a child, the scan is not
needed.
"""

from libc.stdio cimport snprintf
from libc.stdlib cimport strtoull
from libc.string cimport strchr, strrchr
from posix.types cimport pid_t

from fastpty.system.linux cimport O_CLOEXEC, O_RDONLY, SIGCHLD, c_open, close, read

cdef enum:
    # Fields of /proc/PID/stat, counted from the state, which is behind the name (proc_pid_stat(5)).
    STAT_CMINFLT = 8          # page faults of reaped children; every process causes some
    STAT_CMAJFLT = 10
    STAT_THREADS = 17
    STAT_SIGIGNORE = 30
    STAT_BYTES_MOST = 1024


cdef inline ssize_t background_read(char *name, char *text, size_t size) noexcept nogil:
    """Reads a file of /proc into `text`, with a NUL at its end. Returns how many bytes, or -1."""
    cdef int fd = c_open(name, O_RDONLY | O_CLOEXEC)
    cdef ssize_t got
    if fd < 0:
        return -1
    got = read(fd, text, size - 1)
    close(fd)
    text[got if got > 0 else 0] = 0
    return got


cdef inline unsigned long long background_field(const char *fields, int wanted) noexcept nogil:
    """Returns a field of /proc/PID/stat; `fields` begins with the state."""
    while wanted > 0:
        fields = strchr(fields, c' ')
        if fields == NULL:
            return 1   # nonzero: there may be background processes
        fields += 1
        wanted -= 1
    return strtoull(fields, NULL, 10)


cdef inline bint background_may_exist(pid_t leader) noexcept nogil:
    """Returns False if the leader is alive, has one thread and has never had a child. /proc must be the kernel's own.

    The kernel adds the page faults of a reaped child to its parent's sums, unless the parent ignores SIGCHLD. Call this
    before the leader is signalled: when it ends, its children get another parent.
    """
    cdef char name[64]
    cdef char text[STAT_BYTES_MOST]
    cdef const char *fields
    snprintf(name, sizeof(name), "/proc/%d/task/%d/children", <int>leader, <int>leader)
    if background_read(name, text, sizeof(text)) != 0:
        return True
    snprintf(name, sizeof(name), "/proc/%d/stat", <int>leader)
    if background_read(name, text, sizeof(text)) <= 0:
        return True
    fields = strrchr(text, c')')
    if fields == NULL or fields[1] != c' ' or fields[2] in (c'Z', c'X', c'x'):
        return True
    fields += 2
    return (
        background_field(fields, STAT_CMINFLT) != 0 or background_field(fields, STAT_CMAJFLT) != 0
        or background_field(fields, STAT_THREADS) != 1
        or (background_field(fields, STAT_SIGIGNORE) >> (SIGCHLD - 1)) & 1 != 0
    )
