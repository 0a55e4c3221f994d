"""The relay and its helper processes do not open /dev/null of a foreign root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import talk_as
from tests.support.harness import Client, Router, descriptors
from tests.support.jails import small_root
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, attached, proxy_of


@pytest.fixture
def options(directory: Path) -> list[str]:
    """Options for a jail in which /dev/null is a FIFO without a writer."""
    need_root()
    root = directory / "root"
    small_root(root)
    (root / "dev/pts").mkdir()
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    os.mkfifo(root / "dev/null")
    options = ["--unshare", "mount", "--mount-post-jail", f"none {root} {root} bind"]
    for name in ("bin", "usr", "lib", "lib64"):
        options += ["--mount-post-jail", f"none /{name} {root}/{name} bind,rec"]
    options += ["--mount-post-jail", f"proc none {root}/proc"]
    options += ["--hook-as-root", "mount:devpts none /dev/pts nosuid newinstance,ptmxmode=666"]
    return [*options, "--chroot", str(root)]


def test_the_relay_does_not_open_dev_null_of_a_foreign_root(
    start_router: Callable[..., Router], options: list[str], directory: Path
) -> None:
    start_router(*options, "--forkptyrouter-command", "echo IN", f"{directory}/s")
    with Client(f"{directory}/s") as client:
        assert client.read_to_end() == b"IN\r\n"


def test_the_tls_process_holds_no_file_of_the_root(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, options: list[str]
) -> None:
    router, port = tls_router(*options, "--forkptyrouter-command", "echo IN")
    held = descriptors(proxy_of(router))
    assert [held[fd].split()[0] for fd in (0, 1)] == ["/memfd:nothing"] * 2
    assert attached(authority, port).stdout == b"IN\r\n"


IN_AN_EMPTY_ROOT = """
import os, socket, sys
from fastpty.errands.processes import Errands
errands = Errands()
ours, theirs = socket.socketpair()
os.chroot(sys.argv[1])
os.chdir("/")
errands.close(theirs)
print(ours.recv(1), flush=True)
sys.stdin.read()
"""


def test_errands_are_run_in_a_root_without_dev_null(directory: Path) -> None:
    need_root()
    argv = [sys.executable, "-c", IN_AN_EMPTY_ROOT, str(directory)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == b"b''\n"
        helpers = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _helps_in(directory, pid)]
        assert helpers
        assert {descriptors(pid)[0].split()[0] for pid in helpers} == {"/memfd:nothing"}


def _helps_in(root: Path, pid: int) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text()
        return name == "fastpty-errands\n" and os.readlink(f"/proc/{pid}/root") == str(root)
    except OSError:  # it has ended
        return False


def test_accounts_of_a_foreign_root_are_not_read_through_links(
    start_router: Callable[..., Router], options: list[str], directory: Path
) -> None:
    """A link through /proc leads to files and devices of the host, which root can open."""
    passwd = directory / "root/etc/passwd"
    passwd.parent.mkdir()
    (passwd.parent / "group").write_text("daemon:x:1:\n")
    passwd.symlink_to(f"/proc/{os.getpid()}/root/etc/passwd")
    path = f"{directory}/s"
    start_router(*options, "--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", "echo IN", path)
    assert talk_as(path, 1, 1) == (
        "fastpty: refused: /etc/passwd in the router's root cannot be read: passwd is a link or not a directory, "
        "and in another root no link is followed\r\n"
    )
    passwd.unlink()
    passwd.write_text("daemon:x:1:1::/:/bin/sh\n")
    assert talk_as(path, 1, 1) == "IN\r\n"
