"""The child process between clone(2) and execve(2): session, terminal, cgroup, descriptors, account, directory.

Code here must not allocate, lock or use Python: usually the child runs in the memory of its sleeping parent.
"""

from libc.errno cimport ENOSYS, EPERM, errno
from libc.stdint cimport uint64_t
from libc.string cimport memset
from posix.types cimport gid_t, pid_t, uid_t

from fastpty.system.linux cimport (
    CLOSE_RANGE_UNSHARE,
    NSIG,
    O_CLOEXEC,
    O_WRONLY,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    RLIMIT_NOFILE,
    SIGHUP,
    SIG_SETMASK,
    TIOCSCTTY,
    SYS_close_range,
    SYS_exit_group,
    SYS_getgroups,
    SYS_getresgid,
    SYS_getresuid,
    SYS_keyctl,
    SYS_prctl,
    SYS_rt_sigaction,
    SYS_setgroups,
    SYS_setresgid,
    SYS_setresuid,
    chdir,
    close,
    dprintf,
    dup2,
    getppid,
    ioctl,
    openat,
    pthread_sigmask,
    rlimit,
    setrlimit,
    setsid,
    sigemptyset,
    sigset_t,
    strerror,
    syscall,
    write,
)

from fastpty.spawn.foreign cimport file_system_holds
from fastpty.spawn.login cimport leave_capabilities, login_as
from fastpty.spawn.report cimport STEP_DIRECTORY, STEP_EXECUTE, STEP_PREPARE, STEP_WORK, StartReport
from fastpty.spawn.search cimport child_execute

cdef enum:
    KEYCTL_JOIN_SESSION_KEYRING = 1   # linux/keyctl.h

    JOINS_MOST = 33                   # the report, and more groups than the kernel has cgroup controllers

# The step at which the child failed.
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
    gid_t *found              # room for group_count ids, to verify them
    int group_count

cdef struct Plan:
    char *program             # the file to execute; one without a slash is searched for in the PATH of `envp`
    char **argv
    char **envp
    char *directory           # the working directory; NULL: keep this process's
    bint needs_directory      # the start fails without the directory, even with an account
    int report                # the pipe for StartReport; -1: there is none
    Account *account          # NULL: keep the ids
    bint no_new_privs
    int cgroup                # descriptor of the directory of the cgroup to start in; -1: keep this process's
    bint enters_cgroup        # the child enters it, because clone did not
    int joins[JOINS_MOST]     # cgroup.procs of other groups to enter, open for writing; also the report
    int join_count
    bint is_apart             # the child has its own memory, and the parent does not wait for it
    bint compares_devpts      # the child warns if the terminal is not in /dev/pts
    bint has_streams          # the child gets `streams`, not a terminal, and ends with the worker
    int streams[3]            # its standard input, output and error
    int slave                 # the terminal, or standard error
    pid_t parent              # this process, which starts the child
    bint shares_table         # the child shares the table of descriptors; it needs none above `slave`
    rlimit files
    int error
    Stage stage


cdef inline const char *stage_text(Stage stage) noexcept nogil:
    """A text for the client's user."""
    if stage == STAGE_DESCRIPTORS:
        return b"cannot close the router's descriptors"
    if stage == STAGE_SESSION:
        return b"cannot start a session on the terminal"
    if stage == STAGE_CGROUP:
        return b"cannot enter the session's cgroup"
    if stage == STAGE_ACCOUNT:
        return b"cannot give up the router's privileges"
    if stage == STAGE_DIRECTORY:
        return b"cannot change to directory "
    return b"cannot execute "


cdef inline const char *stage_object(const Plan *plan) noexcept nogil:
    if plan.stage == STAGE_DIRECTORY:
        return plan.directory
    if plan.stage == STAGE_EXECUTE:
        return plan.program
    return b""


cdef inline void child_write_failure(const Plan *plan) noexcept nogil:
    """Writes to the terminal what failed and why."""
    dprintf(plan.slave, "fastpty: %s%s: %s\n", stage_text(plan.stage),
            stage_object(plan), strerror(errno))


cdef inline void child_compare_devpts(const Plan *plan) noexcept nogil:
    """Warns on the terminal if /dev/pts is another devpts now, where programs do not find this terminal.

    Only a child that the parent does not wait for does this: another user controls /dev/pts, which may never answer.
    """
    if plan.compares_devpts and plan.is_apart and not file_system_holds("/dev/pts", plan.slave):
        dprintf(plan.slave, "fastpty: this terminal is not in /dev/pts, which has changed since the router started: "
                "restart the router\n")


cdef inline void child_report(const Plan *plan, int error) noexcept nogil:
    cdef StartReport report
    report.error = error
    report.step = STEP_PREPARE
    if plan.stage == STAGE_EXECUTE:
        report.step = STEP_EXECUTE
    elif plan.stage == STAGE_DIRECTORY:
        report.step = STEP_DIRECTORY
    write(plan.report, &report, sizeof(report))


cdef inline int child_fail(Plan *plan) noexcept nogil:
    plan.error = errno
    if plan.report >= 0:
        child_report(plan, plan.error)
    elif plan.is_apart:
        child_write_failure(plan)      # the parent does not read plan.error
    # Not _exit(2): the sanitizers intercept it, and would complain about this unknown stack.
    syscall(SYS_exit_group, 127)
    return 127


cdef inline bint account_holds(const Account *account, gid_t group) noexcept nogil:
    cdef int index
    for index in range(account.group_count):
        if account.groups[index] == group:
            return True
    return False


cdef inline bint child_became(const Account *account) noexcept nogil:
    """True if the kernel reports the account's ids and groups, and root cannot be regained."""
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


cdef inline int child_become(const Account *account) noexcept nogil:
    """Becomes the account permanently. Returns 0, or -1 with errno set. The user comes last: groups need root.

    Capabilities are dropped after child_became has tried to regain root. A securebit may let them outlive the change of
    user, and programs of the session would inherit that bit. Without capabilities, the attempt would not reveal it.
    """
    if syscall(SYS_setgroups, account.group_count, account.groups) < 0:
        return -1
    if syscall(SYS_setresgid, account.gid, account.gid, account.gid) < 0:
        return -1
    if syscall(SYS_setresuid, account.uid, account.uid, account.uid) < 0:
        return -1
    if not child_became(account):
        (&errno)[0] = EPERM
        return -1
    return 0 if account.uid == 0 else leave_capabilities()


cdef inline int leave_session_keyring() noexcept nogil:
    """Creates a new session keyring (keyrings(7)): the router's would give access to root's keys. -1 with errno set.

    Call it after the change of ids, because the keyring belongs to the current user. It is no failure if the kernel has
    no keys or a filter forbids the call.
    """
    if syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 and errno != ENOSYS and errno != EPERM:
        return -1
    return 0


cdef inline int child_go_home(Plan *plan) noexcept nogil:
    """Changes the directory. A user whose home is missing gets a message and starts in /, as with ssh."""
    plan.stage = STAGE_DIRECTORY
    if plan.directory == NULL or chdir(plan.directory) == 0:
        return 0
    if plan.account == NULL or plan.needs_directory:
        return -1
    child_write_failure(plan)
    return chdir("/")


cdef inline int child_enter_cgroup(const Plan *plan) noexcept nogil:
    """Moves the child into its cgroup. It takes about 10 ms: the kernel waits for forks and exits of all processes."""
    cdef int procs = openat(plan.cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC)
    cdef ssize_t written
    if procs < 0:
        return -1
    written = write(procs, b"0", 1)
    close(procs)
    return -1 if written < 0 else 0


cdef inline int child_take_terminal(Plan *plan) noexcept nogil:
    """Begins a session, and makes the terminal or the streams descriptors 0, 1 and 2. Returns -1 with errno set."""
    cdef int number
    if setsid() < 0 or (not plan.has_streams and ioctl(plan.slave, TIOCSCTTY, 0) < 0):
        return -1
    for number in range(3):
        if dup2(plan.streams[number] if plan.has_streams else plan.slave, number) < 0:
            return -1
    return 0


cdef inline int child_close(const Plan *plan) noexcept nogil:
    """Closes all descriptors except 0, 1, 2 and those in `joins`, which are sorted and include `report`."""
    cdef int first = 3
    cdef int index
    for index in range(plan.join_count):
        if first < plan.joins[index] and syscall(SYS_close_range, first, plan.joins[index] - 1, 0) < 0:
            return -1
        first = plan.joins[index] + 1
    return <int>syscall(SYS_close_range, first, <unsigned int>-1, 0)


cdef inline int child_join(const Plan *plan) noexcept nogil:
    """Enters the container's control groups. If one is frozen, the child stops here, without other descriptors."""
    cdef int index
    for index in range(plan.join_count):
        if plan.joins[index] == plan.report:
            continue
        if write(plan.joins[index], b"0", 1) < 0:
            return -1
        close(plan.joins[index])
    return 0


cdef inline void child_reset_signals() noexcept nogil:
    """Gives all signals their default action."""
    cdef int number
    cdef uint64_t default_action[4]   # the kernel's struct sigaction: SIG_DFL, no flags, no mask
    memset(default_action, 0, sizeof(default_action))
    for number in range(1, NSIG):
        # Not signal(2): glibc refuses its own signals 32 and 33. If these are ignored now, they would stay so.
        syscall(SYS_rt_sigaction, number, default_action, NULL, sizeof(uint64_t))


cdef inline int child_begin_session(Plan *plan) noexcept nogil:
    """Enters the session's cgroups, takes its terminal, and closes all other descriptors. -1 with errno set."""
    plan.stage = STAGE_CGROUP
    if plan.enters_cgroup and child_enter_cgroup(plan) < 0:
        return -1
    plan.stage = STAGE_DESCRIPTORS
    if plan.shares_table and syscall(SYS_close_range, plan.slave + 1, <unsigned int>-1, CLOSE_RANGE_UNSHARE) < 0:
        return -1
    plan.stage = STAGE_SESSION
    if child_take_terminal(plan) < 0:
        return -1
    plan.stage = STAGE_DESCRIPTORS
    if child_close(plan) < 0:
        return -1
    if plan.is_apart:
        plan.slave = 2   # where the terminal is now
    plan.stage = STAGE_CGROUP
    return child_join(plan)


cdef inline int child_change_rights(Plan *plan) noexcept nogil:
    """Sets the limit of descriptors, becomes the account, and sets no_new_privs. -1 with errno set."""
    if plan.account != NULL:
        login_as(plan.account.uid)
    setrlimit(RLIMIT_NOFILE, &plan.files)
    plan.stage = STAGE_ACCOUNT
    if plan.account != NULL and (child_become(plan.account) < 0 or leave_session_keyring() < 0):
        return -1
    if plan.no_new_privs and syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        return -1
    if plan.has_streams:
        child_end_with_worker(plan)
    return 0


cdef inline void child_end_with_worker(const Plan *plan) noexcept nogil:
    """Makes the kernel send SIGHUP when the worker dies, since no terminal hangs up. Changing ids would undo it."""
    cdef pid_t parent
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0)
    parent = getppid()
    if parent != plan.parent and parent != 0:   # 0: this pid namespace does not see the worker
        syscall(SYS_exit_group, 127)


cdef inline int child_prepare(Plan *plan) noexcept nogil:
    """Does everything that comes before execve(2). Returns 0. If a step fails, the child ends.

    Ids are changed by direct system calls: glibc's functions would also signal the threads of the parent.
    """
    cdef sigset_t none
    child_reset_signals()
    if child_begin_session(plan) < 0 or child_change_rights(plan) < 0:
        return child_fail(plan)
    child_compare_devpts(plan)
    if child_go_home(plan) < 0:
        return child_fail(plan)
    plan.stage = STAGE_EXECUTE
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, NULL)
    return 0


cdef inline int child_main(void *argument) noexcept nogil:
    """The child's code. It usually runs in its sleeping parent's memory, and only makes system calls on prepared data.
    """
    cdef Plan *plan = <Plan *>argument
    child_prepare(plan)
    child_execute(plan.program, plan.argv, plan.envp)
    return child_fail(plan)


cdef inline void child_begin_work(Plan *plan) noexcept nogil:
    """Prepares the child, and reports that it runs its work now, instead of a program."""
    cdef StartReport report
    child_prepare(plan)
    report.error, report.step = 0, STEP_WORK
    write(plan.report, &report, sizeof(report))
    close(plan.report)
