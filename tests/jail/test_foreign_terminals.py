"""Terminals in a foreign root: its /dev can be anything, and may never answer, without harm to other sessions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import Client, Router
from tests.support.jails import refused, said, small_root, stuck_files
from tests.support.peers import need_root

NULL = os.makedev(1, 3)


class Jail:
    """A root whose /dev is a tmpfs with a devpts, mounted by the router's hooks in its own mount namespace."""

    def __init__(self, directory: Path) -> None:
        need_root()
        directory.chmod(0o1777)
        self.root, self.socket = directory / "root", f"{directory}/s"
        small_root(self.root)
        self.options = ["--unshare", "mount", "--mount-post-jail", f"none {self.root} {self.root} bind"]
        for name in ("bin", "usr", "lib", "lib64"):
            self.options += ["--mount-post-jail", f"none /{name} {self.root}/{name} bind,rec"]
        self.options += ["--mount-post-jail", f"proc none {self.root}/proc"]
        self.options += ["--chroot", str(self.root), "--hook-as-root", "mount:tmpfs none /dev"]

    def devpts(self, options: str = "ptmxmode=666") -> list[str]:
        """Options that mount one, with a /dev/ptmx as containers have it."""
        hooks = [
            "mkdir:/dev/pts",
            f"mount:devpts none /dev/pts nosuid newinstance,{options}",
            "exec:ln -s pts/ptmx /dev/ptmx",
        ]
        return [word for hook in hooks for word in ("--hook-as-root", hook)]


@pytest.fixture
def jail(directory: Path) -> Jail:
    return Jail(directory)


def test_a_root_whose_dev_never_answers_is_refused_at_the_start(jail: Jail) -> None:
    with stuck_files(jail.root / "dev"):
        log = refused("--chroot", str(jail.root), jail.socket)
    assert "no terminal can be opened in the jail: /dev does not answer within 5 s" in log


def test_a_dev_that_stops_answering_holds_up_no_other_session(
    start_router: Callable[..., Router], jail: Jail
) -> None:
    router = start_router(*jail.options, *jail.devpts(), jail.socket)
    with Client(jail.socket) as before:
        before.send(b"echo be''fore\n")
        before.read_until(b"before\r\n")
        with stuck_files(jail.root / "dev", router.pid), Client(jail.socket):
            before.send(b"echo af''ter\n")
            before.read_until(b"after\r\n")
            router.wait_for_log("session .*: start:", 2)
    assert router.end() == 0


def test_a_program_on_a_file_system_that_never_answers_holds_up_no_other_session(
    start_router: Callable[..., Router], jail: Jail
) -> None:
    program = jail.root / "program"
    program.symlink_to("/bin/sh")
    (jail.root / "stuck").mkdir()
    command = ("--forkptyrouter-command", "/program")
    router = start_router(*jail.options, *jail.devpts(), *command, jail.socket)
    with Client(jail.socket) as before:
        before.send(b"echo be''fore\n")
        before.read_until(b"before\r\n")
        program.unlink()
        program.symlink_to("/stuck/program")
        with stuck_files(jail.root / "stuck", router.pid), Client(jail.socket):
            before.send(b"echo af''ter\n")
            before.read_until(b"after\r\n")
            router.wait_for_log("session .*: start:", 2)
    assert router.end() == 0


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        (["mknod /dev/ptmx c 1 3"], "it is not the character device 5:2"),
        (
            [
                "mkdir /dev/pts",
                "mount -t devpts -o newinstance,ptmxmode=666 none /dev/pts",
                "ln -s /proc/PID/root/dev/ptmx /dev/ptmx",
            ],
            "Too many levels of symbolic links",
        ),
        (["mknod /dev/ptmx c 5 2"], "No such file or directory"),
        (
            [
                "mkdir /dev/pts /dev/others",
                "mount -t devpts -o newinstance none /dev/pts",
                "mount -t devpts -o newinstance none /dev/others",
                "ln -s others/ptmx /dev/ptmx",
            ],
            "its devpts is not mounted on /dev/pts",
        ),
    ],
)
def test_a_ptmx_that_opens_no_terminal_of_this_root_is_refused(jail: Jail, commands: list[str], why: str) -> None:
    hooks = [
        word
        for command in commands
        for word in ("--hook-as-root", "exec:" + command.replace("PID", str(os.getpid())))
    ]
    log = refused(*jail.options, *hooks, jail.socket)
    assert f"no terminal can be opened in the jail: /dev/ptmx: {why}: " in log


def test_a_ptmx_on_a_file_system_that_may_not_answer_is_refused(jail: Jail) -> None:
    """The router accepts tmpfs and disk file systems. A ramfs stands for FUSE, NFS and others."""
    hooks = ["mount:ramfs none /dev", "mkdir:/dev/pts", "mount:devpts none /dev/pts nosuid newinstance"]
    hooks.append("exec:chmod 755 /dev && mknod -m 666 /dev/ptmx c 5 2")
    options = [word for hook in hooks for word in ("--hook-as-root", hook)]
    log = refused(*jail.options, *options, "--uid", "nobody", jail.socket)
    assert "no terminal can be opened in the jail: /dev/ptmx: its file system may depend on another process: " in log


def test_a_terminal_is_one_of_the_root_s_own_devpts(start_router: Callable[..., Router], jail: Jail) -> None:
    start_router(*jail.options, *jail.devpts(), jail.socket)
    assert said(jail.socket, "tty") == ["/dev/pts/0"]


def test_a_user_gets_terminals_where_only_the_node_in_dev_is_open_to_all(
    start_router: Callable[..., Router], jail: Jail
) -> None:
    hooks = jail.devpts("ptmxmode=000")[:4]
    hooks += ["--hook-as-root", "exec:mknod -m 666 /dev/ptmx c 5 2", "--uid", "nobody"]
    start_router(*jail.options, *hooks, jail.socket)
    assert said(jail.socket, "tty; id -u") == ["/dev/pts/0", "65534"]


@pytest.mark.parametrize("replacement", ["device", "link", "pipe"])
def test_a_file_that_replaces_ptmx_is_not_opened(
    start_router: Callable[..., Router], jail: Jail, replacement: str
) -> None:
    hooks = jail.devpts("ptmxmode=000")[:4]
    hooks += ["--hook-as-root", "exec:mknod -m 666 /dev/ptmx c 5 2", "--uid", "nobody"]
    router = start_router(*jail.options, *hooks, jail.socket)
    ptmx = Path(f"/proc/{router.pid}/root/dev/ptmx")
    assert said(jail.socket, "tty") == ["/dev/pts/0"]
    ptmx.unlink()
    if replacement == "device":
        os.mknod(ptmx, 0o666 | stat.S_IFCHR, NULL)
    elif replacement == "link":
        ptmx.symlink_to(f"/proc/{os.getpid()}/root/dev/ptmx")
    else:
        os.mkfifo(ptmx)
    why = b"Invalid cross-device link" if replacement == "link" else b"Inappropriate ioctl for device"
    with Client(jail.socket) as client:
        assert client.read_to_end() == b"fastpty: cannot open a pseudo-terminal: " + why + b"\r\n"


def test_a_file_mounted_over_ptmx_is_not_opened(start_router: Callable[..., Router], jail: Jail) -> None:
    start_router(*jail.options, *jail.devpts(), jail.socket)
    assert said(jail.socket, "mknod /null c 1 3 && mount --bind /null /dev/pts/ptmx && echo mounted") == ["mounted"]
    with Client(jail.socket) as client:
        assert client.read_to_end() == b"fastpty: cannot open a pseudo-terminal: Invalid cross-device link\r\n"


def test_a_session_warns_when_another_devpts_was_mounted_on_dev_pts(
    start_router: Callable[..., Router], jail: Jail
) -> None:
    start_router(*jail.options, *jail.devpts(), jail.socket)
    assert said(jail.socket, "mount -t devpts -o newinstance none /dev/pts && echo mounted") == ["mounted"]
    with Client(jail.socket) as client:
        client.read_until(b"fastpty: this terminal is not in /dev/pts, which has changed since the router started: ")
        client.send(b"echo go''ing on\n")
        client.read_until(b"going on\r\n")
