"""The terminal of a session: the pty master, the leader, and the foreground process group.

The program of exec has three streams instead, and is its own foreground group (fastpty/relay/streams.pxd).
"""

from libc.errno cimport ECHILD, EPERM, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from posix.types cimport pid_t, uid_t

from fastpty.relay.errands cimport (
    ERRAND_CLOSE, ERRAND_HANG_UP, ERRAND_KILL_LINE, ERRAND_RESIZE, ERRAND_SUBMIT_LINE, OWNER_ROUTER, Errand, ErrandKind,
    Errands, errands_close_all, errands_send,
)
from fastpty.relay.rights cimport kill_as
from fastpty.system.linux cimport (
    ECHO, ICANON, ISIG, POLLHUP, POLLIN, P_PIDFD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, TIOCSIG,
    TIOCSWINSZ, VEOF, VKILL, WAIT_ALL, WAIT_CLONE, WEXITED, WNOHANG, WNOWAIT, _POSIX_VDISABLE, SYS_pidfd_send_signal,
    child_settled, close, getsid, ioctl, kill, poll, pollfd, siginfo_t, syscall, tcgetattr, tcgetpgrp, tcgetsid,
    termios, waitid, winsize, write,
)

cdef struct Terminal:
    int fd                # the pty master, or the router's end of standard output; -1 = closed
    bint has_streams      # the program has three streams instead of a terminal
    int input_fd          # with streams: the router's ends of standard input and error; -1 = closed
    int error_fd
    bint takes_descriptors  # with streams: the program can pass descriptors through its output
    bint has_exited       # with streams: the leader has exited; it is reaped when the session is finished
    int pidfd             # the session leader's; -1 = it is reaped
    pid_t leader
    pid_t hung_up_group   # the foreground group that got SIGHUP and may need SIGKILL; 0 = none
    winsize size
    bint has_user         # the program runs as `uid`, another user than this process
    uid_t uid
    Errands *errands      # for system calls that a program of such a user could block
    uint64_t session      # the session's number
    bint hangs_up         # an errand is hanging up background processes; the leader is reaped after it
    bint closes_elsewhere  # an errand closes the master, perhaps much later, and its process reports it
    int exit_code         # si_code of waitid(2): CLD_EXITED, CLD_KILLED, …; 0 until the leader is reaped
    int exit_status


cdef inline pid_t terminal_foreground(const Terminal *terminal) noexcept nogil:
    """Returns the foreground process group, or 0 if there is none that may be signalled.

    No signal may be sent to 0, which stands for a group outside this pid namespace; to 1, since kill(-1) signals every
    process; and to a group that has ended, if a process of another session has its number now.
    """
    cdef pid_t group, session
    if terminal.has_streams:
        return terminal.leader if terminal.pidfd >= 0 else 0   # its group keeps the number until it is reaped
    group = tcgetpgrp(terminal.fd)
    session = getsid(group) if group > 1 else -1
    if session >= 0 and session != tcgetsid(terminal.fd):
        return 0
    return group if group > 1 else 0


cdef inline void terminal_signal_group(const Terminal *terminal, pid_t group, int number) noexcept nogil:
    """Signals a process group with the rights of the session's user."""
    if terminal.has_user:
        kill_as(terminal.uid, -group, number)
    else:
        kill(-group, number)


cdef inline void terminal_signal_leader(const Terminal *terminal, int number) noexcept nogil:
    """Signals the leader with the router's rights: a session must end even if its leader has changed its user."""
    if terminal.pidfd >= 0:
        syscall(SYS_pidfd_send_signal, terminal.pidfd, number, NULL, 0)


cdef inline void terminal_signal(const Terminal *terminal, int number) noexcept nogil:
    """Sends a client's signal to the foreground group. SIGHUP, SIGTERM and SIGKILL go to the leader, too."""
    cdef pid_t group = terminal_foreground(terminal)
    if not terminal.has_streams and (number == SIGINT or number == SIGQUIT or number == SIGTSTP):
        # As the keys do: this also reaches a program that this process may not signal, such as sudo.
        ioctl(terminal.fd, TIOCSIG, number)
    elif group > 0:
        terminal_signal_group(terminal, group, number)
    if group == terminal.leader or not (number == SIGHUP or number == SIGTERM or number == SIGKILL):
        return
    if not terminal.has_user:
        terminal_signal_leader(terminal, number)
    elif terminal.pidfd >= 0:    # it is not reaped, so the pid is still its own
        kill_as(terminal.uid, terminal.leader, number)


cdef inline void terminal_hang_up(Terminal *terminal) noexcept nogil:
    """Sends SIGHUP, and SIGCONT for stopped processes, to the foreground group and the leader."""
    cdef pid_t group = terminal_foreground(terminal)
    if group > 0:
        terminal_signal_group(terminal, group, SIGHUP)
        terminal_signal_group(terminal, group, SIGCONT)
    if group != terminal.leader or terminal.has_streams:   # streams: no terminal hangs up a leader with another uid
        terminal_signal_leader(terminal, SIGHUP)
        terminal_signal_leader(terminal, SIGCONT)
    terminal.hung_up_group = group


cdef inline bint terminal_hang_up_background(Terminal *terminal, int64_t grace_ns, uint64_t token) noexcept nogil:
    """Has an errand hang up the session's other processes (fastpty/errands/hang_up.py). False: try again later.

    token: Handler.errands_told returns it when the errand is done.
    """
    cdef Errand errand
    terminal_begin_errand(terminal, &errand)
    errand.kind = ERRAND_HANG_UP
    errand.leader = terminal.leader
    errand.foreground = terminal.hung_up_group
    errand.grace_ns = grace_ns
    errand.session = token
    return errands_send(terminal.errands, &errand, &terminal.pidfd, 1)


cdef inline bint terminal_group_remains(const Terminal *terminal) noexcept nogil:
    """Returns True if the process group that got SIGHUP still exists.

    If the group has ended, a new process may have its number. That process is in another session; or, if the number is
    that of the reaped leader, it may lead a session with the same number.
    """
    cdef pid_t session
    if terminal.hung_up_group == 0 or kill(-terminal.hung_up_group, 0) != 0:
        return False
    session = getsid(terminal.hung_up_group)
    if terminal.pidfd < 0 and terminal.hung_up_group == terminal.leader:
        return session < 0
    return session < 0 or session == terminal.leader


cdef inline bint terminal_leaders_group_remains(const Terminal *terminal) noexcept nogil:
    """Returns True if a reaped leader's group has other processes. Without job control a shell runs all in it."""
    return kill(-terminal.leader, 0) == 0 or errno == EPERM


cdef inline void terminal_kill(Terminal *terminal) noexcept nogil:
    """Sends SIGKILL to the processes that terminal_hang_up has not ended."""
    if terminal_group_remains(terminal):
        terminal_signal_group(terminal, terminal.hung_up_group, SIGKILL)
    terminal.hung_up_group = 0
    terminal_signal_leader(terminal, SIGKILL)


cdef inline bint terminal_has_executed(const Terminal *terminal) noexcept nogil:
    """Returns True if the leader has executed its program, even if it has ended since, but is not reaped.

    The leader is started without an exit signal (fastpty/_spawn.pyx), and execve(2) sets that to SIGCHLD. WAIT_CLONE
    (wait(2), __WCLONE) finds only children without SIGCHLD.
    """
    cdef siginfo_t info
    return (waitid(P_PIDFD, terminal.pidfd, &info, WEXITED | WNOHANG | WNOWAIT | WAIT_CLONE) < 0
            and errno == ECHILD)


cdef inline bint terminal_reap(Terminal *terminal) noexcept nogil:
    """Reaps the leader and records how it ended. Returns False if it runs, if its tracer must wait for it first, or if
    an errand needs its pid as the session's number.
    """
    cdef siginfo_t info
    cdef int result
    if terminal.pidfd < 0 or terminal.hangs_up:
        return False
    memset(&info, 0, sizeof(info))
    result = waitid(P_PIDFD, terminal.pidfd, &info, WEXITED | WNOHANG | WAIT_ALL)
    if result == 0 and not child_settled(&info):
        return False
    # On an error the leader was reaped elsewhere, and how it ended is unknown.
    terminal.exit_code = info.si_code
    terminal.exit_status = info.si_status
    terminal_forget_leader(terminal)
    return True


cdef inline bint terminal_note_exit(Terminal *terminal) noexcept nogil:
    """Records how the leader has ended, without reaping it. Returns False if it runs, or its tracer must wait first."""
    cdef siginfo_t info
    cdef int result
    memset(&info, 0, sizeof(info))
    result = waitid(P_PIDFD, terminal.pidfd, &info, WEXITED | WNOHANG | WNOWAIT | WAIT_ALL)
    if result == 0 and not child_settled(&info):
        return False
    terminal.exit_code, terminal.exit_status = info.si_code, info.si_status
    terminal.has_exited = True
    return True


cdef inline void terminal_forget_leader(Terminal *terminal) noexcept nogil:
    if terminal.pidfd >= 0:
        close(terminal.pidfd)
        terminal.pidfd = -1
        terminal.hangs_up = False


cdef inline int terminal_events(const Terminal *terminal) noexcept nogil:
    """Returns POLLIN if there is output to read, and POLLHUP if no process has the terminal open."""
    cdef pollfd master
    master.fd = terminal.fd
    master.events = POLLIN
    master.revents = 0
    poll(&master, 1, 0)
    return master.revents


cdef inline void terminal_begin_errand(const Terminal *terminal, Errand *errand) noexcept nogil:
    memset(errand, 0, sizeof(errand[0]))
    errand.owner = terminal.uid if terminal.has_user else OWNER_ROUTER
    # The limit of terminals counts those of other users until their close is reported. Programs of this process's own
    # user could evade that limit in other ways.
    errand.session = terminal.session if terminal.has_user else 0
    errand.size = terminal.size


cdef inline bint terminal_close(Terminal *terminal) noexcept nogil:
    """Closes the master, here or through an errand. Returns False if that must be tried again.

    The last close waits for programs that are in a system call on the terminal. So it is done here only if no program
    has the terminal open, and none can open it meanwhile: another user's program could.
    """
    cdef Errand errand
    if terminal.has_streams:
        return terminal_close_output(terminal)
    if terminal.fd < 0:
        return True
    if not terminal.has_user and terminal_events(terminal) & POLLHUP:
        close(terminal.fd)
    else:
        terminal_begin_errand(terminal, &errand)
        if not errands_close_all(terminal.errands, &errand, &terminal.fd, 1):
            return False
        terminal.closes_elsewhere = errand.session != 0 and terminal.errands.queue >= 0
    terminal.fd = -1
    return True


cdef inline bint terminal_close_output(Terminal *terminal) noexcept nogil:
    """Closes the program's standard output and error here. Returns False if that must be tried again."""
    return (terminal_close_stream(terminal, &terminal.fd)
            and terminal_close_stream(terminal, &terminal.error_fd))


cdef inline bint terminal_close_stream(Terminal *terminal, int *fd) noexcept nogil:
    """As terminal_close, for one of the program's streams, which is a socket if it may hold descriptors."""
    cdef Errand errand
    if fd[0] < 0:
        return True
    if not terminal.takes_descriptors:
        close(fd[0])
    else:
        terminal_begin_errand(terminal, &errand)
        errand.session = 0   # it does not count as an open terminal
        if not errands_close_all(terminal.errands, &errand, fd, 1):
            return False
    fd[0] = -1
    return True


cdef inline void terminal_close_input(Terminal *terminal) noexcept nogil:
    """Closes the program's standard input here: nothing can be sent to this end, so it holds no descriptors."""
    if terminal.input_fd >= 0:
        close(terminal.input_fd)
        terminal.input_fd = -1


cdef inline void terminal_send_errand(const Terminal *terminal, Errand *errand) noexcept nogil:
    """Sends an errand about a terminal that stays open here."""
    errands_send(terminal.errands, errand, &terminal.fd, 1)


cdef inline void terminal_resize(const Terminal *terminal) noexcept nogil:
    """Sets the window size. The kernel sends SIGWINCH to the foreground group if it has changed."""
    cdef Errand errand
    if terminal.has_streams:
        return
    if terminal.has_user:
        terminal_begin_errand(terminal, &errand)
        errand.kind = ERRAND_RESIZE
        terminal_send_errand(terminal, &errand)
    else:
        ioctl(terminal.fd, TIOCSWINSZ, &terminal.size)


cdef inline void terminal_end_input(const Terminal *terminal, ErrandKind kind) noexcept nogil:
    """Types the end of input, or the key that must come before it, here or through an errand."""
    cdef Errand errand
    if terminal.has_user:
        terminal_begin_errand(terminal, &errand)
        errand.kind = kind
        terminal_send_errand(terminal, &errand)
    else:
        terminal_type_end(terminal, kind)


cdef inline void terminal_type_end(const Terminal *terminal, ErrandKind kind) noexcept nogil:
    """Types the VEOF character, usually ^D, for the program that reads the terminal now.

    In canonical mode it types two: the first ends a line that was begun, the second is the end of file. The line
    editors of bash, zsh, fish and python turn canonical mode and echo off and keep signal characters: they take one
    VEOF as the end, but only on an empty line. So ERRAND_SUBMIT_LINE types Enter there, and ERRAND_KILL_LINE the VKILL
    character, usually ^U. The foreground group is not checked, since a shell that another program has started
    has a process group of its own. In raw mode no character means the end of input, so it types nothing.
    """
    cdef termios attributes
    cdef unsigned char characters[2]
    cdef size_t count = 0
    if tcgetattr(terminal.fd, &attributes) != 0 or attributes.c_cc[VEOF] == _POSIX_VDISABLE:
        return
    characters[0] = characters[1] = attributes.c_cc[VEOF]
    if attributes.c_lflag & ICANON:
        count = 2
    elif attributes.c_lflag & ISIG and not attributes.c_lflag & ECHO:
        count = 1
        if kind == ERRAND_SUBMIT_LINE:
            characters[0] = b"\r"
        elif kind == ERRAND_KILL_LINE:
            characters[0] = attributes.c_cc[VKILL]
    if count > 0:
        write(terminal.fd, characters, count)


cdef inline void terminal_do_errand(const Errand *errand, int fd) noexcept nogil:
    """Does an errand and closes its descriptor. It may block, so the relay's process does not call it."""
    cdef Terminal terminal
    memset(&terminal, 0, sizeof(terminal))
    terminal.fd = fd
    terminal.size = errand.size
    if errand.kind == ERRAND_RESIZE:
        terminal_resize(&terminal)
    elif errand.kind != ERRAND_CLOSE:
        terminal_type_end(&terminal, errand.kind)
    close(fd)
