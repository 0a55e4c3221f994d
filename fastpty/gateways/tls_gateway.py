"""The process that ends TLS for the router: the network on one side, the relay's own private socket on the other.

So the relay goes on moving plain bytes with splice, and OpenSSL, which strangers talk to first, has no pty and starts
no program. Kernel TLS would need no proxy, but Python's ssl offers no way to it before 3.12 and the kernel's module is
seldom there in a container.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial

from fastpty import log
from fastpty.configuration.config import Config
from fastpty.errors import FastptyError, UsageError
from fastpty.gateways.gateway import Gateway
from fastpty.gateways.tls_front import Front, front_for
from fastpty.jail import privileges
from fastpty.listening.places import Listeners
from fastpty.log import logger
from fastpty.system import child, linux
from fastpty.system.names import CAPABILITIES
from fastpty.system.unused_id import unused_id

_NAME = "the TLS proxy"
_LAST_WORDS_SECONDS = 5.0  # for connections whose session has ended to give the rest to their clients
_END_SECONDS = _LAST_WORDS_SECONDS + 2.0

# To become another user, and so that the supervisor can signal what runs as that one.
_NEEDED_TO_CHANGE = [CAPABILITIES[name] for name in ("setuid", "setgid", "kill")]


class Proxy:
    """What ends TLS for those of the listeners that are reached over TCP, and takes their place in `listeners`.

    Made as root, since only root may be able to read the key. Raises UsageError for unusable files, FastptyError
    where the private sockets cannot be had.
    """

    def __init__(self, wanted: Config, listeners: Listeners) -> None:
        self._serve = _server(wanted)
        self._fronts: list[Front] = []
        self._id: int | None = None
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
        if os.geteuid() == 0 and not wanted.uid:
            self._id = unused_id()

    @property
    def gateways(self) -> Sequence[Gateway]:
        """The process, for the supervisor; none where no TLS is wanted."""
        if self._serve is None:
            return ()
        work = partial(self._be_the_proxy, self._serve)
        return [Gateway(_NAME, work, end_seconds=_END_SECONDS, let_go=self._let_go)]

    def _let_go(self) -> None:
        for front in self._fronts:
            front.let_go()

    def _be_the_proxy(self, serve: Callable[[Sequence[Front]], None]) -> None:
        parent = os.getppid()
        _keep_descriptors(self._fronts)
        _give_up_rights(self._id)
        # The change of user has undone the first one.
        if child.end_with(parent, signal.SIGTERM):
            serve(self._fronts)


def _server(wanted: Config) -> Callable[[Sequence[Front]], None] | None:
    """What the child does, with its certificate and key read already; None where no TLS is wanted."""
    identity = wanted.tls_identity
    if identity is None:
        return None
    from fastpty.gateways.tls_connections import Connections
    from fastpty.net.tls import context_of

    context = context_of(identity, server=True)
    allowed, users = frozenset(wanted.allow_tls_names), dict(wanted.tls_users)

    def serve(fronts: Sequence[Front]) -> None:
        connections = Connections(fronts, context, allowed, users, wanted.max_startups, wanted.buffer_bytes)
        connections.serve(_LAST_WORDS_SECONDS)

    return serve


def _keep_descriptors(fronts: Sequence[Front]) -> None:
    """Closes all but those of the fronts and of the log: strangers talk to this process first."""
    nothing = os.memfd_create("nothing")  # /dev/null could be anything in a root of somebody else's
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    own = [fd for front in fronts for fd in front.descriptors]
    child.keep_only([0, 1, 2, *log.descriptors(), *own])


def _give_up_rights(number: int | None) -> None:
    """Leaves no capabilities, and where that can be `number` as user and group, which no other process has.

    Raises FastptyError where the change of user fails halfway.
    """
    if os.geteuid() == 0:
        if number is not None and _can_become(number):
            privileges.drop(number, number, [])
        else:
            logger.warning("%s runs as root: no user id that nobody else has can be had here", _NAME)
    linux.capset(0, 0, 0)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # nothing reads its key, also where others run as the same user


def _can_become(number: int) -> bool:
    """Whether this process has the rights for it, and the id means anything in its user namespace."""
    effective, _, _ = linux.capget()
    if not all(effective >> needed & 1 for needed in _NEEDED_TO_CHANGE):
        return False
    try:
        os.setresgid(-1, -1, number)
        os.setresuid(-1, -1, number)
    except OSError:  # EINVAL: it is not mapped
        return False
    return True
