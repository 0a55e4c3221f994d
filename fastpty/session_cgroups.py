"""A cgroup for each session, with which all its processes end, also those that have left it (cgroups(7))."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from fastpty.config import Config
from fastpty.errors import FastptyError
from fastpty.log import logger

OWN = "own"

_PREFIX = "fastpty-"
_GONE_SECONDS = 1.0  # for killed processes to be gone, at the router's end
_GONE_POLL_SECONDS = 0.01


class SessionCgroups:
    """The cgroups of one router's sessions, below one of its own: DIRECTORY/fastpty-PID/WORKER-SESSION.

    To be made before the jail, where DIRECTORY may not be seen any more, and before the workers are forked. Raises
    FastptyError where such cgroups cannot be made: they need cgroup v2, Linux 5.14 (for cgroup.kill), and the right to
    write there (cgroup-v2.rst, "Delegation").
    """

    def __init__(self, config: Config) -> None:
        self._left: set[str] = set()  # killed, but not yet empty
        wanted = config.session_cgroup
        try:
            above = _own_cgroup() if wanted == OWN else Path(wanted or "")
            self._above = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._name = f"{_PREFIX}{os.getpid()}"
            os.stat("cgroup.procs", dir_fd=self._above)
            _sweep(above)
            os.mkdir(self._name, dir_fd=self._above)
            self._base = os.open(self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._above)
            os.stat("cgroup.kill", dir_fd=self._base)
            if config.uid is not None and os.geteuid() == 0:
                self._give_to(config.uid)
        except FileNotFoundError as error:
            raise FastptyError(f"session-cgroup: {above} is no cgroup of version 2 with cgroup.kill") from error
        except OSError as error:
            raise FastptyError(f"session-cgroup: no cgroup can be made in {above}: {error.strerror}") from error

    def _give_to(self, uid: int) -> None:
        """Who moves a process needs rights on what its old and new cgroup have in common: so the router moves, too."""
        os.mkdir("router", dir_fd=self._base)
        self._write("router/cgroup.procs", "0")
        os.chown(".", uid, -1, dir_fd=self._base)
        os.chown("cgroup.procs", uid, -1, dir_fd=self._base)

    def begin(self, number: int) -> int:
        """A new cgroup for this worker's session; a descriptor of its directory, for its first process to begin in it.

        The descriptor is the caller's to close. Raises OSError with a text for the person at the other end.
        """
        self._tidy()
        name = f"{os.getpid()}-{number}"
        try:
            os.mkdir(name, dir_fd=self._base)
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._base)
        except OSError as error:
            self._left.add(name)
            raise OSError(error.errno, f"cannot make a cgroup for the session: {error.strerror}") from error

    def end(self, number: int) -> None:
        """Kills what is left of this worker's session, if it had begun."""
        self._kill(f"{os.getpid()}-{number}")
        self._tidy()

    def end_of_worker(self, pid: int) -> None:
        """Kills what is left of all sessions of a worker that has ended."""
        for name in self._names():
            if name.startswith(f"{pid}-"):
                self._kill(name)
        self._tidy()

    def close(self) -> None:
        """Removes what can be removed; what still has a session stays, for its worker to remove."""
        deadline = time.monotonic() + _GONE_SECONDS
        while self._left and time.monotonic() < deadline:
            self._tidy()
            time.sleep(_GONE_POLL_SECONDS)
        with contextlib.suppress(OSError):
            if "router" in self._names():
                with open(os.open("cgroup.procs", os.O_WRONLY, dir_fd=self._above), "w") as procs:
                    procs.write("0")
                os.rmdir("router", dir_fd=self._base)
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._above)

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
            except OSError:  # EBUSY: they are about to end
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


def _own_cgroup() -> Path:
    """Where this process is; raises FastptyError without cgroup v2."""
    mounts = re.findall(r"^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 ", Path("/proc/self/mountinfo").read_text(), re.M)
    own = re.findall(r"^0::(.*)$", Path("/proc/self/cgroup").read_text(), re.M)
    if not mounts or not own:
        raise FastptyError("session-cgroup: no cgroup of version 2 is mounted here")
    root, where = mounts[0]
    return Path(where, os.path.relpath(own[0], root))


def _sweep(above: Path) -> None:
    """Removes what routers have left that were killed, or could not go back when they had given up root."""
    for left in above.glob(f"{_PREFIX}*"):
        for directory in (*left.glob("*/"), left):
            with contextlib.suppress(OSError):  # EBUSY: somebody is there
                directory.rmdir()
