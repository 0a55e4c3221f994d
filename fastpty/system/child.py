"""Forking: a child that does one piece of work and then exits, and never returns into the code of its parent."""

from __future__ import annotations

import _pickle  # `pickle` would take 0.3 MB more
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from fastpty.errors import FastptyError
from fastpty.logger import logger
from fastpty.system import linux
from fastpty.system.readable import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # A value that can be pickled, and the descriptors that a child gives to its parent.
    Answer = tuple[Any, Sequence[int]]

_READ_BYTES = 65536
_DESCRIPTORS_MOST = 8
_REAPED_MOST = 1000


def fork(name: str, work: Callable[[], int | None]) -> int:
    """Forks a child that runs `work`, and returns its pid. Raises OSError.

    The child exits with the status that `work` returns, 0 for None, or with 1 if `work` raises, which is logged under
    `name`. It runs none of the caller's clean-up.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = work() or 0
    except FastptyError as error:
        logger.error("%s failed: %s", name, error)
    except BaseException:
        logger.exception("%s failed", name)
    finally:
        os._exit(status)


def start(name: str, work: Callable[[], None], death_signal: int = signal.SIGTERM) -> int:
    """Forks a child, in a process group of its own, that ends when this process does. Returns its pid.

    The child gets `death_signal` when this process ends. The signal is blocked, so `work` must wait for it, unless it
    is SIGKILL. Raises OSError.
    """
    parent = os.getpid()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {death_signal})
        os.setpgid(0, 0)
        if end_with_parent(parent, death_signal):
            work()

    return fork(name, run)


def start_orphan(name: str, work: Callable[[], object]) -> None:
    """Starts a process that is not a child of this one, so this process never has to wait for it. Raises OSError."""

    def run() -> None:
        work()

    def between() -> int:
        try:
            fork(name, run)
        except OSError:
            return 1
        return 0

    child = fork(name, between)
    if os.waitpid(child, 0)[1] != 0:
        raise OSError(errno.EAGAIN, f"{name}: no process can be started")


def ask(name: str, work: Callable[[], Answer], seconds: float, keep: Iterable[int] = ()) -> Answer:
    """Runs `work` in a child and returns what it returns. The descriptors are the caller's to close.

    The child may get stuck. It has none of this process's descriptors but those in `keep`. Raises the OSError or
    FastptyError that `work` raised, or TimeoutError after `seconds`: then the child is killed, and is left behind if
    even that does not end it.
    """
    deadline = time.monotonic() + seconds
    ours, theirs = socket.socketpair()
    with ours:
        pid = start(name, partial(_answer, work, theirs, [*keep]), signal.SIGKILL)
        theirs.close()
        try:
            failure, answer = _received(ours, deadline)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            _reap(pid, os.WNOHANG)
            raise
    _reap(pid, 0)
    if failure is not None:
        raise failure
    return answer


def outsource(name: str, work: Callable[[], Any]) -> Any:
    """Runs `work` in a child and returns what it returns. The modules that it loads, and its memory, go with the child.

    The child keeps the descriptors and the process group of this process, and is killed if this process ends. What it
    returns is pickled. Raises the SystemExit or FastptyError that `work` raised, or FastptyError if the child has
    failed. If nobody reads the child's output, SIGPIPE ends this process as well.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork(name, partial(_answer_through, writer, os.getpid(), work))
    except OSError as error:
        os.close(reader)
        raise FastptyError(f"{name}: no process can be started: {error.strerror}") from error
    finally:
        os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    status = 0
    with contextlib.suppress(ChildProcessError):  # whoever started this process may have left SIGCHLD ignored
        status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPIPE:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
    if not said:
        raise FastptyError(f"{name}: the process for it has failed")
    failure, answer = _pickle.loads(said)
    if failure is not None:
        raise failure
    return answer


def _answer_through(writer: int, parent: int, work: Callable[[], Any]) -> None:
    """In the child of outsource()."""
    outcome: tuple[BaseException | None, Any] = None, None
    try:
        if end_with_parent(parent, signal.SIGKILL):
            outcome = None, work()
    except (SystemExit, FastptyError) as failure:
        outcome = failure, None
    with contextlib.suppress(BrokenPipeError), open(writer, "wb") as pipe:  # the parent has ended
        _pickle.dump(outcome, pipe)


def reap_unknown(known: Collection[int]) -> None:
    """Reaps children of this process that have ended and are not among the `known` ones.

    A program can turn its own children into children of this process (clone(2), CLONE_PARENT), and nobody else waits
    for them. One call reaps a limited number, because a program can make thousands.
    """
    with contextlib.suppress(ChildProcessError):  # there are no children
        for _ in range(_REAPED_MOST):
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in known:  # a known one hides the others until it is reaped
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def end_with_parent(parent: int, death_signal: int) -> bool:
    """Makes the kernel send `death_signal` to this process when its parent ends. Returns False if it has already.

    A change of user undoes it (prctl(2), PR_SET_PDEATHSIG).
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, death_signal)
    return os.getppid() == parent


def keep_only(descriptors: Iterable[int]) -> None:
    """Closes all other descriptors of this process."""
    first = 0
    for descriptor in (*sorted(set(descriptors)), 2**31 - 1):
        if first < descriptor:  # os.closerange(0, 0) closes every descriptor
            os.closerange(first, descriptor)
        first = descriptor + 1


def replace_standard_descriptors() -> None:
    """Replaces 0, 1 and 2. A reader of this output waits until every process has closed it, even a stuck one."""
    nothing = os.memfd_create("nothing")  # in a foreign root, /dev/null could be any file
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)


def isolate(keep: Iterable[int]) -> None:
    """Replaces 0, 1 and 2, and closes all other descriptors of this process but `keep`."""
    replace_standard_descriptors()
    keep_only([0, 1, 2, *keep])


def ignore_stop_signals() -> None:
    """For a process that must outlive its starter, though a service manager signals all processes of a unit."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _answer(work: Callable[[], Answer], channel: socket.socket, keep: Sequence[int]) -> None:
    """In the child of `ask`: the descriptors go with the first byte, then the pickled outcome."""
    isolate([channel.fileno(), *keep])
    failure: Exception | None = None
    value = None
    descriptors: Sequence[int] = ()
    try:
        value, descriptors = work()
    except (OSError, FastptyError) as error:
        failure = error
    except Exception as error:
        failure = OSError(errno.EIO, f"internal error: {error!r}")
    socket.send_fds(channel, [b"."], descriptors)
    channel.sendall(_pickle.dumps((failure, value)))


def _received(channel: socket.socket, deadline: float) -> tuple[Exception | None, Answer]:
    """The exception that `work` raised, or None, and its answer. Raises TimeoutError at the deadline."""
    channel.setblocking(False)
    descriptors: list[int] = []
    parts: list[bytes] = []
    try:
        while True:
            if not readable(channel, seconds=deadline - time.monotonic()):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            data, found, _, _ = socket.recv_fds(channel, _READ_BYTES, _DESCRIPTORS_MOST, socket.MSG_CMSG_CLOEXEC)
            descriptors += found
            parts.append(data)
            if not data:
                break
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise
    said = b"".join(parts)[1:]
    if not said:
        return OSError(errno.EIO, "the process that was to answer has ended"), (None, descriptors)
    failure, value = _pickle.loads(said)
    return failure, (value, descriptors)


def _reap(pid: int, flags: int) -> None:
    with contextlib.suppress(ChildProcessError):  # whoever started this process may have left SIGCHLD ignored
        os.waitpid(pid, flags)
