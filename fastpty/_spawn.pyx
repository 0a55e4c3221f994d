"""Starts a program as the leader of a new session on a new pseudo-terminal."""

import os

from libc.errno cimport ENOSYS, EPERM, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.types cimport gid_t

from fastpty.spawn.child cimport (
    JOINS_MOST,
    STAGE_SESSION,
    Account,
    Plan,
    child_main,
    leave_session_keyring,
    stage_object,
    stage_text,
)
from fastpty.spawn.clone cimport CLONE_INTO_CGROUP, CloneArgs, raw_clone3
from fastpty.spawn.foreign cimport is_devpts, open_ptmx
from fastpty.system.linux cimport (
    CLONE_FILES,
    CLONE_PIDFD,
    CLONE_VFORK,
    CLONE_VM,
    IUTF8,
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDWR,
    P_PIDFD,
    SIG_BLOCK,
    SIG_SETMASK,
    SIGCHLD,
    TCSANOW,
    TIOCGPTPEER,
    TIOCSWINSZ,
    WEXITED,
    clone,
    close,
    dup3,
    fchown,
    ioctl,
    posix_openpt,
    pthread_sigmask,
    siginfo_t,
    sigfillset,
    sigset_t,
    tcgetattr,
    tcsetattr,
    termios,
    unlockpt,
    waitid,
    winsize,
)

cdef enum:
    CHILD_STACK_BYTES = 65536   # used only between clone and execve
    MANY_DESCRIPTORS = 64       # where the table is shared with the child, rather than copied

# Two low descriptors of this process, -1 before reserve(): what stands in for the slave side of a child that shares the
# table, and what fills that place meanwhile.
cdef int slot_fd = -1
cdef int filler_fd = -1


cdef bint share_table(Plan *plan) noexcept nogil:
    """Whether the child gets this process's table of descriptors itself, to cut off a copy of its beginning.

    A copy of the whole, and closing what is in it, takes longer with each session that there is: 4 ms with 3,500. What
    the child needs has to be at the beginning then. Only for one that is waited for: the place is there once.
    """
    if plan.slave < MANY_DESCRIPTORS or slot_fd < 0 or dup3(plan.slave, slot_fd, O_CLOEXEC) < 0:
        return False
    close(plan.slave)
    plan.slave = slot_fd
    plan.shares_table = True
    return True


cdef int clone_into_cgroup(Plan *plan, int *pidfd, char *stack, int flags) noexcept nogil:
    """clone() of a child that begins in plan.cgroup."""
    cdef CloneArgs args
    cdef long pid
    memset(&args, 0, sizeof(args))
    args.flags = <uint64_t>(flags & ~SIGCHLD) | CLONE_INTO_CGROUP
    args.exit_signal = SIGCHLD
    args.pidfd = <uint64_t>pidfd
    args.stack = <uint64_t>stack
    args.stack_size = CHILD_STACK_BYTES
    args.cgroup = <uint64_t>plan.cgroup
    pid = raw_clone3(&args, child_main, plan)
    if pid < 0:
        (&errno)[0] = <int>-pid
        return -1
    return <int>pid


cdef int clone_child(Plan *plan, int *pidfd) noexcept nogil:
    """vfork(2) with a stack and a pidfd. No handler of ours may run in the child: signals wait until it has left.

    A child that becomes another user, or runs in a container, gets a copy of the memory instead, and the parent does
    not wait for it. That user may stop, freeze or trace the child, or have a home on a file system that never answers.
    None of this may hold up the parent, so such a child reports its failures itself.
    """
    cdef sigset_t everything, previous
    cdef char *stack = <char *>malloc(CHILD_STACK_BYTES)
    cdef int flags = CLONE_PIDFD | SIGCHLD
    cdef int pid
    cdef int error
    if stack == NULL:
        return -1
    if not plan.is_apart:
        flags |= CLONE_VM | CLONE_VFORK
        if share_table(plan):
            flags |= CLONE_FILES
    sigfillset(&everything)
    pthread_sigmask(SIG_BLOCK, &everything, &previous)
    pid = clone_into_cgroup(plan, pidfd, stack, flags) if plan.cgroup >= 0 else -1
    if plan.cgroup < 0 or (pid < 0 and (errno == ENOSYS or errno == EPERM)):
        plan.enters_cgroup = plan.cgroup >= 0
        pid = clone(child_main, stack + CHILD_STACK_BYTES, flags, plan, pidfd)
    error = errno
    if pid < 0:
        pidfd[0] = -1   # the kernel may have written a number there, and taken the descriptor back
    pthread_sigmask(SIG_SETMASK, &previous, NULL)
    if plan.shares_table:
        dup3(filler_fd, slot_fd, O_CLOEXEC)
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


cdef fill_account(Account *account, tuple wanted):
    """`wanted` is uid, gid and the list of groups. The two arrays are to be freed."""
    cdef list groups = wanted[2]
    cdef int index
    account.uid, account.gid = wanted[:2]
    account.group_count = len(groups)
    account.groups = <gid_t *>malloc((account.group_count + 1) * sizeof(gid_t))
    account.found = <gid_t *>malloc((account.group_count + 1) * sizeof(gid_t))
    if account.groups == NULL or account.found == NULL:
        raise MemoryError()
    for index in range(account.group_count):
        account.groups[index] = groups[index]


cdef open_terminal(int directory, unsigned short rows, unsigned short columns, int *master, int *slave):
    """A new pty: non-blocking master, slave with the kernel's default termios and IUTF8, both close-on-exec.

    directory: holds `ptmx`; -1: the master is /dev/ptmx. TIOCGPTPEER needs no path, so this works in a mount namespace
    where /dev/pts is another one or none.
    """
    cdef termios attributes
    cdef winsize size
    if directory < 0:
        master[0] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    else:
        master[0] = open_ptmx(directory)
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
        text = os.fsdecode(<bytes>stage_text(plan.stage) + <bytes>stage_object(plan))
        raise OSError(plan.error, f"{text}: {os.strerror(plan.error)}")
    return pid


def reserve():
    """Keeps two descriptors for spawn(); see _spawn.pyi."""
    global slot_fd, filler_fd
    slot_fd = os.eventfd(0)
    filler_fd = os.eventfd(0)


def leave_keys():
    """A session keyring of our own; see _spawn.pyi."""
    if leave_session_keyring() < 0:
        raise OSError(errno, os.strerror(errno))


def spawn(
    list argv, list environment, directory, int rows, int columns, tuple files,
    *, program=None, account=None, bint no_new_privs=False, int cgroup=-1, bint apart=False, tuple joins=(),
    int terminals=-1
):
    """Starts `argv` on a new terminal; see _spawn.pyi."""
    cdef Plan plan
    cdef Account becomes
    cdef int master = -1
    cdef int pidfd = -1
    cdef int index
    if len(joins) > JOINS_MOST:
        raise ValueError(f"more than {JOINS_MOST} control groups to enter")
    plan.argv = plan.envp = NULL
    plan.slave = -1
    plan.error = 0
    plan.stage = STAGE_SESSION
    plan.directory = NULL if directory is None else <char *><bytes>directory
    plan.files.rlim_cur, plan.files.rlim_max = files
    plan.program = <char *><bytes>(argv[0] if program is None else program)
    plan.account = NULL if account is None else &becomes
    plan.no_new_privs = no_new_privs
    plan.cgroup = cgroup
    plan.enters_cgroup = False
    plan.is_apart = apart or account is not None
    plan.join_count = len(joins)
    for index, join in enumerate(sorted(joins)):
        plan.joins[index] = join
    plan.shares_table = False
    plan.compares_devpts = terminals >= 0 and is_devpts(terminals)
    becomes.groups = becomes.found = NULL
    try:
        if account is not None:
            fill_account(&becomes, account)
        plan.argv = pointers(argv)
        plan.envp = pointers(environment)
        open_terminal(terminals, rows, columns, &master, &plan.slave)
        if account is not None and fchown(plan.slave, becomes.uid, <gid_t>-1) < 0:
            raise OSError(errno, f"cannot give the terminal to its user: {os.strerror(errno)}")
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
        free(becomes.groups)
        free(becomes.found)
        if plan.slave >= 0 and not plan.shares_table:
            close(plan.slave)
    return master, pid, pidfd
