"""Signals with the rights of a session's user, where that is not who this process is (`run-as peer`).

This process is root then. A program that became root in the user's terminal, as sudo does, is not the user's to stop,
nor is a stranger whose process group has a number that was the user's a moment ago.
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
    """The saved id stays root's, for the way back. The real one is nobody's, or the user could signal this process.

    The last uid but one is the best nobody, but is there only outside of user namespaces.
    """
    return syscall(SYS_setresuid, <uid_t>-2, uid, 0) == 0 or syscall(SYS_setresuid, OVERFLOW_UID, uid, 0) == 0


cdef inline int kill_as(uid_t uid, pid_t pid, int number) noexcept nogil:
    """kill(2) as this user would call it. Of this thread alone: glibc's setresuid(3) would change them all."""
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
        abort()   # a relay that cannot be itself again must not go on
    if death_signal != 0:
        # A change of ids takes it back.
        syscall(SYS_prctl, PR_SET_PDEATHSIG, death_signal)
        if getppid() != parent:
            kill(getpid(), death_signal)
    (&errno)[0] = error
    return result
