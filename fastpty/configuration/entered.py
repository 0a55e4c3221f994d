"""What a router found where it entered somebody else's namespaces. It is known only when the jail has been entered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Capabilities:
    """The five sets of capabilities(7), as masks."""

    effective: int
    permitted: int
    inheritable: int
    bounding: int
    ambient: int


@dataclass(frozen=True)
class Credentials:
    """What a process may do. `uid` and `gid` are numbers of its own user namespace, `groups` those of ours."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: Capabilities
    no_new_privs: bool
    has_filter: bool


@dataclass(frozen=True)
class Entered:
    """What the router found where it entered somebody else's namespaces.

    credentials: of the process that it joined, None where it joined namespaces only. environment: what programs get
    instead of the router's own, None where they get that. cgroups: descriptors open for writing, in each of which a
    session writes 0 to get into the process's control groups. notes: what could not be taken over, for the log.
    """

    has_pid_namespace: bool
    credentials: Credentials | None = None
    environment: Mapping[str, str] | None = None
    cgroups: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
