"""The process that ends TLS for the router: the network on one side, the relay's own private socket on the other.

So the relay goes on moving plain bytes with splice, and OpenSSL, which strangers talk to first, has no pty and starts
no program. Kernel TLS would need no proxy, but Python's ssl offers no way to it before 3.12 and the kernel's module is
seldom there in a container.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NoReturn

from fastpty import linux, privileges
from fastpty.config import Config
from fastpty.errors import FastptyError, UsageError
from fastpty.listeners import Listeners
from fastpty.listening import Listener
from fastpty.log import logger
from fastpty.tls_identity import Front

# A proxy that ends sooner than this after its start would end again at once; its successor waits so long.
_HASTY_SECONDS = 1.0
_NOBODY = 65534  # Linux's overflow uid and gid


def front_for(outside: Listener, backlog: int) -> Front:
    """The relay's private socket for a TCP listener: its file is gone, so only who holds `entrance` gets there.

    Raises OSError.
    """
    directory = tempfile.mkdtemp(prefix="fastpty-tls-")
    try:
        path = f"{directory}/s"
        inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inside.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - nobody finds it, and it stays usable when the router gives up root
        inside.listen(backlog)
        entrance = os.open(path, os.O_PATH | os.O_CLOEXEC)
    finally:
        shutil.rmtree(directory)
    return Front(outside, Listener(inside, outside.address), entrance)


class Proxy:
    """What ends TLS for those of the listeners that are reached over TCP, and takes their place in `listeners`.

    Made as root, since the key may be root's alone to read: raises UsageError for files that are no use, FastptyError
    where the private sockets cannot be had.
    """

    def __init__(self, wanted: Config, listeners: Listeners) -> None:
        self._serve = _server(wanted)
        self._fronts: list[Front] = []
        self._listeners = listeners
        if self._serve is None:
            return
        for place in listeners.for_sessions:
            if place.listener.socket.family != socket.AF_UNIX:
                try:
                    self._fronts.append(front_for(place.listener, wanted.backlog))
                except OSError as error:
                    where = place.listener.address.text
                    raise FastptyError(f"{where}: TLS cannot be set up: {error.strerror}") from error
                listeners.put_behind_tls(place, self._fronts[-1].inside)
        if not self._fronts:
            raise UsageError("tls-cert: there is no TCP address to speak TLS on")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ends TLS in a child process, which is replaced when it dies, for as long as the context lasts."""
        if self._serve is None:
            yield
            return
        pid = self._start(partial(self._serve, self._fronts))
        for front in self._fronts:
            # The child's alone from here on: without it the port is closed, and not one where nobody answers.
            front.outside.socket.close()
            os.close(front.entrance)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _start(self, work: Callable[[], None]) -> int:
        router = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setpgid(0, 0)
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
            self._listeners.let_go()  # their end must be the relay's alone to make
            if os.getppid() == router:  # it may have ended before the lines above
                _keep_at(work)
                status = 0
        except BaseException:
            logger.exception("the TLS proxy failed")
        finally:
            os._exit(status)


def _keep_at(work: Callable[[], None]) -> None:
    """Does `work` in a child, and in another one whenever that ends, until SIGTERM comes."""
    signals = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _be_the_proxy(work)
        number = signal.sigwait(signals)
        if number == signal.SIGCHLD:
            _, status = os.waitpid(pid, 0)
            logger.error("the TLS proxy %d has ended (status %d); another one starts", pid, status)
            hasty = time.monotonic() - started < _HASTY_SECONDS
            if not hasty or signal.sigtimedwait({signal.SIGTERM}, _HASTY_SECONDS) is None:
                continue
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        return


def _be_the_proxy(work: Callable[[], None]) -> NoReturn:
    status = 1
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
        work()
        status = 0
    except BaseException:
        logger.exception("the TLS proxy failed")
    finally:
        os._exit(status)


def _server(wanted: Config) -> Callable[[Sequence[Front]], None] | None:
    """What the child does, with its certificate and key read already; None where no TLS is wanted."""
    identity = wanted.tls_identity
    if identity is None:
        return None
    from fastpty.tls import context_of
    from fastpty.tls_connections import Connections

    context = context_of(identity, server=True)
    allowed, users = frozenset(wanted.allow_tls_names), dict(wanted.tls_users)

    def serve(fronts: Sequence[Front]) -> None:
        if wanted.run_as == "peer":
            _become_nobody()
        Connections(fronts, context, allowed, users, wanted.max_startups, wanted.buffer_bytes).serve()

    return serve


def _become_nobody() -> None:
    """The router stays root to become its clients; who speaks with strangers has no need of that.

    Raises FastptyError where that cannot be.
    """
    privileges.drop(_NOBODY, _NOBODY, [])
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)  # a change of ids has undone it
