"""Starts a program as the leader of a new session on a new pseudo-terminal."""

import os

from libc.errno cimport errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastpty._linux cimport (
    CLONE_PIDFD,
    CLONE_VFORK,
    CLONE_VM,
    IUTF8,
    NSIG,
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDWR,
    P_PIDFD,
    RLIMIT_NOFILE,
    SIG_BLOCK,
    SIG_SETMASK,
    SIGCHLD,
    TCSANOW,
    TIOCGPTPEER,
    TIOCSCTTY,
    TIOCSWINSZ,
    WEXITED,
    SYS_close_range,
    SYS_rt_sigaction,
    _exit,
    chdir,
    clone,
    close,
    dup2,
    execve,
    ioctl,
    posix_openpt,
    pthread_sigmask,
    rlimit,
    setrlimit,
    setsid,
    siginfo_t,
    sigemptyset,
    sigfillset,
    sigset_t,
    syscall,
    tcgetattr,
    tcsetattr,
    termios,
    unlockpt,
    waitid,
    winsize,
)

cdef enum:
    CHILD_STACK_BYTES = 65536   # used only between clone and execve

# What the child was doing when it failed; the text is for the person at the other end.
cdef enum Stage:
    STAGE_SESSION
    STAGE_DIRECTORY
    STAGE_EXECUTE

STAGE_TEXTS = {
    STAGE_SESSION: "cannot start a session on the terminal",
    STAGE_DIRECTORY: "cannot change to directory",
    STAGE_EXECUTE: "cannot execute",
}

cdef struct Plan:
    char **argv
    char **envp
    char *directory           # NULL: stay
    int slave
    rlimit files
    int error
    Stage stage


cdef int child_fail(Plan *plan) noexcept nogil:
    plan.error = errno
    _exit(127)
    return 127


cdef int child_main(void *argument) noexcept nogil:
    """Runs in the child, in the parent's memory, with the parent asleep: only system calls on what is prepared."""
    cdef Plan *plan = <Plan *>argument
    cdef sigset_t none
    cdef int number
    cdef uint64_t default_action[4]   # the kernel's struct sigaction: SIG_DFL, no flags, no mask
    memset(default_action, 0, sizeof(default_action))
    for number in range(1, NSIG):
        # Not signal(2): glibc keeps 32 and 33 to itself, and an ignored one would stay ignored.
        syscall(SYS_rt_sigaction, number, default_action, NULL, sizeof(uint64_t))
    plan.stage = STAGE_SESSION
    if setsid() < 0 or ioctl(plan.slave, TIOCSCTTY, 0) < 0:
        return child_fail(plan)
    for number in range(3):
        if dup2(plan.slave, number) < 0:
            return child_fail(plan)
    setrlimit(RLIMIT_NOFILE, &plan.files)
    if syscall(SYS_close_range, 3, <unsigned int>-1, 0) < 0:
        return child_fail(plan)
    plan.stage = STAGE_DIRECTORY
    if plan.directory != NULL and chdir(plan.directory) < 0:
        return child_fail(plan)
    plan.stage = STAGE_EXECUTE
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, NULL)
    execve(plan.argv[0], plan.argv, plan.envp)
    return child_fail(plan)


cdef int clone_child(Plan *plan, int *pidfd) noexcept nogil:
    """vfork(2) with a stack and a pidfd. No handler of ours may run in the child: signals wait until it has left."""
    cdef sigset_t everything, previous
    cdef char *stack = <char *>malloc(CHILD_STACK_BYTES)
    cdef int pid
    cdef int error
    if stack == NULL:
        return -1
    sigfillset(&everything)
    pthread_sigmask(SIG_BLOCK, &everything, &previous)
    pid = clone(child_main, stack + CHILD_STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, plan, pidfd)
    error = errno
    pthread_sigmask(SIG_SETMASK, &previous, NULL)
    free(stack)
    (&errno)[0] = error
    return pid


cdef char **pointers(list strings) except NULL:
    """A NULL-terminated array of pointers into `strings`, which must stay alive; to be freed."""
    cdef Py_ssize_t count = len(strings)
    cdef Py_ssize_t index
    cdef char **array = <char **>malloc((count + 1) * sizeof(char *))
    if array == NULL:
        raise MemoryError()
    for index in range(count):
        array[index] = <bytes>strings[index]
    array[count] = NULL
    return array


cdef open_terminal(unsigned short rows, unsigned short columns, int *master, int *slave):
    """A new pty: non-blocking master, slave with the kernel's default termios and IUTF8, both close-on-exec.

    TIOCGPTPEER needs no path, so this works in a mount namespace where /dev/pts is another one or none.
    """
    cdef termios attributes
    cdef winsize size
    master[0] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    if master[0] < 0:
        raise OSError(errno, f"cannot open a pseudo-terminal: {os.strerror(errno)}")
    memset(&size, 0, sizeof(size))
    size.ws_row = rows
    size.ws_col = columns
    unlockpt(master[0])
    slave[0] = ioctl(master[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
    if slave[0] < 0:
        raise OSError(errno, f"cannot open the terminal's slave side: {os.strerror(errno)}")
    ioctl(master[0], TIOCSWINSZ, &size)
    tcgetattr(slave[0], &attributes)
    attributes.c_iflag |= IUTF8
    tcsetattr(slave[0], TCSANOW, &attributes)


cdef run_child(Plan *plan, int *pidfd):
    """The child's pid, once it runs its program."""
    cdef siginfo_t info
    cdef int pid
    with nogil:
        pid = clone_child(plan, pidfd)
    if pid < 0:
        raise OSError(errno, f"cannot start a process: {os.strerror(errno)}")
    if plan.error != 0:
        waitid(P_PIDFD, pidfd[0], &info, WEXITED)
        text = STAGE_TEXTS[plan.stage]
        if plan.stage != STAGE_SESSION:
            text += " " + os.fsdecode(<bytes>(plan.directory if plan.stage == STAGE_DIRECTORY else plan.argv[0]))
        raise OSError(plan.error, f"{text}: {os.strerror(plan.error)}")
    return pid


def spawn(list argv, list environment, directory, int rows, int columns, tuple files):
    """Starts `argv` on a new terminal; see _spawn.pyi."""
    cdef Plan plan
    cdef int master = -1
    cdef int pidfd = -1
    plan.argv = plan.envp = NULL
    plan.slave = -1
    plan.error = 0
    plan.stage = STAGE_SESSION
    plan.directory = NULL if directory is None else <char *><bytes>directory
    plan.files.rlim_cur, plan.files.rlim_max = files
    try:
        plan.argv = pointers(argv)
        plan.envp = pointers(environment)
        open_terminal(rows, columns, &master, &plan.slave)
        pid = run_child(&plan, &pidfd)
    except BaseException:
        if pidfd >= 0:
            close(pidfd)
        if master >= 0:
            close(master)
        raise
    finally:
        free(plan.argv)
        free(plan.envp)
        if plan.slave >= 0:
            close(plan.slave)
    return master, pid, pidfd
