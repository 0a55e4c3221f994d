"""What tests need from the machine. If it is missing, the test skips and says what is missing and how to get it.

With FASTPTY_REQUIRE_PEERS=1 in the environment the test fails instead.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests import ROOT

# Debian's packages of tools whose package has another name.
_PACKAGES = {
    "cc": "gcc libc6-dev",
    "git-shell": "git",
    "ip": "iproute2",
    "agetty": "util-linux",
    "newuidmap": "uidmap",
    "prlimit": "util-linux",
    "ps": "procps",
    "script": "bsdutils",
    "setpriv": "util-linux",
    "su": "util-linux",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "useradd": "passwd",
    "uwsgi": "uwsgi-core",
    "vi": "vim-tiny",
}


def need(tool: str) -> str:
    """The path of a tool; skips the test if it is not installed."""
    path = shutil.which(tool)
    if path is None:
        _missing(f"needs {tool}: apt-get install {_PACKAGES.get(tool, tool)}")
    return path


def preload(directory: Path, source: str, *defines: str) -> dict[str, str]:
    """Compiles C source into `directory`; returns the environment that preloads it before the C library."""
    (directory / "shim.c").write_text(source)
    command = [need("cc"), "-shared", "-fPIC", *(f"-D{define}" for define in defines), "-o", "shim.so", "shim.c"]
    subprocess.run(command, cwd=directory, check=True)
    return {"LD_PRELOAD": f"{directory}/shim.so"}


_CHANGED_SYSCALL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
long syscall(long number, ...) {
    static long (*real)(long, ...);
    long a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    CHANGE
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"""


def changed_syscall(change: str) -> str:
    """C source, for preload(), of a syscall(2) that first runs the C statement `change` on `number` and `a`."""
    return _CHANGED_SYSCALL.replace("CHANGE", change)


def need_root() -> None:
    """Skips the test without root. For tests that change users or namespaces."""
    if os.geteuid() != 0:
        _missing("needs root: run the tests as root")


def need_control_group(controller: str) -> Path:
    """A directory in which control groups with this controller can be created, of version 2 or 1."""
    need_root()
    found = []
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup") / controller):
        version_2 = root / "cgroup.subtree_control"
        is_there = controller in version_2.read_text().split() if version_2.exists() else (root / "tasks").exists()
        if is_there and os.access(root, os.W_OK):
            found.append(root)
    if not found:
        _missing(f"needs control groups with {controller} that can be made: mount them at /sys/fs/cgroup")
    return found[0]


def need_unified_control_groups() -> Path:
    """The directory where control groups of version 2 are mounted."""
    need_root()
    found = re.findall(r"^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 ", Path("/proc/self/mountinfo").read_text(), re.M)
    if not found or not os.access(found[0], os.W_OK):
        _missing("needs control groups of version 2: mount -t cgroup2 none /sys/fs/cgroup")
    return Path(found[0])


def need_tcp_option(number: int, since: str) -> None:
    """Skips the test if the kernel lacks this TCP option, which `since` introduced."""
    with socket.socket() as sock:
        try:
            sock.getsockopt(socket.IPPROTO_TCP, number)
        except OSError:
            _missing(f"needs {since} or newer: boot one")


def need_vsock() -> socket.socket:
    """A bound socket of another family than local and TCP."""
    try:
        sock = socket.socket(socket.AF_VSOCK)
        sock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    except OSError:
        _missing("needs a kernel with AF_VSOCK (CONFIG_VSOCKETS)")
    return sock


def need_kernel_thread() -> int:
    """The pid of a kernel thread. Only the initial pid namespace has them, as children of process 2."""
    ours = Path("/proc/2/task/2/children")
    if not ours.exists() or Path("/proc/2/comm").read_text() != "kthreadd\n":
        _missing("needs a thread of the kernel: run the tests outside containers")
    return int(ours.read_text().split()[0])


def _missing(reason: str) -> NoReturn:
    if os.environ.get("FASTPTY_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def need_seed(marker: str) -> str:
    """The text of the user's document that contains `marker`. These documents lie beside the checkout."""
    seeds = ROOT.parent / "shared" / "seeds"
    for file in sorted(seeds.glob("*.txt")):
        text = file.read_text()
        if marker in text:
            return text
    _missing("needs the user's own documents: put them into shared/seeds beside the checkout")
