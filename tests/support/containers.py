"""Containers for tests: a process in namespaces of its own, confined as a container runtime does it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastpty.system.names import CAPABILITIES, NAMESPACE_FLAGS

MAPPED = 200_000  # where the ids of a container with a user namespace begin
NOBODY = 65534

# Reads what to do from argv[1], and prints the pid, as seen outside, of the process that is the container.
_MAKER = """
import ctypes, json, os, sys
from fastpty.system import linux
from fastpty.jail.namespaces import unshare
want = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def write_maps(pid):
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(want["map"])

def confine():
    if want["seccomp"]:   # a filter that allows all: BPF_RET | BPF_K, SECCOMP_RET_ALLOW
        code = ctypes.create_string_buffer(b"\\x06\\0\\0\\0" + (0x7fff0000).to_bytes(4, "little"))
        class Program(ctypes.Structure):
            _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
        check(libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.addressof(code)))))
    bounding = want["bounding"]
    if bounding is not None:
        for number in range(41):
            if not bounding >> number & 1:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
    os.setgroups(want["groups"])
    os.setresgid(*[want["gid"]] * 3)
    os.setresuid(*[want["uid"]] * 3)
    if bounding is not None:
        _, permitted, _ = linux.capget()
        linux.capset(bounding & permitted, bounding & permitted, 0)
    if want["no_new_privs"]:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)

for directory in want["cgroups"]:
    with open(directory + "/cgroup.procs", "w") as file:
        file.write("0")
go, done = os.pipe(), os.pipe()
outer = os.fork()
if outer == 0:
    check(libc.unshare(want["flags"]))
    os.write(done[1], b"!")
    os.read(go[0], 1)
    ends = os.pipe()
    inner = os.fork()
    if inner == 0:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        if want["flags"] & linux.CLONE_NEWNS:
            linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        for command in want["commands"]:
            if os.system(command):
                os._exit(1)
        if want["root"]:
            os.chroot(want["root"])
            os.chdir("/")
        os.chdir(want["directory"])
        confine()
        os.write(ends[1], b"!")
        os.execve(want["argv"][0], want["argv"], want["environment"])
    os.close(ends[1])
    if not os.read(ends[0], 1):
        os._exit(1)
    os.write(done[1], b"!")
    os.waitpid(inner, 0)
    os._exit(0)
os.close(done[1])
os.read(done[0], 1)
if want["map"]:
    write_maps(outer)
os.write(go[1], b"!")
assert os.read(done[0], 1), "the container could not be made"
with open(f"/proc/{outer}/task/{outer}/children") as file:
    print(file.read().split()[-1], flush=True)
sys.stdin.read()
os.kill(outer, 9)
"""


def mask(*names: str) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


@dataclass
class Container:
    """A process in new namespaces (keys of NAMESPACE_FLAGS) that runs `argv`, confined as the fields say.

    As a context manager it gives the pid of the process, as seen here. mapped: its user namespace has ids that begin at
    MAPPED outside. bounding: the mask of its capabilities, None for all. commands: shell commands that its root runs
    before it is confined.
    """

    namespaces: Sequence[str]
    mapped: bool = False
    uid: int = 0
    gid: int = 0
    groups: Sequence[int] = ()
    bounding: int | None = None
    no_new_privs: bool = False
    seccomp: bool = False
    cgroups: Sequence[Path] = ()
    commands: Sequence[str] = ()
    root: Path | None = None
    directory: str = "/"
    argv: Sequence[str] = ("/bin/sleep", "1000")
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"]})

    def __enter__(self) -> int:
        self._maker = subprocess.Popen(
            [sys.executable, "-c", _MAKER, json.dumps(self._wanted(), default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._maker.stdout is not None
        self._pid = int(self._maker.stdout.readline() or 0)
        if not self._pid:
            self.__exit__()
            raise AssertionError("the container could not be made")
        return self._pid

    def __exit__(self, *_: object) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, 9)
        self._maker.communicate()

    def _wanted(self) -> dict[str, object]:
        flags = 0
        for name in (*self.namespaces, *(["user"] if self.mapped else [])):
            flags |= NAMESPACE_FLAGS[name]
        return {**vars(self), "flags": flags, "map": f"0 {MAPPED} 65536" if self.mapped else ""}


def container(*namespaces: str, **confinement: Any) -> Container:
    """A Container in these namespaces; `confinement` are the other fields."""
    return Container(namespaces, **confinement)
