"""Opens the control groups of a container's process, so that sessions can join them (cgroups(7), versions 1 and 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fastpty.errors import FastptyError
from fastpty.jail.target import Target

# A line of /proc/PID/cgroup, and one of mountinfo: the mount's root, mount point, file system type and options.
_LINE = re.compile(r"^\d+:(?P<controllers>[^:]*):(?P<path>.*)$", re.M)
_MOUNT = re.compile(r"^\S+ \S+ \S+ (?P<root>\S+) (?P<place>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$", re.M)


def opened(target: Target, *, also_version_2: bool) -> tuple[int, ...]:
    """Returns a descriptor of `cgroup.procs` for each control group that contains the target but not this process.

    A process that writes 0 to such a descriptor joins the group. The kernel checks the rights of the process that
    opened it, so it works after the router has given up root. Version 2 is optional, because a process is in only one
    such group and sessions may have groups of their own.

    Raises FastptyError if a group cannot be opened: sessions would escape the container's limits.
    """
    own = dict(_groups(Path("/proc/self/cgroup").read_text()))
    fds: list[int] = []
    for controllers, path in _groups(target.read("cgroup")):
        if own.get(controllers) != path and (controllers or also_version_2):
            try:
                fds.append(os.open(_directory(controllers, path) / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for fd in fds:
                    os.close(fd)
                raise FastptyError(f"its control group {path} cannot be entered: {error.strerror}") from error
    return tuple(fds)


def _groups(text: str) -> Iterator[tuple[str, str]]:
    return ((match["controllers"], match["path"]) for match in _LINE.finditer(text))


def _directory(controllers: str, path: str) -> Path:
    """The directory of a control group. Raises FastptyError if no mount shows it."""
    for mount in _MOUNT.finditer(Path("/proc/self/mountinfo").read_text()):
        wanted = set(controllers.split(",")) if controllers else set()
        matches = wanted <= set(mount["options"].split(",")) if wanted else mount["kind"] == "cgroup2"
        below = os.path.relpath(path, mount["root"])
        if matches and not below.startswith(".."):
            return Path(mount["place"], below)
    raise FastptyError(f"its control group {path} ({controllers or 'version 2'}) cannot be seen here")
