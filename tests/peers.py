"""What a test needs from the machine: it skips with a reason where that is not there.

With FASTPTY_REQUIRE_PEERS=1 in the environment it fails instead, so that nothing is left out unseen.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def need(tool: str) -> str:
    """The path of a program that the test runs."""
    path = shutil.which(tool)
    if path is None:
        _missing(f"{tool} is not installed")
    return path


def preload(directory: Path, source: str, *defines: str) -> dict[str, str]:
    """The environment for a program some of whose libc is replaced by this C source, compiled into `directory`."""
    (directory / "shim.c").write_text(source)
    command = [need("cc"), "-shared", "-fPIC", *(f"-D{define}" for define in defines), "-o", "shim.so", "shim.c"]
    subprocess.run(command, cwd=directory, check=True)
    return {"LD_PRELOAD": f"{directory}/shim.so"}


def need_root() -> None:
    """For a test that changes users or namespaces."""
    if os.geteuid() != 0:
        _missing("needs root")


def need_control_group(controller: str) -> Path:
    """Where control groups with this controller can be made, of version 2 or 1."""
    need_root()
    found = []
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup") / controller):
        version_2 = root / "cgroup.subtree_control"
        is_there = controller in version_2.read_text().split() if version_2.exists() else (root / "tasks").exists()
        if is_there and os.access(root, os.W_OK):
            found.append(root)
    if not found:
        _missing(f"no control groups with {controller} that one may make here")
    return found[0]


def need_control_groups_2() -> Path:
    """Where control groups of version 2 can be made."""
    need_root()
    mounts = (line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found = [place.split()[4] for place, kind in mounts if kind.startswith("cgroup2 ")]
    if not found or not os.access(found[0], os.W_OK):
        _missing("no control groups of version 2 that one may make here")
    return Path(found[0])


def need_tcp_option(number: int, since: str) -> None:
    """A kernel that knows this option of TCP sockets, as `since` does."""
    with socket.socket() as sock:
        try:
            sock.getsockopt(socket.IPPROTO_TCP, number)
        except OSError:
            _missing(f"needs {since}")


def need_vsock() -> socket.socket:
    """A bound socket that is neither local nor TCP."""
    try:
        sock = socket.socket(socket.AF_VSOCK)
        sock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    except OSError:
        _missing("needs a kernel with AF_VSOCK (CONFIG_VSOCKETS)")
    return sock


def _missing(reason: str) -> NoReturn:
    if os.environ.get("FASTPTY_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def need_seed(marker: str) -> str:
    """The text of the user's own document that holds `marker`; it lies beside the checkout, not in it."""
    seeds = Path(__file__).resolve().parents[2] / "shared" / "seeds"
    for file in sorted(seeds.glob("*.txt")):
        text = file.read_text()
        if marker in text:
            return text
    _missing(f"no document with {marker!r} in {seeds}")
