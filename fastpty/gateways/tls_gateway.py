"""The TLS proxy: a process that terminates TLS and forwards plain bytes to the relay over a private Unix socket.

So the relay still moves plain bytes with splice(2), and OpenSSL, which strangers talk to first, runs in a process that
has no pty and starts no program. Kernel TLS would need no proxy, but Python's ssl module does not support it, and few
containers have the kernel module.
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
_FLUSH_SECONDS = 5.0  # for connections whose session has ended to send the rest to their clients
_END_SECONDS = _FLUSH_SECONDS + 2.0

# For the change of user. CAP_KILL: the supervisor must be able to signal a process of another user.
_NEEDED_TO_CHANGE = [CAPABILITIES[name] for name in ("setuid", "setgid", "kill")]


class Proxy:
    """The TLS proxy for the TCP listeners, which it replaces in `listeners` by its private sockets.

    Made before privileges are dropped, since only root may be able to read the key. Raises UsageError for unusable
    files and FastptyError if a private socket cannot be made.
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
            raise UsageError("tls-cert: there is no TCP address to serve TLS on: add one, or remove tls-cert")
        if os.geteuid() == 0 and not wanted.uid:
            self._id = unused_id()

    @property
    def gateways(self) -> Sequence[Gateway]:
        """The process for the supervisor to run; empty without TLS."""
        if self._serve is None:
            return ()
        work = partial(self._run_proxy, self._serve)
        return [Gateway(_NAME, work, end_seconds=_END_SECONDS, close=self._close_in_worker)]

    def _close_in_worker(self) -> None:
        for front in self._fronts:
            front.close_copies()

    def _run_proxy(self, serve: Callable[[Sequence[Front]], None]) -> None:
        parent = os.getppid()
        _keep_descriptors(self._fronts)
        _give_up_rights(self._id)
        # The change of user has cleared the death signal.
        if child.end_with_parent(parent, signal.SIGTERM):
            serve(self._fronts)


def _server(wanted: Config) -> Callable[[Sequence[Front]], None] | None:
    """Reads the certificate and key, and returns what the child does; None without TLS."""
    identity = wanted.tls_identity
    if identity is None:
        return None
    from fastpty.gateways.tls_connections import Connections
    from fastpty.net.tls import context_of

    context = context_of(identity, server=True)
    allowed, users = frozenset(wanted.allow_tls_names), dict(wanted.tls_users)

    def serve(fronts: Sequence[Front]) -> None:
        connections = Connections(fronts, context, allowed, users, wanted.max_startups, wanted.buffer_bytes)
        connections.serve(_FLUSH_SECONDS)

    return serve


def _keep_descriptors(fronts: Sequence[Front]) -> None:
    """Closes all descriptors but those of the fronts and of the log, since strangers talk to this process first."""
    nothing = os.memfd_create("nothing")  # in another root, /dev/null could be any file
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    own = [fd for front in fronts for fd in front.descriptors]
    child.keep_only([0, 1, 2, *log.descriptors(), *own])


def _give_up_rights(number: int | None) -> None:
    """Drops all capabilities and, if possible, becomes user and group `number`, which no other process has.

    Raises FastptyError if the change of user fails halfway.
    """
    if os.geteuid() == 0:
        if number is not None and _can_become(number):
            privileges.drop(number, number, [])
        else:
            logger.warning("%s runs as root: there is no unused user id that it could run as", _NAME)
    linux.capset(0, 0, 0)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # no process of the same user can read its key


def _can_become(number: int) -> bool:
    """True if this process may become that user, and the id is mapped in its user namespace."""
    effective, _, _ = linux.capget()
    if not all(effective >> needed & 1 for needed in _NEEDED_TO_CHANGE):
        return False
    try:
        os.setresgid(-1, -1, number)
        os.setresuid(-1, -1, number)
    except OSError:  # EINVAL: the id is not mapped
        return False
    return True
