"""The two processes around a pid namespace: one waits outside, one runs inside.

Only children of a process enter the pid namespace that it has created or joined (pid_namespaces(7)). So the router
continues in a child. The original process stays outside: it forwards signals, and exits with the child's status. In a
new namespace the child, the supervisor, is process 1: it reaps orphans, ignores signals that it does not handle, and
when it ends the kernel kills all other processes inside, and waits for them. One that is stuck in the kernel would keep
the router from ending. So the child reports its status before it ends, and is waited for only a second longer.
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
from fastpty.log import logger
from fastpty.system import child, linux
from fastpty.system.signals import SI_KERNEL, ReceivedSignal, SignalQueue, Stopped

# All signals that can be caught, except those of job control and of faults.
_PASSED_ON = signal.valid_signals() - {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS),
}
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

_GONE_MS = 1000

Work = Callable[[], int]

# In the process inside: the pidfd of the process that waits outside.
_outside: int | None = None


def in_child(work: Work) -> int:
    """Runs `work` in a child, forwards signals to it, and returns the exit status that `work` returned.

    If this process ends first, the child gets SIGTERM. Raises FastptyError if a signal kills the child.
    """
    parent = os.pidfd_open(os.getpid())
    # The parent may have left it ignored. Then the kernel would reap the child, and its status would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_PASSED_ON, signal.SIGCHLD])
    reader, writer = os.pipe2(os.O_CLOEXEC)
    inner = child.fork("router", partial(_be_child, work, parent, before, writer))
    os.close(parent)
    os.close(writer)
    status = _wait_for(inner, reader)
    os.close(reader)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if status < 0:
        raise FastptyError(f"the process in the pid namespace was killed by signal {-status}")
    return status


def is_inner() -> bool:
    """Returns True if this is the process inside, for which another one waits outside."""
    return _outside is not None


def stay_with_parent() -> None:
    """In the process inside: gets SIGTERM when the process outside ends.

    Call it again after a change of user, which resets the signal (prctl(2), PR_SET_PDEATHSIG).
    """
    if _outside is None:
        return
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
    if select.select([_outside], [], [], 0)[0]:  # it ended before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(inner: int, reader: int) -> int:
    """Forwards signals and reaps all children until `inner` ends. Returns its exit status, negative for a signal.

    reader: `inner` writes its exit status there. It counts as ended when nothing has happened for a second afterwards.
    """
    queue = SignalQueue([*_PASSED_ON, signal.SIGCHLD])
    poll = select.poll()
    poll.register(queue, select.POLLIN)
    poll.register(reader, select.POLLIN)
    status = None
    while (ready := poll.poll(None if status is None else _GONE_MS)) or status is None:
        for received in queue:
            if received.number != signal.SIGCHLD:
                _forward(received, inner)
            elif (ended := _reap(inner)) is not None:
                queue.close()
                return ended
        if any(descriptor == reader for descriptor, _ in ready):
            report = os.read(reader, 1)
            status = report[0] if report else -signal.SIGKILL
            poll.unregister(reader)
    queue.close()
    logger.error("a killed process in the pid namespace does not end: not waiting for it any longer")
    return status


def _forward(received: ReceivedSignal, inner: int) -> None:
    """Forwards a signal. SIGHUP from the kernel, when the terminal closes, becomes SIGTERM: SIGHUP means a reload."""
    closed = received.number == signal.SIGHUP and received.code == SI_KERNEL
    os.kill(inner, signal.SIGTERM if closed else received.number)


def _reap(inner: int) -> int | None:
    """Reaps all children that have ended. Returns the exit status of `inner`, or None if it was not among them."""
    while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
        pid, status = found
        if pid == inner:
            return os.waitstatus_to_exitcode(status)
    return None


def _be_child(work: Work, parent: int, mask: set[int | signal.Signals], writer: int) -> int:
    status = _run(work, parent, mask)
    os.write(writer, bytes([status & 0xFF]))
    return status


def _run(work: Work, parent: int, mask: set[int | signal.Signals]) -> int:
    global _outside
    try:
        # Otherwise ^C would arrive twice: from the terminal, and forwarded by the parent.
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
    """Does what the default action of a signal would do. The kernel does not apply default actions to process 1."""
    os._exit(128 + number)
