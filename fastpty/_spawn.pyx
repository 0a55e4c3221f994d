"""Starts a program as the leader of a new session on a new pseudo-terminal."""

import os

from libc.errno cimport EPERM, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.types cimport gid_t, uid_t

from fastpty._linux cimport (
    CLONE_FILES,
    CLONE_PIDFD,
    CLONE_VFORK,
    CLONE_VM,
    CLOSE_RANGE_UNSHARE,
    IUTF8,
    NSIG,
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDWR,
    PR_SET_NO_NEW_PRIVS,
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
    SYS_exit_group,
    SYS_getgroups,
    SYS_getresgid,
    SYS_getresuid,
    SYS_prctl,
    SYS_rt_sigaction,
    SYS_setgroups,
    SYS_setresgid,
    SYS_setresuid,
    chdir,
    clone,
    close,
    dprintf,
    dup2,
    dup3,
    execve,
    fchown,
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
    strerror,
    syscall,
    tcgetattr,
    tcsetattr,
    termios,
    unlockpt,
    waitid,
    winsize,
    write,
)

cdef enum:
    CHILD_STACK_BYTES = 65536   # used only between clone and execve
    MANY_DESCRIPTORS = 64       # where the table is shared with the child, rather than copied

# What the child was doing when it failed.
cdef enum Stage:
    STAGE_CGROUP
    STAGE_DESCRIPTORS
    STAGE_SESSION
    STAGE_ACCOUNT
    STAGE_DIRECTORY
    STAGE_EXECUTE

cdef struct Account:
    uid_t uid
    gid_t gid
    gid_t *groups
    gid_t *found              # room for as many, to check them
    int group_count

cdef struct Plan:
    char *program
    char **argv
    char **envp
    char *directory           # NULL: stay
    Account *account          # NULL: stay who we are
    bint no_new_privs
    int cgroup                # of its cgroup.procs; -1: stay where we are
    int slave
    bint shares_table         # of descriptors; then the slave side is the last one that the child needs of it
    rlimit files
    int error
    Stage stage


# Two low descriptors of this process, -1 before reserve(): what stands in for the slave side of a child that shares the
# table, and what fills that place meanwhile.
cdef int slot_fd = -1
cdef int filler_fd = -1


cdef const char *stage_text(Stage stage) noexcept nogil:
    """The text is for the person at the other end."""
    if stage == STAGE_DESCRIPTORS:
        return b"cannot close the router's descriptors"
    if stage == STAGE_SESSION:
        return b"cannot start a session on the terminal"
    if stage == STAGE_CGROUP:
        return b"cannot enter the session's cgroup"
    if stage == STAGE_ACCOUNT:
        return b"cannot give up the router's rights"
    if stage == STAGE_DIRECTORY:
        return b"cannot change to directory "
    return b"cannot execute "


cdef const char *stage_object(const Plan *plan) noexcept nogil:
    if plan.stage == STAGE_DIRECTORY:
        return plan.directory
    if plan.stage == STAGE_EXECUTE:
        return plan.program
    return b""


cdef void child_tell(const Plan *plan) noexcept nogil:
    """What went wrong, on the terminal."""
    dprintf(plan.slave if plan.stage <= STAGE_SESSION else 2, "fastpty: %s%s: %s\n", stage_text(plan.stage),
            stage_object(plan), strerror(errno))


cdef int child_fail(Plan *plan) noexcept nogil:
    plan.error = errno
    if plan.account != NULL:
        child_tell(plan)      # nobody waits for plan.error: see clone_child
    # Not _exit(3): the sanitizers would look at the stack first, which is not one that they know, and say so.
    syscall(SYS_exit_group, 127)
    return 127


cdef bint account_holds(const Account *account, gid_t group) noexcept nogil:
    cdef int index
    for index in range(account.group_count):
        if account.groups[index] == group:
            return True
    return False


cdef bint child_became(const Account *account) noexcept nogil:
    """Whether the kernel says that all ids and groups are the account's, and there is no way back to root."""
    cdef uid_t uids[3]
    cdef gid_t gids[3]
    cdef int index
    if syscall(SYS_getresuid, &uids[0], &uids[1], &uids[2]) < 0:
        return False
    if syscall(SYS_getresgid, &gids[0], &gids[1], &gids[2]) < 0:
        return False
    for index in range(3):
        if uids[index] != account.uid or gids[index] != account.gid:
            return False
    if syscall(SYS_getgroups, account.group_count, account.found) != account.group_count:
        return False
    for index in range(account.group_count):
        if not account_holds(account, account.found[index]):
            return False
    return account.uid == 0 or syscall(SYS_setresuid, 0, 0, 0) < 0


cdef int child_become(const Account *account) noexcept nogil:
    """Becomes the account for good: 0, or -1 with errno set. The user last: without root, groups cannot be changed."""
    if syscall(SYS_setgroups, account.group_count, account.groups) < 0:
        return -1
    if syscall(SYS_setresgid, account.gid, account.gid, account.gid) < 0:
        return -1
    if syscall(SYS_setresuid, account.uid, account.uid, account.uid) < 0:
        return -1
    if not child_became(account):
        (&errno)[0] = EPERM
        return -1
    return 0


cdef int child_go_home(Plan *plan) noexcept nogil:
    """Changes the directory. One who logs in and has no home is told so and starts in /, as with ssh."""
    plan.stage = STAGE_DIRECTORY
    if plan.directory == NULL or chdir(plan.directory) == 0:
        return 0
    if plan.account == NULL:
        return -1
    child_tell(plan)
    return chdir("/")


cdef int child_take_terminal(Plan *plan) noexcept nogil:
    cdef int number
    if setsid() < 0 or ioctl(plan.slave, TIOCSCTTY, 0) < 0:
        return -1
    for number in range(3):
        if dup2(plan.slave, number) < 0:
            return -1
    return 0


cdef int child_main(void *argument) noexcept nogil:
    """Runs in the child, mostly in the parent's memory with the parent asleep: only system calls on what is prepared.

    Ids are changed by the system calls themselves: glibc's functions would change them in all threads it knows of, and
    what it knows is the parent's.
    """
    cdef Plan *plan = <Plan *>argument
    cdef sigset_t none
    cdef int number
    cdef uint64_t default_action[4]   # the kernel's struct sigaction: SIG_DFL, no flags, no mask
    memset(default_action, 0, sizeof(default_action))
    for number in range(1, NSIG):
        # Not signal(2): glibc keeps 32 and 33 to itself, and an ignored one would stay ignored.
        syscall(SYS_rt_sigaction, number, default_action, NULL, sizeof(uint64_t))
    plan.stage = STAGE_CGROUP
    if plan.cgroup >= 0 and write(plan.cgroup, b"0", 1) < 0:
        return child_fail(plan)
    plan.stage = STAGE_DESCRIPTORS
    if plan.shares_table and syscall(SYS_close_range, plan.slave + 1, <unsigned int>-1, CLOSE_RANGE_UNSHARE) < 0:
        return child_fail(plan)
    plan.stage = STAGE_SESSION
    if child_take_terminal(plan) < 0:
        return child_fail(plan)
    setrlimit(RLIMIT_NOFILE, &plan.files)
    plan.stage = STAGE_DESCRIPTORS
    if syscall(SYS_close_range, 3, <unsigned int>-1, 0) < 0:
        return child_fail(plan)
    plan.stage = STAGE_ACCOUNT
    if plan.account != NULL and child_become(plan.account) < 0:
        return child_fail(plan)
    if plan.no_new_privs and syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        return child_fail(plan)
    if child_go_home(plan) < 0:
        return child_fail(plan)
    plan.stage = STAGE_EXECUTE
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, NULL)
    execve(plan.program, plan.argv, plan.envp)
    return child_fail(plan)


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


cdef int clone_child(Plan *plan, int *pidfd) noexcept nogil:
    """vfork(2) with a stack and a pidfd. No handler of ours may run in the child: signals wait until it has left.

    A child that becomes somebody else gets a copy of the memory instead, and is not waited for. That somebody may
    stop it, trace it, or have a home on a file system that never answers: none of it may reach the parent. So such a
    child tells what fails itself.
    """
    cdef sigset_t everything, previous
    cdef char *stack = <char *>malloc(CHILD_STACK_BYTES)
    cdef int flags = CLONE_PIDFD | SIGCHLD
    cdef int pid
    cdef int error
    if stack == NULL:
        return -1
    if plan.account == NULL:
        flags |= CLONE_VM | CLONE_VFORK
        if share_table(plan):
            flags |= CLONE_FILES
    sigfillset(&everything)
    pthread_sigmask(SIG_BLOCK, &everything, &previous)
    pid = clone(child_main, stack + CHILD_STACK_BYTES, flags, plan, pidfd)
    error = errno
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
        text = os.fsdecode(<bytes>stage_text(plan.stage) + <bytes>stage_object(plan))
        raise OSError(plan.error, f"{text}: {os.strerror(plan.error)}")
    return pid


def reserve():
    """Keeps two descriptors for spawn(); see _spawn.pyi."""
    global slot_fd, filler_fd
    slot_fd = os.eventfd(0)
    filler_fd = os.eventfd(0)


def spawn(
    list argv, list environment, directory, int rows, int columns, tuple files,
    *, program=None, account=None, bint no_new_privs=False, int cgroup=-1
):
    """Starts `argv` on a new terminal; see _spawn.pyi."""
    cdef Plan plan
    cdef Account becomes
    cdef int master = -1
    cdef int pidfd = -1
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
    plan.shares_table = False
    becomes.groups = becomes.found = NULL
    try:
        if account is not None:
            fill_account(&becomes, account)
        plan.argv = pointers(argv)
        plan.envp = pointers(environment)
        open_terminal(rows, columns, &master, &plan.slave)
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
