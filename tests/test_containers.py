"""Containers that the router enters: what its processes and sessions are inside, looked at from outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers import MAPPED, container
from tests.harness import Client, Router, children
from tests.peers import need_root

Start = Callable[..., Router]
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture
def path(directory: Path) -> str:
    directory.chmod(0o1777)
    return str(directory / "socket")


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()


def of(pid: int, *fields: str) -> list[str]:
    lines = dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [" ".join(lines[field].split()) for field in fields]


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    return [pid, *(found for child in children(pid) for found in family(child))]


def session(path: str) -> Client:
    client = Client(path)
    client.send(b"echo U''P-\n")
    client.read_until(b"UP-\r\n")
    return client


WAYS = ["setns-pid", "setns-directory", "setns-file", "setns-server"]


@pytest.mark.parametrize("ids", [(), ("--uid", "0", "--gid", "0")])
@pytest.mark.parametrize("way", ["setns-pid", "setns-directory"])
def test_nothing_has_ids_of_the_host_in_a_container_whose_ids_are_mapped(
    way: str, ids: tuple[str, ...], start_router: Start, path: str
) -> None:
    with container("user", "pid", "mount", mapped=True, commands=["mount -t proc proc /proc"]) as pid:
        how = ("--setns-pid", str(pid)) if way == "setns-pid" else ("--setns", f"/proc/{pid}/ns")
        router = start_router(*how, *ids, path)
        with session(path) as client:
            for each in family(router.process.pid):
                assert of(each, "Uid", "Gid") == [" ".join([str(MAPPED)] * 4)] * 2, each
                assert {*of(each, "Groups")[0].split()} <= {str(MAPPED)}, each
                assert os.readlink(f"/proc/{each}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
            client.send(b"echo x > /proc/sys/kernel/core_pattern || echo REFU''SED; id -u; echo E''ND-\n")
            seen = client.read_until(b"REFUSED", b"0\r\n", b"END-")
        assert b"65534" not in seen
        assert router.end() == 0
