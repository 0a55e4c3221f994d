"""The control groups of another process, so that sessions can get into them (cgroups(7), version 1 and 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fastpty.errors import FastptyError
from fastpty.jail.target import Target

# ID:CONTROLLERS:PATH; a mount's root, its place and, behind the dash, its kind and options.
_LINE = re.compile(r"^\d+:(?P<controllers>[^:]*):(?P<path>.*)$", re.M)
_MOUNT = re.compile(r"^\S+ \S+ \S+ (?P<root>\S+) (?P<place>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$", re.M)


def opened(target: Target, *, also_version_2: bool) -> tuple[int, ...]:
    """Descriptors of the `cgroup.procs` of each control group that the target is in and this process is not.

    Of version 2 only if asked for: a process is in one group of that, and sessions may have their own.

    Who writes 0 there moves. They are opened with the rights of now, and these count when they are written to. Raises
    FastptyError where one cannot be had: sessions would escape the container's limits.
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
    """Where a control group is seen here; raises FastptyError where it is not."""
    for mount in _MOUNT.finditer(Path("/proc/self/mountinfo").read_text()):
        wanted = set(controllers.split(",")) if controllers else set()
        is_its = wanted <= set(mount["options"].split(",")) if wanted else mount["kind"] == "cgroup2"
        below = os.path.relpath(path, mount["root"])
        if is_its and not below.startswith(".."):
            return Path(mount["place"], below)
    raise FastptyError(f"its control group {path} ({controllers or 'version 2'}) cannot be seen here")
