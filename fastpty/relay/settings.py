"""The settings of a relay. Times are in seconds; 0 means never, unless a comment says otherwise."""

from __future__ import annotations

from fastpty.system.records import NamedTuple


class Settings(NamedTuple):
    """The limits of a relay and of its sessions."""

    splice: bool = True
    """Use splice(2) for streams. Where the kernel refuses it, read(2) and write(2) are used."""
    idle_seconds: float = 0
    """End a private session after this time without a transfer."""
    grace_seconds: float = 10
    """The time between SIGHUP and SIGKILL; 0 kills at once."""
    lifetime_seconds: float = 0
    """End every private session after this time."""
    greeting_seconds: float = 0
    """End a session whose uwsgi client has sent no byte in this time."""
    busy_poll_seconds: float = 0
    """After a key, poll for this time without sleeping; during a stream, for half of it."""
    events: int = 64
    """The most epoll events that one turn takes, 1 to 1024."""
    buffer_bytes: int = 65536
    """The most bytes that each direction of a session holds, 4096 to 65536."""
