"""A child process that ends when the process that forked it does."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable

from fastpty.system import linux


def start(name: str, work: Callable[[], None], death_signal: int = signal.SIGTERM) -> int:
    """Forks a child that does `work` in a process group of its own and then ends; its pid. Raises OSError.

    `death_signal` comes when this process ends. It is blocked: `work` waits for it. The exit status is 0, or 1 where
    `work` raised, which is logged. What the caller would clean up is left to the parent alone.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {death_signal})
        os.setpgid(0, 0)
        if end_with(parent, death_signal):
            work()
            status = 0
    except BaseException:
        logging.getLogger("fastpty.router").exception("%s failed", name)
    finally:
        os._exit(status)


def end_with(parent: int, death_signal: int) -> bool:
    """Makes the kernel send `death_signal` when the parent ends; False where it has ended already.

    A change of user undoes it (prctl(2), PR_SET_PDEATHSIG).
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, death_signal)
    return os.getppid() == parent


def keep_only(descriptors: Iterable[int]) -> None:
    """Closes all other descriptors of this process."""
    first = 0
    for descriptor in (*sorted(set(descriptors)), 2**31 - 1):
        if first < descriptor:  # os.closerange(0, 0) closes all that there are
            os.closerange(first, descriptor)
        first = descriptor + 1
