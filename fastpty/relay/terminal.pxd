"""The pty side of a session: the master descriptor and the process group behind it."""

from libc.string cimport memset
from posix.types cimport pid_t, uid_t

from fastpty.relay.errands cimport ERRAND_END_INPUT, ERRAND_RESIZE, Errand, Errands, errands_close, errands_send
from fastpty.relay.rights cimport kill_as
from fastpty.system.linux cimport (
    ICANON, ISIG, POLLHUP, P_PIDFD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, TIOCSIG,
    TIOCSWINSZ, VEOF, WEXITED, WNOHANG, _POSIX_VDISABLE, SYS_pidfd_send_signal, child_settled, close, getsid, ioctl,
    kill, poll, pollfd, siginfo_t, syscall, tcgetattr, tcgetpgrp, tcgetsid, termios, waitid, winsize, write,
)

cdef struct Terminal:
    int fd                # the pty master; -1 when closed
    int pidfd             # of the session leader; -1 when it is reaped
    pid_t leader
    pid_t hung_up_group   # a foreground group that got SIGHUP and may need SIGKILL; 0 = none
    winsize size
    bint has_user         # the session is another user's than this process: `uid`
    uid_t uid
    Errands *errands      # for what could wait on a program of such a user
    int exit_code         # as in siginfo_t: CLD_EXITED, CLD_KILLED, …; 0 while the leader lives
    int exit_status


cdef inline pid_t terminal_foreground(const Terminal *terminal) noexcept nogil:
    """The foreground process group, or 0: none, or one that this pid namespace cannot see.

    1 counts as none too: kill(-1) would signal every process there is. So does a group whose processes have all ended,
    when a process of another session has got its number by now.
    """
    cdef pid_t group = tcgetpgrp(terminal.fd)
    cdef pid_t session = getsid(group) if group > 1 else -1
    if session >= 0 and session != tcgetsid(terminal.fd):
        return 0
    return group if group > 1 else 0


cdef inline void terminal_signal_group(const Terminal *terminal, pid_t group, int number) noexcept nogil:
    if terminal.has_user:
        kill_as(terminal.uid, -group, number)
    else:
        kill(-group, number)


cdef inline void terminal_signal_leader(const Terminal *terminal, int number) noexcept nogil:
    """With this process's own rights: a session must end, whoever its leader has become."""
    if terminal.pidfd >= 0:
        syscall(SYS_pidfd_send_signal, terminal.pidfd, number, NULL, 0)


cdef inline void terminal_signal(const Terminal *terminal, int number) noexcept nogil:
    """Sends a signal that the client asked for to the foreground group; HUP, TERM and KILL to the leader as well."""
    cdef pid_t group = terminal_foreground(terminal)
    if number == SIGINT or number == SIGQUIT or number == SIGTSTP:
        # The line discipline's own way reaches also what this process may not signal, as sudo in the foreground.
        ioctl(terminal.fd, TIOCSIG, number)
    elif group > 0:
        terminal_signal_group(terminal, group, number)
    if group == terminal.leader or not (number == SIGHUP or number == SIGTERM or number == SIGKILL):
        return
    if not terminal.has_user:
        terminal_signal_leader(terminal, number)
    elif terminal.pidfd >= 0:    # not reaped, so the number is still its own
        kill_as(terminal.uid, terminal.leader, number)


cdef inline void terminal_hang_up(Terminal *terminal) noexcept nogil:
    """SIGHUP and SIGCONT (a stopped job must run to see it) to the foreground group and the leader."""
    cdef pid_t group = terminal_foreground(terminal)
    if group > 0:
        terminal_signal_group(terminal, group, SIGHUP)
        terminal_signal_group(terminal, group, SIGCONT)
    if group != terminal.leader:
        terminal_signal_leader(terminal, SIGHUP)
        terminal_signal_leader(terminal, SIGCONT)
    terminal.hung_up_group = group


cdef inline bint terminal_group_remains(const Terminal *terminal) noexcept nogil:
    """Whether the group that was hung up still exists and is still of this session.

    Its number can be a stranger's by now only if a new process got it, and then that one's session tells.
    """
    cdef pid_t session
    if terminal.hung_up_group == 0 or kill(-terminal.hung_up_group, 0) != 0:
        return False
    session = getsid(terminal.hung_up_group)
    return session < 0 or session == terminal.leader


cdef inline void terminal_kill(Terminal *terminal) noexcept nogil:
    """SIGKILL to what outlived terminal_hang_up."""
    if terminal_group_remains(terminal):
        terminal_signal_group(terminal, terminal.hung_up_group, SIGKILL)
    terminal.hung_up_group = 0
    terminal_signal_leader(terminal, SIGKILL)


cdef inline bint terminal_reap(Terminal *terminal) noexcept nogil:
    """Reaps the leader and notes how it ended; False if it still runs, or is dead but its tracer's for now."""
    cdef siginfo_t info
    cdef int result
    if terminal.pidfd < 0:
        return False
    memset(&info, 0, sizeof(info))
    result = waitid(P_PIDFD, terminal.pidfd, &info, WEXITED | WNOHANG)
    if result == 0 and not child_settled(&info):
        return False
    # On an error somebody else has reaped it, and how it ended cannot be known.
    terminal.exit_code = info.si_code
    terminal.exit_status = info.si_status
    terminal_forget_leader(terminal)
    return True


cdef inline void terminal_forget_leader(Terminal *terminal) noexcept nogil:
    if terminal.pidfd >= 0:
        close(terminal.pidfd)
        terminal.pidfd = -1


cdef inline bint terminal_close(Terminal *terminal) noexcept nogil:
    """Closes the master, or has it closed. False: it is still open, and this is to be tried again.

    The kernel waits, in a last close, for a program that is in a call about the terminal. Where no program has the
    terminal open there is none. A program of another user could open it again at this moment, with that in mind.
    """
    cdef pollfd master
    if terminal.fd < 0:
        return True
    master.fd = terminal.fd
    master.events = 0
    if not terminal.has_user and poll(&master, 1, 0) == 1 and master.revents & POLLHUP:
        close(terminal.fd)
    elif not errands_close(terminal.errands, terminal.fd):
        return False
    terminal.fd = -1
    return True


cdef inline void terminal_send_errand(const Terminal *terminal, Errand *errand) noexcept nogil:
    errand.size = terminal.size
    errand.leader = terminal.leader
    errand.number = 0   # it stays open here
    errands_send(terminal.errands, errand, &terminal.fd, 1)


cdef inline void terminal_resize(const Terminal *terminal) noexcept nogil:
    """Sets the window size; the kernel sends SIGWINCH to the foreground group if it has changed."""
    cdef Errand errand
    if terminal.has_user:
        errand.kind = ERRAND_RESIZE
        terminal_send_errand(terminal, &errand)
    else:
        ioctl(terminal.fd, TIOCSWINSZ, &terminal.size)


cdef inline void terminal_end_input(const Terminal *terminal) noexcept nogil:
    cdef Errand errand
    if terminal.has_user:
        errand.kind = ERRAND_END_INPUT
        terminal_send_errand(terminal, &errand)
    else:
        terminal_type_end(terminal)


cdef inline void terminal_type_end(const Terminal *terminal) noexcept nogil:
    """Tells the program that its input has ended, as a person does with ^D.

    In canonical mode one VEOF character ends a line that was begun, the next is the end of file. A line editor such
    as readline (not canonical, but with signal characters) takes the character itself; it gets one, and only while the
    session leader is in the foreground. In raw mode no byte means end of file, and none is sent.
    """
    cdef termios attributes
    cdef unsigned char characters[2]
    cdef size_t count = 0
    if tcgetattr(terminal.fd, &attributes) != 0 or attributes.c_cc[VEOF] == _POSIX_VDISABLE:
        return
    if attributes.c_lflag & ICANON:
        count = 2
    elif attributes.c_lflag & ISIG and terminal_foreground(terminal) == terminal.leader:
        count = 1
    characters[0] = characters[1] = attributes.c_cc[VEOF]
    if count > 0:
        write(terminal.fd, characters, count)


cdef inline void terminal_do_errand(const Errand *errand, int fd) noexcept nogil:
    """In a process that may wait: does what the errand says with its descriptor, and closes it."""
    cdef Terminal terminal
    memset(&terminal, 0, sizeof(terminal))
    terminal.fd = fd
    terminal.size = errand.size
    terminal.leader = errand.leader
    if errand.kind == ERRAND_RESIZE:
        terminal_resize(&terminal)
    elif errand.kind == ERRAND_END_INPUT:
        terminal_type_end(&terminal)
    close(fd)
