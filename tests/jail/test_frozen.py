"""A session's first process that is frozen on its way into a container has no descriptor of other sessions."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastpty._spawn import Command, Spawner
from tests.support.control_groups import control_group
from tests.support.harness import descriptors, eventually
from tests.support.peers import need_root, need_unified_control_groups


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A cgroup whose processes are frozen, as by `docker pause`."""
    need_root()
    with control_group(need_unified_control_groups()) as group:
        (group / "cgroup.freeze").write_text("1")
        yield group
        (group / "cgroup.freeze").write_text("0")


_ALL_CHILDREN = 0x40000000  # __WALL: also those without an exit signal, as before execve(2)


def test_a_frozen_first_process_has_no_descriptor_of_other_sessions(frozen: Path) -> None:
    joins = tuple(os.open(frozen / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for _ in range(2))
    other, theirs = os.pipe()
    spawner = Spawner((1024, 1024), apart=True, joins=joins)
    master, pid, pidfd = spawner.spawn(Command([b"/bin/true"], []), (24, 80, 0, 0))
    try:
        eventually(lambda: str(pid) in (frozen / "cgroup.procs").read_text().split(), "it is in the cgroup")
        kept = {number: what for number, what in descriptors(pid).items() if "cgroup.procs" not in what}
        assert set(kept) == {0, 1, 2}
        assert all(what.startswith("/dev/pts/") for what in kept.values())
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, _ALL_CHILDREN)
        for descriptor in (*joins, other, theirs, master, pidfd):
            os.close(descriptor)
