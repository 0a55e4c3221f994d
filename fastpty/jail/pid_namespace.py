"""The processes around a pid namespace: one waits outside, one is process 1 inside.

Only the children of a process get into a pid namespace that it has made or entered (pid_namespaces(7)). So the router
goes on in a child, and the process that was started stays outside for whoever started it: it passes signals on, and
ends as the child does. In a namespace of its own that child, the supervisor, is process 1: it reaps orphans, cannot be
killed by a signal that it does not handle, and takes all others with it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from fastpty.errors import FastptyError
from fastpty.system import child, linux
from fastpty.system.signals import SI_KERNEL, Stopped

# All that can be caught and that somebody may send; stopping and going on is between the terminal and the processes.
_PASSED_ON = signal.valid_signals() - {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS),
}
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

Work = Callable[[], int]

# In a child: the pidfd of the process that waits outside.
_outside: int | None = None


def in_child(work: Work) -> int:
    """Runs `work` in a child and waits; the exit status: what `work` returned, or 1 if the child was killed.

    Signals are passed on to the child. When this process ends before, the child gets SIGTERM. What the caller would
    clean up is left to the parent alone.
    """
    parent = os.pidfd_open(os.getpid())
    # Ignored, as whoever started us may have left it, it would make the kernel reap what is awaited here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_PASSED_ON, signal.SIGCHLD])
    inner = child.fork("router", partial(_be_child, work, parent, before))
    os.close(parent)
    status = _wait_for(inner)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if status < 0:
        raise FastptyError(f"the process in the pid namespace was killed by signal {-status}")
    return status


def is_inner() -> bool:
    """Whether this process is one inside, for which another waits outside."""
    return _outside is not None


def stay_with_parent() -> None:
    """In a child of `in_child`: ends, by SIGTERM, when the parent does. To be repeated after a change of user.

    The kernel forgets it then (prctl(2), PR_SET_PDEATHSIG).
    """
    if _outside is None:
        return
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
    if select.select([_outside], [], [], 0)[0]:  # it has ended before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(inner: int) -> int:
    """Reaps all children until this one has ended; its exit status, negative for a signal. Passes signals on.

    The SIGHUP of a terminal that closes is the kernel's and ends the router; passed on, it would look like a reload.
    """
    while True:
        info = signal.sigwaitinfo([*_PASSED_ON, signal.SIGCHLD])
        if info.si_signo != signal.SIGCHLD:
            closed = info.si_signo == signal.SIGHUP and info.si_code == SI_KERNEL
            os.kill(inner, signal.SIGTERM if closed else info.si_signo)
            continue
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            pid, status = found
            if pid == inner:
                return os.waitstatus_to_exitcode(status)


def _be_child(work: Work, parent: int, mask: set[int | signal.Signals]) -> int:
    global _outside
    try:
        # A terminal's ^C comes to the parent, which passes it on; it must not come twice.
        os.setpgid(0, 0)
        _outside = parent
        stay_with_parent()
        for number in _ENDING:
            handler = signal.getsignal(number)
            if os.getpid() == 1 and handler == signal.SIG_DFL:
                signal.signal(number, _end)
            elif handler == _end:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return work()
    except FastptyError as error:
        print(f"fastpty-router: {error}", file=sys.stderr)
        return error.exit_status
    except Stopped:
        return 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def _end(number: int, _: FrameType | None) -> None:
    """The default action of a signal, for process 1, to which the kernel does not apply it."""
    os._exit(128 + number)
