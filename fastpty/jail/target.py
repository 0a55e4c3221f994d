"""Reads a container's process through /proc: its namespaces, credentials and environment.

The process may be hostile. A pidfd shows whether it is alive, so that another process that reuses its pid is not
mistaken for it. Reading the environment may depend on the process itself, so a child with a deadline does that.
"""

from __future__ import annotations

import os
import re
from functools import partial
from types import TracebackType

from fastpty.configuration.entered import Capabilities, Credentials
from fastpty.errors import FastptyError
from fastpty.system import child
from fastpty.system.readable import readable

# As /proc/PID/ns has them.
NAMESPACES = ("user", "mnt", "cgroup", "ipc", "uts", "net", "pid", "time")

_KERNEL_THREAD = 0x0020_0000  # PF_KTHREAD of linux/sched.h
_STATUS_BYTES_MOST = 1 << 20
_ENVIRONMENT_BYTES_MOST = 4 << 20  # more than execve(2) takes by default
_ENVIRONMENT_SECONDS = 5.0
_NAME = re.compile(r"[^\x00-\x20=\x7f]+")


class Target:
    """A living process. Close it, or use it as a context manager.

    Raises FastptyError if the process has ended or is a kernel thread, ProcessLookupError if the pid is unused.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        try:
            self._directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            os.close(self._pidfd)
            raise
        try:
            self._check_kind()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptors of the process."""
        os.close(self._directory)
        os.close(self._pidfd)

    def check_alive(self) -> None:
        """Raises FastptyError if the process has ended: later reads may be about another process."""
        if readable(self._pidfd, seconds=0):
            raise FastptyError(f"process {self.pid} has ended")

    def open(self, name: str, flags: int) -> int:
        """Opens a file below /proc/PID. Raises OSError."""
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._directory)

    def read(self, name: str, limit: int = _STATUS_BYTES_MOST) -> str:
        """Reads a file below /proc/PID that the kernel answers without the process. Raises OSError."""
        with open(self.open(name, os.O_RDONLY), "rb") as file:
            return os.fsdecode(file.read(limit))

    def foreign_namespaces(self) -> dict[str, int]:
        """Opens the namespaces that this process is not in, by name. The caller closes the descriptors."""
        found: dict[str, int] = {}
        for name in NAMESPACES:
            try:
                fd = self.open(f"ns/{name}", os.O_RDONLY)
            except FileNotFoundError:  # a kernel without this kind
                continue
            if os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{name}")):
                os.close(fd)
            else:
                found[name] = fd
        return found

    def credentials(self) -> Credentials:
        """The process's credentials. Raises FastptyError if its user namespace does not map its ids."""
        status = dict(line.partition(":")[::2] for line in self.read("status").splitlines())
        masks = [int(status[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Bnd", "Amb")]
        return Credentials(
            self._inside("uid", int(status["Uid"].split()[1])),
            self._inside("gid", int(status["Gid"].split()[1])),
            tuple(int(word) for word in status["Groups"].split()),
            Capabilities(*masks),
            status.get("NoNewPrivs", "0").strip() == "1",
            status.get("Seccomp", "0").strip() != "0",
        )

    def environment(self) -> dict[str, str]:
        """The process's environment without malformed entries. Raises FastptyError if it cannot be read in time.

        The process can place it in memory of a FUSE file of its own, for which old kernels wait.
        """
        what = f"the environment of process {self.pid}"
        fd = self.open("environ", os.O_RDONLY)
        try:
            read = partial(_read_at_most, fd, _ENVIRONMENT_BYTES_MOST + 1)
            data, _ = child.ask("reading an environment", read, _ENVIRONMENT_SECONDS, keep=[fd])
        except TimeoutError:
            raise FastptyError(f"{what} cannot be read within {_ENVIRONMENT_SECONDS:g} s: set clear-env") from None
        except OSError:
            raise FastptyError(f"{what} cannot be read: set clear-env") from None
        finally:
            os.close(fd)
        if len(data) > _ENVIRONMENT_BYTES_MOST:
            raise FastptyError(f"{what} is larger than a program can get: set clear-env")
        return variables(data)

    def _check_kind(self) -> None:
        state, *fields = self.read("stat").rpartition(")")[2].split()
        if int(fields[5]) & _KERNEL_THREAD:
            raise FastptyError(f"process {self.pid} is a thread of the kernel, not a process of a container")
        if state in "ZX":
            raise FastptyError(f"process {self.pid} has ended")

    def _inside(self, kind: str, number: int) -> int:
        """Converts an id of this user namespace into the process's user namespace."""
        if os.path.samestat(self._stat("ns/user"), os.stat("/proc/self/ns/user")):
            return number
        for line in self.read(f"{kind}_map").splitlines():
            inside, outside, count = map(int, line.split())
            if outside <= number < outside + count:
                return inside + number - outside
        raise FastptyError(f"process {self.pid} has a {kind} that its user namespace does not map")

    def _stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._directory)


def variables(data: bytes) -> dict[str, str]:
    """Parses an environment as execve(2) gets it. The first entry of a name counts, as with getenv(3)."""
    found: dict[str, str] = {}
    for entry in data.split(b"\0"):
        name, equals, value = os.fsdecode(entry).partition("=")
        if equals and _NAME.fullmatch(name):
            found.setdefault(name, value)
    return found


def _read_at_most(fd: int, limit: int) -> child.Answer:
    parts: list[bytes] = []
    while limit > 0 and (data := os.read(fd, min(limit, 65536))):
        limit -= len(data)
        parts.append(data)
    return b"".join(parts), ()
