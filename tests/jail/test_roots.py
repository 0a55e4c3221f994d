"""A real router in a changed root that its hooks build of the host's directories, inspected from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jail.test_namespaces import innermost
from tests.support.client_harness import terminal_client
from tests.support.harness import Router, eventually
from tests.support.jails import binds, said, small_root
from tests.support.peers import need_root

Start = Callable[..., Router]


@pytest.fixture
def path(directory: Path) -> str:
    return str(directory / "socket")


def test_a_chroot_is_the_root_of_the_sessions_and_they_start_in_it(
    start_router: Start, path: str, tmp_path: Path
) -> None:
    need_root()
    root = tmp_path / "root"
    small_root(root)
    router = start_router("--unshare", "mount", *binds(root), "--chroot", str(root), path)
    assert os.readlink(f"/proc/{router.pid}/root") == os.readlink(f"/proc/{router.pid}/cwd") == str(root)
    assert said(path, "pwd; echo /*") == ["/", "/bin", "/dev", "/lib", "/lib64", "/old", "/proc", "/usr"]
    assert router.end() == 0
    eventually(lambda: not os.path.exists(path), "the socket file is removed, though it lies outside the jail")


def test_a_pivoted_root_leaves_nothing_of_the_old_one_when_that_is_unmounted(
    start_router: Start, path: str, tmp_path: Path
) -> None:
    need_root()
    root = tmp_path / "root"
    small_root(root)
    router = start_router(
        *("--unshare", "mount,pid", *binds(root), "--pivot-root", f"{root} {root}/old"),
        *("--hook-as-root", "exec:ls -d /old/proc"),
        *("--mount-as-root", "proc proc /proc", "--umount-as-root", "/old detach", path),
    )
    inside = innermost(router.pid)
    mounts = Path(f"/proc/{inside}/mountinfo").read_text().splitlines()
    assert sorted({line.split()[4].split("/")[1] for line in mounts} - {""}) == [
        "bin",
        "dev",
        "lib",
        "lib64",
        "proc",
        "usr",
    ]
    assert said(path, "echo /old/*; cat /proc/1/comm | wc -l") == ["/old/*", "1"]
    assert router.end() == 0
    assert os.path.isdir("/proc/1")


def test_the_router_as_a_client_connects_from_a_changed_root(start_router: Start, tmp_path: Path) -> None:
    need_root()
    root = tmp_path / "root"
    small_root(root)
    address = f"@fastpty-test-{os.getpid()}"  # an abstract name, which a root does not hide
    start_router(address)
    jail = ["--unshare", "mount", *binds(root), "--chroot", str(root)]
    client = subprocess.run(
        [sys.executable, "-m", "fastpty.router", *jail, "--pty-connect", address],
        input=b"echo 6 times 7 is $((6*7)); exit\n",
        capture_output=True,
        timeout=60,
    )
    assert (client.returncode, client.stderr) == (0, b"")
    assert b"6 times 7 is 42\r\n" in client.stdout


def test_pty_input_works_in_a_changed_root(path: str, tmp_path: Path) -> None:
    need_root()
    root = tmp_path / "root"
    small_root(root)
    jail = ["--unshare", "mount", *binds(root), "--chroot", str(root)]
    options = ["--pty-socket", path, "--pty-input", "--env", "PS1=prompt:"]
    command = [sys.executable, "-m", "fastpty.router", *jail, *options]
    with terminal_client(command=command) as own:
        own.read_until(b"prompt:")
        eventually(lambda: own.is_raw, "the terminal is in raw mode")
        own.type(b"~.")
        own.read_until(b"disconnected; the shared terminal keeps running")
        eventually(lambda: own.modes_are_as_before, "the terminal has its modes back")
        own.type(b"\x03")
        assert own.wait() == 0


def test_a_jail_in_which_no_terminal_can_be_opened_is_an_error_at_the_start(tmp_path: Path, path: str) -> None:
    need_root()
    router = Router("--chroot", str(tmp_path), path)
    assert router.process.wait(30) == 1
    router.end()
    assert "no terminal can be opened in the jail: /dev/ptmx: No such file or directory" in router.log


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (
            ["--pivot-root", "/tmp /tmp/old"],
            2,
            "pivot-root would change the root of the whole machine: add unshare = mount",
        ),
        (["--unshare=fs", "--pivot-root", "/usr /usr/bin"], 1, "it must be a mount"),
        (["--chroot", "/nonexistent"], 1, "chroot: cannot enter /nonexistent: No such file or directory"),
    ],
)
def test_a_root_that_cannot_be_entered_is_an_error(arguments: list[str], status: int, reason: str, path: str) -> None:
    need_root()
    router = Router(*arguments, path)
    assert router.process.wait(30) == status
    router.end()
    assert reason in router.log
