"""A cgroup for each session (cgroups(7)), so that all its processes can be killed, daemons included."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from fastpty.configuration.config import Config
from fastpty.errors import FastptyError
from fastpty.jail import pid_namespace, subordinate
from fastpty.log import logger
from fastpty.sessions import cgroup_base
from fastpty.system.detached_mount import open_detached

OWN = "own"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GONE_SECONDS = 1.0  # how long a router or worker that ends waits for killed processes
_GONE_POLL_SECONDS = 0.01


class SessionCgroups:
    """The cgroups of one router's sessions: DIRECTORY/fastpty-PID/WORKER-SESSION.

    Create this object before the jail, in which DIRECTORY may be hidden, and before the workers are forked; call
    `inside` in the jail and `close` at the end. Raises FastptyError if cgroups cannot be created: that needs cgroup v2,
    Linux 5.14 (for cgroup.kill), and write permission (cgroup-v2.rst, "Delegation").
    """

    def __init__(self, config: Config) -> None:
        self._left: set[str] = set()  # killed, but not yet empty
        self._above = self._killer = self._way_back = -1
        self._is_hidden = config.hides_files
        wanted = config.session_cgroup
        try:
            above = _own_cgroup() if wanted == OWN else Path(os.path.abspath(wanted or ""))
            self._above = os.open(above, _DIRECTORY)
            os.stat("cgroup.procs", dir_fd=self._above)
            cgroup_base.sweep(above)
            self._name, self._killer = cgroup_base.make(self._above)
            self._path = above / self._name
            self._base = self._open_base(above)
            own_ids = subordinate.wanted(config)
            owner = own_ids.uid if own_ids else config.uid
            if owner is not None and os.geteuid() == 0:
                self._give_to(owner)
        except FileNotFoundError as error:
            raise FastptyError(f"session-cgroup: {above} is not a version 2 cgroup with cgroup.kill") from error
        except OSError as error:
            raise FastptyError(f"session-cgroup: cannot make a cgroup in {above}: {error.strerror}") from error

    def _open_base(self, above: Path) -> int:
        if not self._is_hidden:
            return os.open(self._name, _DIRECTORY, dir_fd=self._above)
        try:
            return open_detached(self._path)
        except OSError as error:
            os.rmdir(self._name, dir_fd=self._above)
            raise FastptyError(
                f"session-cgroup: {above} would be a way out of the jail, and cannot be made a mount of its own: "
                f"{error.strerror}: remove session-cgroup"
            ) from error

    def _give_to(self, uid: int) -> None:
        """Gives the base to the user that the router becomes, and moves the router into it.

        Moving a process takes write permission on the common ancestor of its old and new cgroup. The file for the way
        back is opened now, as root: the kernel checks the rights of the process that opened it.
        """
        self._way_back = os.open(_own_cgroup() / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        os.mkdir("router", dir_fd=self._base)
        self._write("router/cgroup.procs", "0")
        os.chown(".", uid, -1, dir_fd=self._base)
        os.chown("cgroup.procs", uid, -1, dir_fd=self._base)

    def inside(self) -> None:
        """Call this in the jail: closes the descriptors that lead out of it.

        With a pid namespace, the process that waits outside calls close() instead of this one.
        """
        if pid_namespace.is_inner():
            self.leave_the_end()
        elif self._is_hidden:
            os.close(self._above)
            self._above = -1

    def leave_the_end(self) -> None:
        """If another process will call close(): closes the descriptors for it here, because root opened them."""
        for held in (self._above, self._killer, self._way_back):
            if held >= 0:
                os.close(held)
        self._above = self._killer = self._way_back = -1

    def begin(self, number: int) -> int:
        """Creates a cgroup for this worker's session; returns a descriptor of its directory, which the caller closes.

        Raises OSError with a text for the client.
        """
        self._tidy()
        name = f"{os.getpid()}-{number}"
        try:
            self._make(name)
            return os.open(name, _DIRECTORY, dir_fd=self._base)
        except OSError as error:
            self._left.add(name)
            raise OSError(error.errno, f"cannot make a cgroup for the session: {error.strerror}") from error

    def _make(self, name: str) -> None:
        try:
            os.mkdir(name, dir_fd=self._base)
        except FileNotFoundError:
            self._renew()
            os.mkdir(name, dir_fd=self._base)

    def _renew(self) -> None:
        """The base was removed while it was empty: creates it again, or opens it if another worker has done that."""
        if self._is_hidden:
            raise OSError(errno.ENOENT, "the router's cgroup was removed: restart the router")
        with contextlib.suppress(FileExistsError):
            self._path.mkdir()
        fresh = os.open(self._path, _DIRECTORY)
        os.close(self._base)
        self._base = fresh

    def _renew_killer(self) -> None:
        """In the supervisor: if a worker has created the base again, opens and locks its cgroup.kill."""
        try:
            os.stat("cgroup.kill", dir_fd=self._base)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                self._renew()
                killer = cgroup_base.lock(self._path)
                os.close(self._killer)
                self._killer = -1 if killer is None else killer

    def end(self, number: int) -> None:
        """Kills the processes left in the cgroup of this worker's session, if it has one."""
        self._kill(f"{os.getpid()}-{number}")
        self._tidy()

    def end_of_worker(self, pid: int) -> None:
        """Kills the processes left in all sessions of a worker that has ended."""
        self._renew_killer()
        for name in self._names():
            if name.startswith(f"{pid}-"):
                self._kill(name)
        self._tidy()

    def end_worker(self) -> None:
        """In a worker that ends: waits up to a second until the killed processes are gone."""
        _for_a_while(self._is_tidy)

    def close(self) -> None:
        """At the router's end: kills all processes that are left and removes the cgroups, if the router may do that.

        This includes processes that have moved from their session's cgroup to another one of the router's. With a pid
        namespace, the process outside calls this.
        """
        with contextlib.suppress(OSError):
            if self._way_back >= 0:
                os.write(self._way_back, b"0")
            self._renew_killer()
            os.write(self._killer, b"1")
            _for_a_while(self._is_empty)
        if self._above >= 0:
            with contextlib.suppress(OSError):  # without root's rights: the next router removes it
                os.rmdir(self._name, dir_fd=self._above)

    def _is_empty(self) -> bool:
        self._left |= {*self._names()}
        return self._is_tidy()

    def _is_tidy(self) -> bool:
        self._tidy()
        return not self._left

    def _kill(self, name: str) -> None:
        try:
            self._write(f"{name}/cgroup.kill", "1")
            self._left.add(name)
        except FileNotFoundError:
            return
        except OSError as error:
            logger.error("cgroup of session %s: cannot kill what is left: %s", name, error.strerror)

    def _tidy(self) -> None:
        for name in [*self._left]:
            try:
                os.rmdir(name, dir_fd=self._base)
            except FileNotFoundError:
                pass
            except OSError:  # EBUSY: killed processes have not ended yet
                continue
            self._left.discard(name)

    def _names(self) -> list[str]:
        return [entry.name for entry in os.scandir(self._base) if entry.is_dir()]

    def _write(self, name: str, text: str) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._base)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _for_a_while(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while not is_done() and time.monotonic() < deadline:
        time.sleep(_GONE_POLL_SECONDS)


def _own_cgroup() -> Path:
    """The directory of this process's cgroup; raises FastptyError without cgroup v2."""
    try:
        mountinfo, cgroup = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    except OSError as error:
        raise FastptyError(f"session-cgroup=own: {error.filename}: {error.strerror}: mount /proc") from error
    mounts = re.findall(r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 ", mountinfo, re.M)
    own = re.findall(r"^0::(.*)$", cgroup, re.M)
    if not mounts or not own:
        raise FastptyError("session-cgroup: no version 2 cgroup is mounted here")
    root, where = mounts[0]
    found = Path(where, os.path.relpath(own[0], root))
    if not (found / "cgroup.procs").exists():
        raise FastptyError("session-cgroup: the router's own cgroup cannot be seen here")
    return found
