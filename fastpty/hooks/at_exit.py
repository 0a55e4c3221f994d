"""The hooks for the router's end. They run in a child: one that never returns must not keep the router from ending."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from fastpty import log
from fastpty.errors import FastptyError
from fastpty.system import child, signals
from fastpty.system.readable import readable
from fastpty.system.standard_descriptors import ERROR, write_error

SECONDS = 45.0  # for all hooks: systemd kills a service 90 s after its stop (TimeoutStopSec)
_INTERRUPTED_SECONDS = 5.0  # more than an interrupted command gets to clean up
_KILLED_SECONDS = 1.0


def run(hooks: Sequence[Callable[[], object]]) -> int:
    """Runs the hooks one after another. Returns the exit status that an `exit` action sets, otherwise 0.

    A hook that fails is reported, and the others run. What has not ended after SECONDS, or at another stop signal, is
    killed. If a file system that never answers keeps even that from ending it, it is left behind.
    """
    if not hooks:
        return 0
    try:
        pid = child.fork("hooks for the end", partial(_run, hooks, os.getpid()))
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        _say(f"the hooks of as-user-atexit do not run: {error.strerror}")
        return 0
    try:
        ended = _wait(pidfd)
    finally:
        os.close(pidfd)
    if not ended:
        return 0
    try:
        return max(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except ChildProcessError:  # whoever started this process has left SIGCHLD ignored
        return 0


def _wait(pidfd: int) -> bool:
    """Waits for the child, and kills it if it takes too long. Returns False if even that does not end it."""
    queue = signals.SignalQueue(signals.stop_signals())
    try:
        for _ in queue:
            pass  # they belong to the stop that is under way
        ready = readable(pidfd, queue.fileno(), seconds=SECONDS)
    finally:
        queue.close()
    if pidfd in ready:
        return True
    why = "another stop signal came" if ready else f"they take more than {SECONDS:g} s"
    _say(f"the hooks of as-user-atexit are ended: {why}")
    for number, seconds in ((signal.SIGTERM, _INTERRUPTED_SECONDS), (signal.SIGKILL, _KILLED_SECONDS)):
        signal.pidfd_send_signal(pidfd, number)
        if readable(pidfd, seconds=seconds):
            return True
    _say("a hook of as-user-atexit was killed and does not end: no longer waited for")
    return False


def _run(hooks: Sequence[Callable[[], object]], parent: int) -> int:
    """In the child. It has no socket of the router, because it may be left behind."""
    if not child.end_with_parent(parent, signal.SIGTERM):
        return 0
    child.keep_only({0, 1, 2, *log.descriptors()})
    try:
        with signals.interruptible():
            for hook in hooks:
                try:
                    hook()
                except FastptyError as error:  # the router is ending anyway
                    _say(str(error))
    except signals.Stopped:
        pass
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return 0


def _say(text: str) -> None:
    write_error(f"fastpty-router: {text}", ERROR)
