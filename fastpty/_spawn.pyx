"""Starts a program as the leader of a new session, on a new pseudo-terminal or on three streams."""

import os
import signal
import sys

cimport cython
from libc.errno cimport EACCES, ENOSYS, EPERM, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from posix.types cimport gid_t, uid_t

from fastpty.spawn.child cimport (
    JOINS_MOST, STAGE_SESSION, Account, Plan, child_begin_work, child_main, child_report,
    leave_session_keyring, stage_object, stage_text,
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
    SYS_clone,
    TCSANOW,
    TIOCGPTPEER,
    TIOCSWINSZ,
    WAIT_ALL,
    WEXITED,
    clone,
    close,
    dup3,
    fchown,
    getpid,
    ioctl,
    posix_openpt,
    pthread_sigmask,
    siginfo_t,
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

from fastpty.errors import ExecuteError, RefusedError

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

cdef enum:
    CHILD_STACK_BYTES = 65536   # used only between clone and execve
    MANY_DESCRIPTORS = 64       # from this number on, the child shares the table instead of copying it

# Two low descriptors, -1 before reserve(). slot_fd becomes the terminal of a child that shares the table of
# descriptors. At other times filler_fd's file keeps that number in use.
cdef int slot_fd = -1
cdef int filler_fd = -1


cdef bint share_table(Plan *plan) noexcept nogil:
    """Lets the child share this process's table of descriptors, if that is faster. Returns True if it does.

    Copying and closing the whole table takes longer the more sessions there are: 4 ms with 3,500. Instead the child
    copies only its beginning, up to slot_fd. There is only one slot, so the parent must wait for such a child.
    """
    if plan.slave < MANY_DESCRIPTORS or slot_fd < 0 or dup3(plan.slave, slot_fd, O_CLOEXEC) < 0:
        return False
    close(plan.slave)
    plan.slave = slot_fd
    plan.shares_table = True
    return True


cdef int clone_into_cgroup(Plan *plan, int *pidfd, char *stack, int flags) noexcept nogil:
    """As clone(2), for a child that starts in plan.cgroup."""
    cdef CloneArgs args
    cdef long pid
    memset(&args, 0, sizeof(args))
    args.flags = <uint64_t>flags | CLONE_INTO_CGROUP
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
    """Starts the child as vfork(2) does, with its own stack and a pidfd. Signals are blocked: no handler may run in it.

    It has no exit signal. Only execve(2) gives it one, so waitid(2) can tell whether it has executed its program.

    A child that becomes another user, or runs in a foreign root, gets a copy of the memory, and the parent does not
    wait for it. Otherwise that user could delay the parent: by stopping, freezing or tracing the child, or with a home
    on a file system that never answers. Such a child reports its failures itself.
    """
    cdef sigset_t everything, previous
    cdef char *stack = <char *>malloc(CHILD_STACK_BYTES)
    cdef int flags = CLONE_PIDFD
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
        pidfd[0] = -1   # the kernel may have written a number and closed the descriptor again
    pthread_sigmask(SIG_SETMASK, &previous, NULL)
    if plan.shares_table:
        dup3(filler_fd, slot_fd, O_CLOEXEC)
    free(stack)
    (&errno)[0] = error
    return pid


cdef char **pointers(tuple strings) except NULL:
    """Returns a NULL-terminated array of pointers into `strings`, which must stay alive. The caller frees it."""
    cdef Py_ssize_t count = len(strings)
    cdef Py_ssize_t index
    cdef char **array = <char **>malloc((count + 1) * sizeof(char *))
    if array == NULL:
        raise MemoryError()
    for index in range(count):
        array[index] = <bytes>strings[index]
    array[count] = NULL
    return array


cdef int fork_child(Plan *plan, int *pidfd, complete) except -1:
    """As clone_child, for a child that first calls `complete` in a copy of this process. Raises OSError."""
    cdef sigset_t everything, previous
    cdef int pid
    cdef int error
    sigfillset(&everything)
    pthread_sigmask(SIG_BLOCK, &everything, &previous)
    PyOS_BeforeFork()
    pid = <int>syscall(SYS_clone, 0, 0, 0, 0, 0)   # os.fork() would give the child an exit signal
    error = errno
    if pid == 0:
        PyOS_AfterFork_Child()
        complete_and_execute(plan, complete)
    PyOS_AfterFork_Parent()
    pthread_sigmask(SIG_SETMASK, &previous, NULL)
    if pid < 0:
        raise OSError(error, f"cannot start a process: {os.strerror(error)}")
    try:
        pidfd[0] = os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, WAIT_ALL)
        raise
    return pid


cdef complete_and_execute(Plan *plan, complete):
    """Completes and executes the command, or runs the work in its place, in the child. Does not return."""
    cdef Command command
    try:
        command, work = complete(plan.slave)
        plan.enters_cgroup = plan.cgroup >= 0
        plan_command(plan, command)
        if work is None:
            child_main(plan)
        child_begin_work(plan)
        os._exit(work())
    except RefusedError:   # `complete` has sent the client the reason, unless it reads a report
        if plan.report >= 0:
            child_report(plan, EACCES)
    except BrokenPipeError:
        pass   # the worker has ended
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(127)


cdef void plan_command(Plan *plan, Command command) noexcept:
    plan.program, plan.argv, plan.envp = command.path, command.argv_pointers, command.environment_pointers
    plan.directory = NULL if command.directory is None else <char *>command.directory
    plan.needs_directory = command.needs_directory
    if command.account is not None:
        plan.account = &command.becomes
        plan.is_apart = True


cdef void plan_report(Plan *plan, int report) noexcept:
    """Adds the report to `joins`, which are sorted and which the child keeps open."""
    cdef int index = plan.join_count
    while index > 0 and plan.joins[index - 1] > report:
        plan.joins[index] = plan.joins[index - 1]
        index -= 1
    plan.joins[index] = plan.report = report
    plan.join_count += 1
    plan.is_apart = True


cdef open_terminal(int directory, tuple window, int *master, int *slave):
    """Opens a new pty: a non-blocking master, a slave with default termios and IUTF8, both close-on-exec.

    directory: where to open `ptmx`, or -1 to open /dev/ptmx. TIOCGPTPEER needs no path, so the mount namespace may have
    another devpts on /dev/pts, or none.
    """
    cdef termios attributes
    cdef winsize size
    memset(&size, 0, sizeof(size))
    size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel = window
    if directory < 0:
        master[0] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    else:
        master[0] = open_ptmx(directory)
    if master[0] < 0:
        raise OSError(errno, f"cannot open a pseudo-terminal: {os.strerror(errno)}")
    unlockpt(master[0])
    slave[0] = ioctl(master[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
    if slave[0] < 0:
        raise OSError(errno, f"cannot open the terminal's slave side: {os.strerror(errno)}")
    ioctl(master[0], TIOCSWINSZ, &size)
    tcgetattr(slave[0], &attributes)
    attributes.c_iflag |= IUTF8
    tcsetattr(slave[0], TCSANOW, &attributes)


cdef run_child(Plan *plan, int *pidfd, complete):
    """Starts the child, and returns its pid. Raises OSError if a child that is waited for cannot run its program."""
    cdef siginfo_t info
    cdef int pid
    if complete is not None:
        return fork_child(plan, pidfd, complete)
    with nogil:
        pid = clone_child(plan, pidfd)
    if pid < 0:
        raise OSError(errno, f"cannot start a process: {os.strerror(errno)}")
    if plan.error != 0:
        waitid(P_PIDFD, pidfd[0], &info, WEXITED | WAIT_ALL)
        text = os.fsdecode(<bytes>stage_text(plan.stage) + <bytes>stage_object(plan))
        raise ExecuteError(plan.error, f"{text}: {os.strerror(plan.error)}")
    return pid


def reserve():
    """Reserves two low descriptors; see _spawn.pyi."""
    global slot_fd, filler_fd
    slot_fd = os.eventfd(0)
    filler_fd = os.eventfd(0)


def leave_keys():
    """Creates a new session keyring; see _spawn.pyi."""
    if leave_session_keyring() < 0:
        raise OSError(errno, os.strerror(errno))


@cython.final
cdef class Command:
    """A program with its arguments, environment, directory and account; see _spawn.pyi."""

    # The pointers of the second half point into the objects of the first.
    cdef readonly tuple argv
    cdef readonly tuple environment
    cdef readonly bytes directory
    cdef readonly bytes path
    cdef readonly tuple account
    cdef readonly bint needs_directory
    cdef char **argv_pointers
    cdef char **environment_pointers
    cdef Account becomes         # used if there is an account

    def __cinit__(self, argv, environment, bytes directory=None, *, bytes path=None, tuple account=None,
                  bint needs_directory=False):
        self.argv = tuple(argv)
        if not self.argv:
            raise ValueError("argv is empty")
        self.environment = tuple(environment)
        self.directory = directory
        self.path = self.argv[0] if path is None else path
        self.account = account
        self.needs_directory = needs_directory
        self.argv_pointers = pointers(self.argv)
        self.environment_pointers = pointers(self.environment)
        if account is not None:
            uid, gid, groups = account
            self.take_account(uid, gid, groups)

    def __dealloc__(self):
        free(self.argv_pointers)
        free(self.environment_pointers)
        free(self.becomes.groups)
        free(self.becomes.found)

    cdef take_account(self, uid_t uid, gid_t gid, list groups):
        cdef int index
        self.becomes.uid = uid
        self.becomes.gid = gid
        self.becomes.group_count = len(groups)
        self.becomes.groups = <gid_t *>malloc((len(groups) + 1) * sizeof(gid_t))
        self.becomes.found = <gid_t *>malloc((len(groups) + 1) * sizeof(gid_t))
        if self.becomes.groups == NULL or self.becomes.found == NULL:
            raise MemoryError()
        for index in range(self.becomes.group_count):
            self.becomes.groups[index] = groups[index]


@cython.final
cdef class Spawner:
    """Starts commands, each on a new terminal; see _spawn.pyi."""

    cdef Plan common             # the part of the plan that is the same for all sessions
    cdef int terminals

    def __cinit__(self, tuple files, *, bint no_new_privs=False, bint apart=False, tuple joins=(), int terminals=-1):
        cdef int index
        if len(joins) >= JOINS_MOST:   # one place is for a report
            raise ValueError(f"more than {JOINS_MOST - 1} control groups to enter")
        self.terminals = terminals
        self.common.files.rlim_cur, self.common.files.rlim_max = files
        self.common.no_new_privs = no_new_privs
        self.common.is_apart = apart
        self.common.join_count = len(joins)
        for index, join in enumerate(sorted(joins)):
            self.common.joins[index] = join
        self.common.compares_devpts = terminals >= 0 and is_devpts(terminals)
        self.common.stage = STAGE_SESSION
        self.common.slave = self.common.report = -1

    def spawn(self, Command command not None, tuple window, *, int cgroup=-1, int report=-1, complete=None):
        """Starts the command on a new terminal; see _spawn.pyi."""
        cdef Plan plan = self.common
        cdef int master = -1
        cdef int pidfd = -1
        try:
            open_terminal(self.terminals, window, &master, &plan.slave)
            if command.account is not None and fchown(plan.slave, command.becomes.uid, <gid_t>-1) < 0:
                raise OSError(errno, f"cannot give the terminal to its user: {os.strerror(errno)}")
            pid = self.start(&plan, &pidfd, command, (cgroup, report), complete)
        except BaseException:
            if master >= 0:
                close(master)
            raise
        finally:
            if plan.slave >= 0 and not plan.shares_table:
                close(plan.slave)
        return master, pid, pidfd

    def spawn_on_streams(self, Command command not None, tuple streams, *, int cgroup=-1, int report, complete=None):
        """Starts the command with these streams; see _spawn.pyi."""
        cdef Plan plan = self.common
        cdef int pidfd = -1
        plan.has_streams = True
        plan.compares_devpts = False
        plan.streams[0], plan.streams[1], plan.streams[2] = streams
        plan.slave = plan.streams[2]
        pid = self.start(&plan, &pidfd, command, (cgroup, report), complete)
        return pid, pidfd

    cdef int start(self, Plan *plan, int *pidfd, Command command, tuple descriptors, complete) except -1:
        """Completes the plan and starts the child. Returns its pid. descriptors: cgroup and report."""
        cdef int report
        plan.cgroup, report = descriptors
        plan.parent = getpid()
        plan_command(plan, command)
        if report >= 0:
            plan_report(plan, report)
        try:
            return run_child(plan, pidfd, complete)
        except BaseException:
            if pidfd[0] >= 0:
                close(pidfd[0])
            raise
