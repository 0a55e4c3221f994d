"""What the router found in the container or namespaces that it joined. Known only inside the jail."""

from __future__ import annotations

from collections.abc import Mapping

from fastpty.system.records import dataclass


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
    """The rights of a process. uid and gid are numbers of its user namespace, groups are numbers of ours."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: Capabilities
    no_new_privs: bool
    has_filter: bool


@dataclass(frozen=True)
class Entered:
    """What the router found in the namespaces that it joined.

    credentials: of the process that it joined; None if it joined namespaces only.
    environment: what programs get as their environment; None if they get the router's.
    cgroups: descriptors open for writing; a session writes 0 to each to enter the process's control groups.
    notes: what could not be taken over, for the log.
    relabels: programs get a security label that this process does not have.
    """

    has_pid_namespace: bool
    credentials: Credentials | None = None
    environment: Mapping[str, str] | None = None
    cgroups: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    relabels: bool = False
