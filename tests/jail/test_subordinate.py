"""The ids that root of a new user namespace has outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.errors import FastptyError
from fastpty.jail.subordinate import FIRST, first_of_root
from tests.support.harness import Client, Router, children
from tests.support.peers import need_root

Start = Callable[..., Router]


@pytest.fixture
def path(directory: Path) -> str:
    directory.chmod(0o1777)
    return str(directory / "socket")


def test_root_of_a_new_user_namespace_is_not_root_outside(start_router: Start, path: str, tmp_path: Path) -> None:
    need_root()
    roots = tmp_path / "file"
    roots.touch(0o600)
    router = start_router("--unshare", "user,uts", "--hook-as-root", "hostname:inside", path)
    uid_map, gid_map = (Path(f"/proc/{router.pid}/{name}").read_text().split() for name in ("uid_map", "gid_map"))
    assert uid_map[0] == gid_map[0] == "0"
    assert uid_map[2] == gid_map[2] == "65536"
    with Client(path) as client:
        client.send(b"id -u; id -G; hostname; echo x > /proc/sys/kernel/core_pattern || echo REFU''SED\n")
        client.read_until(b"0\r\n", b"0\r\n", b"inside\r\n", b"REFUSED\r\n")
        client.send(f"cat {roots} || echo REFU''SED\n".encode())
        client.read_until(b"REFUSED\r\n")
        for pid in (router.process.pid, router.pid, *children(router.pid)):
            status = Path(f"/proc/{pid}/status").read_text()
            assert status.split("Uid:")[1].split()[:4] == [uid_map[1]] * 4
            assert status.split("Gid:")[1].split()[:4] == [gid_map[1]] * 4


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ([], FIRST),
        (["somebody:100000:65536"], FIRST),
        (["somebody:100000:65536", "root:300000:65536"], 300000),
        (["root:300000:10", "0:400000:70000"], 400000),
    ],
)
def test_the_ids_of_a_new_user_namespace_are_root_s_subordinate_ones(
    lines: list[str], first: int, tmp_path: Path
) -> None:
    file = tmp_path / "subuid"
    file.write_text("".join(f"{line}\n" for line in lines))
    assert first_of_root(str(file)) == first


def test_subordinate_ids_of_another_user_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text(f"somebody:{FIRST + 5}:10\n")
    with pytest.raises(FastptyError, match=f"already gives ids from {FIRST} to somebody"):
        first_of_root(str(file))
