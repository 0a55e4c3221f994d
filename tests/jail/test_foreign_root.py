"""In a foreign root, no link leads the router's own files to a file of the host."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.system import foreign_root
from tests.support.harness import PATIENCE_SECONDS, Router, eventually
from tests.support.jails import binds, said, small_root
from tests.support.peers import need_root
from tests.support.syslog import SYSLOG_SHIM, SyslogDaemon

TO_THE_HOST = f"/proc/{os.getpid()}/root"


class Jail:
    """A changed root with a /proc, and a directory outside for links to lead to."""

    def __init__(self, directory: Path) -> None:
        need_root()
        self.directory, self.root, self.outside = directory, directory / "root", directory / "outside"
        small_root(self.root)
        self.outside.mkdir()
        self.socket = f"{directory}/s"
        self.options = ("--unshare", "mount", *binds(self.root))
        self.options += ("--mount-post-jail", f"proc proc {self.root}/proc", "--chroot", str(self.root))

    def inside(self, path: str) -> Path:
        """Returns a path of the jail as seen from outside, and creates the directories above it."""
        found = self.root / path.lstrip("/")
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def link(self, path: str, target: Path) -> None:
        """Creates a link in the jail that leads outside."""
        self.inside(path).symlink_to(f"{TO_THE_HOST}{target}")


@pytest.fixture
def jail(directory: Path) -> Jail:
    return Jail(directory)


@pytest.mark.parametrize("option", ["--logto", "--logger"])
def test_a_log_outside_the_jail_is_not_reopened_by_its_path(
    start_router: Callable[..., Router], jail: Jail, option: str
) -> None:
    """It stays open, and the log says so."""
    log, victim = jail.directory / "log", jail.outside / "victim"
    jail.link(str(log), victim)
    value = f"file:{log}" if option == "--logger" else str(log)
    router = Router(jail.socket, *jail.options, option, value)
    try:
        assert set(said(jail.socket, f"echo {wait_for(log, 'ready')}")) == {"ready"}
        router.process.send_signal(signal.SIGHUP)
        wait_for(log, f"cannot reopen the log {log}: it lies outside the router's root: rotate it with copytruncate")
        wait_for(log, "reload refused, keeping the old configuration: the jail has another root")
        assert router.end() == 0
        wait_for(log, "] stopped")
        assert not victim.exists()
    finally:
        router.destroy()


def wait_for(log: Path, text: str) -> str:
    """Waits until the text is in the log, and returns it."""
    eventually(lambda: log.exists() and text in log.read_text(), f"{text!r} in the log")
    return text


@pytest.mark.parametrize("option", ["logto2", "daemonize2", "pidfile2"])
@pytest.mark.parametrize("linked", ["file", "directory"])
def test_a_file_in_the_jail_is_not_opened_through_a_link(jail: Jail, option: str, linked: str) -> None:
    victim = jail.outside / "file"
    victim.write_text("precious\n")
    if linked == "file":
        jail.link("/own/file", victim)
    else:
        jail.link("/own", jail.outside)
    router = Router(jail.socket, *jail.options, f"--{option}", "/own/file")
    try:
        assert router.process.wait(PATIENCE_SECONDS) == 1
        router.end()
        name = "file" if linked == "file" else "own"
        assert (
            f"/own/file: {name} is a link or not a directory, and in another root no link is followed" in router.log
        )
    finally:
        router.destroy()
    assert victim.read_text() == "precious\n"
    assert [entry.name for entry in jail.outside.iterdir()] == ["file"]


def test_a_log_in_the_jail_is_reopened_but_not_through_a_link(
    start_router: Callable[..., Router], jail: Jail
) -> None:
    log, victim = jail.inside("/own/log"), jail.outside / "victim"
    router = Router(jail.socket, *jail.options, "--logto2", "/own/log")
    try:
        wait_for(log, "ready")
        for moved in ("log.1", "log.2"):
            log.rename(log.with_name(moved))
            router.process.send_signal(signal.SIGHUP)
            wait_for(log, "reload refused")
        log.rename(log.with_name("log.3"))
        jail.link("/own/log", victim)
        router.process.send_signal(signal.SIGHUP)
        wait_for(log.with_name("log.3"), "cannot reopen the log /own/log: ")
        assert router.end() == 0
        wait_for(log.with_name("log.3"), "] stopped")
        assert not victim.exists()
    finally:
        router.destroy()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("another name", "it has a second hard link"),
        ("another owner", "it belongs to uid 65534"),
        ("device", "nothing else is written to"),
    ],
)
def test_a_log_in_the_jail_must_be_a_file_of_the_router(jail: Jail, what: str, words: str) -> None:
    log, other = jail.inside("/own/log"), jail.outside / "other"
    other.write_text("precious\n")
    if what == "another name":
        os.link(other, log)
    elif what == "another owner":
        log.touch()
        os.chown(log, 65534, 65534)
    else:
        os.mknod(log, 0o20600, os.makedev(1, 7))
    router = Router(jail.socket, *jail.options, "--logto2", "/own/log")
    assert router.process.wait(PATIENCE_SECONDS) == 1
    router.end()
    assert re.search(f"cannot log to /own/log: .*{words}", router.log)
    assert other.read_text() == "precious\n"


def test_a_log_may_be_the_null_device_or_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(foreign_root, "_is_entered", True)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for path in ("/dev/null", str(tmp_path / "pipe")):
        os.close(foreign_root.open_file(path, os.O_WRONLY | os.O_NONBLOCK))
    os.close(reader)


def test_vacuum_removes_a_pid_file_of_the_host_and_not_what_its_path_means_in_the_jail(jail: Jail) -> None:
    pid_file = jail.directory / "run" / "pid"
    pid_file.parent.mkdir()
    other = jail.outside / "pid"
    jail.link(str(pid_file.parent), other.parent)
    router = Router(jail.socket, *jail.options, "--pidfile", str(pid_file), "--vacuum")
    try:
        router.wait_until_listening()
        other.hardlink_to(pid_file)
        assert router.end() == 0
        assert (pid_file.exists(), other.exists()) == (False, True)
    finally:
        router.destroy()


def test_the_syslog_socket_is_not_reopened_in_the_jail(jail: Jail) -> None:
    """Its path could lead to any socket of the host."""
    path, impostor_path = jail.directory / "log", jail.outside / "impostor"
    daemon = SyslogDaemon(str(path))
    command = [jail.socket, *jail.options, "--log-syslog"]
    router = Router(program=("-c", SYSLOG_SHIM.format(str(path), command)))
    try:
        daemon.read_until(b"ready")
        daemon.socket.close()
        impostor = SyslogDaemon(str(impostor_path))
        jail.link(str(path), impostor_path)
        assert said(jail.socket, "cat /dev/null") == []
        assert router.end() == 0
        impostor.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            impostor.socket.recv(65536)
        impostor.socket.close()
    finally:
        router.destroy()
