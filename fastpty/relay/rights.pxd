"""Sends signals with the rights of a session's user if the router runs as root (`run-as peer`).

A user must not be able to stop a program that became root in the user's terminal, as sudo does. Nor may a signal reach
another user's process group that got the number of a group which has just ended.
"""

from libc.errno cimport errno
from libc.stdlib cimport abort
from posix.types cimport pid_t, uid_t

from fastpty.system.linux cimport (
    PR_GET_PDEATHSIG, PR_SET_PDEATHSIG, SYS_prctl, SYS_setresuid, getpid, getppid, kill, syscall,
)

cdef enum:
    OVERFLOW_UID = 65534


cdef inline bint rights_take(uid_t uid) noexcept nogil:
    """Gives the calling thread the user's effective uid. Returns False if the kernel refuses.

    The saved uid stays 0, so that the thread can become root again. The real uid becomes an unused one: if it were the
    user's, the user could signal this process. 2**32 - 2 is unused, but a user namespace may not map it: then it is
    65534.
    """
    return syscall(SYS_setresuid, <uid_t>-2, uid, 0) == 0 or syscall(SYS_setresuid, OVERFLOW_UID, uid, 0) == 0


cdef inline int kill_as(uid_t uid, pid_t pid, int number) noexcept nogil:
    """Calls kill(2) as the user `uid`. Returns what it returns, with errno set.

    Changes the uid of the calling thread only. glibc's setresuid(3) would change all threads.
    """
    cdef int death_signal = 0
    cdef pid_t parent = getppid()
    cdef int result
    cdef int error
    syscall(SYS_prctl, PR_GET_PDEATHSIG, &death_signal)
    if not rights_take(uid):
        return -1
    result = kill(pid, number)
    error = errno
    if syscall(SYS_setresuid, 0, 0, 0) < 0:
        abort()   # the relay must not go on with another user's rights
    if death_signal != 0:
        # The kernel clears the parent-death signal when ids change (PR_SET_PDEATHSIG(2const)).
        syscall(SYS_prctl, PR_SET_PDEATHSIG, death_signal)
        if getppid() != parent:
            kill(getpid(), death_signal)
    (&errno)[0] = error
    return result
