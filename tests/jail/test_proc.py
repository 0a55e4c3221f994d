"""A router without /proc, or with a /proc that is not a proc file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.jails import binds, refused, small_root
from tests.support.peers import need, need_root

MAPS = ("uid_map", "gid_map", "setgroups")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--unshare", "user"],
            "a user namespace of root needs /proc/self/uid_map: No such file or directory: mount ",
        ),
        (
            ["--session-cgroup=own"],
            "session-cgroup=own: /proc/self/mountinfo: No such file or directory: mount /proc",
        ),
        (
            ["--setns-pid", "1"],
            "cannot execute the router again from read-only files: No such file or directory: ",
        ),
    ],
)
def test_an_option_that_needs_proc_says_so_in_one_line(options: list[str], message: str) -> None:
    need_root()
    router = [sys.executable, "-m", "fastpty.router", *options, "@fastpty-test-no-proc"]
    argv = [need("unshare"), "--mount", "sh", "-c", 'umount --lazy /proc; exec "$@"', "sh", *router]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"fastpty-router: {message}")
    assert "Traceback" not in ended.stderr


class Jail:
    """Options for a pivoted root in which a user namespace is created. The test prepares its /proc."""

    def __init__(self, directory: Path) -> None:
        need_root()
        self.root = directory / "root"
        small_root(self.root)
        self.options = ["--unshare", "mount", *binds(self.root), "--pivot-root", f"{self.root} {self.root}/old"]
        self.options += ["--unshare2", "user,uts", str(directory / "socket")]

    def refused(self, *options: str) -> str:
        """Starts a router that must fail, and returns its log."""
        return refused(*self.options, *options)


def test_id_maps_are_written_into_a_proc_file_system_only(directory: Path) -> None:
    jail = Jail(directory)
    own = jail.root / "proc" / "self"
    own.mkdir()
    for name in MAPS:
        (own / name).write_text("0 0 1\n")
    log = jail.refused()
    assert (
        "unshare2=user,uts: cannot write the id maps: no proc file system is mounted on /proc in the router's root"
        in log
    )
    assert {(own / name).read_text() for name in MAPS} == {"0 0 1\n"}


def test_id_maps_are_not_written_into_a_file_that_is_mounted_over_them(directory: Path) -> None:
    jail = Jail(directory)
    victim = directory / "victim"
    victim.write_text("precious\n")
    over = f"mount --bind {victim} {jail.root}/proc/$PPID/gid_map"
    log = jail.refused(
        *("--hook-post-jail", f"mount:proc none {jail.root}/proc"),
        *("--hook-post-jail", f"exec:{over}"),
    )
    assert "unshare2=user,uts: cannot write the id maps: Invalid cross-device link" in log
    assert victim.read_text() == "precious\n"
