"""All sockets that a router listens on, and how a reload changes them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fastpty.access.rules import Rules
from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.jail import subordinate
from fastpty.listening import bind, inherited
from fastpty.listening.removal import Remover
from fastpty.log import logger
from fastpty.net import address, socket_directory
from fastpty.system import signals
from fastpty.system.records import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

RAW, UWSGI, EXTENDED, STATS = "raw", "uwsgi", "fpty", "stats"
PTY, PTY_UWSGI, PTY_VIEWER = "pty", "pty-uwsgi", "pty-viewer"
_SHARED = frozenset({PTY, PTY_UWSGI, PTY_VIEWER})

# The workers of a killed router close its sockets within this time.
_PREDECESSOR_SECONDS = 2.0
_PREDECESSOR_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Place:
    """A listening socket and its protocol: RAW, UWSGI, EXTENDED or STATS, or one of those of the shared terminal.

    PTY: raw. PTY_UWSGI: uwsgi. PTY_VIEWER: output only. is_behind_tls: only the TLS process can connect to it.
    """

    listener: bind.Listener
    protocol: str
    is_behind_tls: bool = False

    @property
    def negotiates(self) -> Literal["never", "by name", "behind tls", "always"]:
        """Which of its clients speak the negotiated extension."""
        if self.protocol == EXTENDED:
            return "always"
        if self.is_shared:
            return "never"
        return "behind tls" if self.is_behind_tls else "by name"

    @property
    def is_shared(self) -> bool:
        """Whether its clients join the shared terminal."""
        return self.protocol in _SHARED

    @property
    def name(self) -> str:
        """Its address and protocol, for the log."""
        return f"{self.listener.address.text} ({self.protocol}{' over TLS' if self.is_behind_tls else ''})"


class Listeners:
    """The listening sockets that `config` asks for. Raises FastptyError for the first that cannot be made.

    A socket file belongs to the account that the router becomes. By default, only that account can connect.
    Sockets of `previous` with the same addresses are kept, unless their file is gone.
    """

    def __init__(self, config: Config, previous: Listeners | None = None) -> None:
        self._places: dict[address.Address, list[Place]] = {}
        self.rules = Rules(config)
        self._remover: Remover | None = previous._remover if previous else None
        wanted = [(where, RAW) for where in config.raw_addresses]
        wanted += [(where, UWSGI) for where in config.uwsgi_addresses]
        wanted += [(where, EXTENDED) for where in config.extended_addresses]
        wanted += [(where, PTY) for where in config.pty_addresses]
        wanted += [(where, PTY_UWSGI) for where in config.pty_uwsgi_addresses]
        wanted += [(where, PTY_VIEWER) for where in config.pty_viewer_addresses]
        wanted += [(where, STATS) for where in config.stats_addresses]
        try:
            for where, protocol in wanted:
                known = previous.usable(where) if previous else []
                may_be_tcp = isinstance(where, address.TcpAddress | address.FdAddress)
                if previous and not known and config.tls_identity and may_be_tcp:
                    raise FastptyError(f"{where.text}: an address for TLS can be added by a restart only")
                # A reload does not wait: the supervisor has other work.
                patience = 0.0 if previous else _PREDECESSOR_SECONDS
                found = known or [Place(listener, protocol) for listener in _listen(where, config, patience)]
                self._places[where] = [replace(place, protocol=protocol) for place in found]
                self._check_inherited(self._places[where], config)
            if previous is None and cannot_remove_files(config):
                files = [place.listener for place in self if place.listener.file]
                self._remover = Remover(files) if files else None
        except BaseException:
            self.close(keep=previous)
            raise

    @staticmethod
    def _check_inherited(places: list[Place], config: Config) -> None:
        for place in places:
            if isinstance(place.listener.address, address.FdAddress) and not place.is_behind_tls:
                for warning in inherited.check(place.listener, config, place.protocol != STATS):
                    logger.warning("%s", warning)

    def usable(self, where: address.Address) -> list[Place]:
        """The sockets for an address; an empty list if there are none or their file was removed or replaced."""
        found = self._places.get(where, [])
        return [] if any(place.listener.lost_file() for place in found) else found

    def put_behind_tls(self, outside: Place, inside: bind.Listener) -> None:
        """Replaces `outside`, which the TLS process takes over, by `inside`, which the TLS process connects to."""
        for group in self._places.values():
            if outside in group:
                group[group.index(outside)] = Place(inside, outside.protocol, is_behind_tls=True)

    def __iter__(self) -> Iterator[Place]:
        """All places, those for statistics last."""
        places = [place for group in self._places.values() for place in group]
        return iter(sorted(places, key=lambda place: place.protocol == STATS))

    @property
    def for_sessions(self) -> list[Place]:
        """The places for sessions."""
        return [place for place in self if place.protocol != STATS]

    @property
    def for_stats(self) -> list[Place]:
        """The places for statistics."""
        return [place for place in self if place.protocol == STATS]

    def close(self, keep: Listeners | None = None) -> None:
        """Closes the sockets and removes their files, except those that are also in `keep`."""
        kept = {place.listener for place in keep} if keep else set()
        for place in self:
            if place.listener in kept:
                continue
            remover = self._remover
            can_remove = remover is not None and remover.can_remove(place.listener)
            try:
                place.listener.close(remover.remove if remover and can_remove else None)
            except OSError as error:
                logger.warning("cannot remove %s: %s", place.listener.address.text, error.strerror or error)

    def become(self, other: Listeners) -> None:
        """Closes the sockets that `other` does not have, and takes over its sockets and rules."""
        self.close(keep=other)
        self._places, self.rules = other._places, other.rules

    def close_copies(self) -> None:
        """Closes this process's copies of the sockets; other processes go on listening."""
        for place in self:
            place.listener.close_copy()


def cannot_remove_files(config: Config) -> bool:
    """True if the router cannot remove its files at the end: it changes its user, its root or its mounts."""
    becomes_another = os.geteuid() == 0 and config.uid not in (None, 0)
    return config.hides_files or becomes_another or subordinate.wanted(config) is not None


def _listen(where: address.Address, config: Config, patience: float) -> list[bind.Listener]:
    owner = config.socket_owner
    if owner is None and (config.uid, config.gid) != (None, None) and os.geteuid() == 0:
        owner = (-1 if config.uid is None else config.uid, -1 if config.gid is None else config.gid)
    if isinstance(where, address.UnixAddress):
        trusted = {os.geteuid()} if owner is None else {os.geteuid(), owner[0]}
        for warning in socket_directory.warnings(where.path, trusted):
            logger.warning("%s", warning)
    deadline = time.monotonic() + patience
    while True:
        try:
            return bind.listen(
                where, mode=config.socket_mode, owner=owner, backlog=config.backlog, reuse_port=config.reuse_port
            )
        except bind.AddressInUseError:
            if time.monotonic() >= deadline:
                raise
        with signals.interruptible():
            time.sleep(_PREDECESSOR_POLL_SECONDS)
