"""Pid files, daemons, and the destinations of the log."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually, process_gone, read_until_ready, run
from tests.support.peers import need_root
from tests.support.syslog import SYSLOG_SHIM, SyslogDaemon


def session(path: str) -> None:
    with Client(path) as client:
        client.send(b"exit\n")
        client.read_to_end()


# -- pid files --


@pytest.mark.parametrize("option", ["pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"])
def test_a_pid_file_names_the_supervisor_and_only_its_owner_may_write_it(
    start_router: Callable[..., Router], directory: Path, option: str
) -> None:
    file = directory / "pid"
    router = start_router(f"{directory}/s", f"--{option}", str(file), first=partial(os.umask, 0))
    assert file.read_text() == f"{router.process.pid}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert router.end() == 0
    assert file.exists()


def test_vacuum_removes_pid_files_and_sockets(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", "--pidfile", f"{directory}/1", "--pidfile2", f"{directory}/2", "--vacuum")
    assert router.end() == 0
    assert list(directory.iterdir()) == []


def test_vacuum_does_not_remove_another_router_s_pid_file(
    start_router: Callable[..., Router], directory: Path
) -> None:
    file = directory / "pid"
    router = start_router(f"{directory}/s", "--pidfile", str(file), "--vacuum")
    file.unlink()
    file.write_text("1\n")
    assert router.end() == 0
    assert file.read_text() == "1\n"


def test_the_pid_file_of_a_running_router_is_not_taken(start_router: Callable[..., Router], directory: Path) -> None:
    file = directory / "pid"
    router = start_router(f"{directory}/s", "--pidfile", str(file))
    second = run(f"{directory}/t", "--pidfile", str(file))
    assert second.returncode == 1
    assert second.stderr.endswith(
        f"pidfile {file}: router {router.process.pid} runs: stop it first, or choose another file\n"
    )
    router.end(signal.SIGKILL)
    start_router(f"{directory}/t", "--pidfile", str(file))


def test_a_pid_file_does_not_follow_a_symbolic_link(start_router: Callable[..., Router], directory: Path) -> None:
    victim, file = directory / "victim", directory / "pid"
    victim.write_text("precious")
    file.symlink_to(victim)
    router = start_router(f"{directory}/s", "--pidfile", str(file))
    assert victim.read_text() == "precious"
    assert file.read_text() == f"{router.process.pid}\n"


def test_stop_and_reload_find_the_router_by_its_pid_file(
    start_router: Callable[..., Router], directory: Path
) -> None:
    file = str(directory / "pid")
    router = start_router(f"{directory}/s", "--pidfile", file)
    assert (run("--reload", file).stdout, router.log.count("] reloaded")) == ("reloaded\n", 1)
    assert run("--stop", file).returncode == 0
    assert process_gone(router.process.pid)
    assert router.process.wait(PATIENCE_SECONDS) == 0
    for flag in ("--stop", "--reload"):
        late = run(flag, file)
        assert late.returncode == 1
        assert late.stderr == f"fastpty-router: pidfile {file}: no running router holds this pid file\n"


def test_stop_does_not_signal_a_stranger_that_a_stale_pid_file_names(directory: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            (directory / "pid").write_text(f"{stranger.pid}\n")
            assert run("--stop", f"{directory}/pid").returncode == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


# -- the background --


@pytest.fixture
def in_background(directory: Path) -> Iterator[Callable[..., int]]:
    """Starts a daemon and returns its process id. It is stopped at the end."""
    pids = []

    def start(*arguments: str) -> int:
        started = run(f"{directory}/s", "--pidfile", f"{directory}/pid", *arguments)
        assert (started.returncode, started.stderr) == (0, "")
        pids.append(int((directory / "pid").read_text()))
        return pids[-1]

    yield start
    for pid in pids:
        if not process_gone(pid):
            os.kill(pid, signal.SIGTERM)
            eventually(lambda pid=pid: process_gone(pid), "the router has stopped")


@pytest.mark.parametrize("option", ["daemonize", "daemonize2"])
def test_a_daemon_serves_when_its_starter_has_ended(
    in_background: Callable[..., int], directory: Path, option: str
) -> None:
    log = directory / "log"
    pid = in_background(f"--{option}", str(log))
    session(f"{directory}/s")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    session_id, terminal = int(fields[3]), int(fields[4])
    assert session_id not in (pid, os.getsid(0))
    assert terminal == 0
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null", str(log), str(log)]
    eventually(lambda: "session 1: end: exit" in log.read_text(), "the session is in the log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def test_a_daemon_that_cannot_start_says_so_to_its_starter(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s")
    failed = run(f"{directory}/s", "--daemonize", f"{directory}/log")
    assert failed.returncode == 1
    assert failed.stderr.count(f"another router is listening on {directory}/s") == 1


# -- where the log goes --


@pytest.mark.parametrize("arguments", [("--logto", "{}"), ("--logto2", "{}"), ("--logger", "file:{}")])
def test_the_log_goes_to_a_file_and_is_opened_anew_at_a_reload(directory: Path, arguments: tuple[str, str]) -> None:
    log, moved = directory / "log", directory / "log.1"
    with subprocess.Popen(
        [sys.executable, "-m", "fastpty.router", f"{directory}/s", arguments[0], arguments[1].format(log)],
        stderr=subprocess.PIPE,
    ) as process:
        try:
            eventually(lambda: log.exists() and "ready" in log.read_text(), "the router is ready")
            session(f"{directory}/s")
            eventually(lambda: "session 1: end" in log.read_text(), "the session is in the log")
            log.rename(moved)
            process.send_signal(signal.SIGHUP)
            for who in ("reloaded", "no longer accepting", "ready"):  # the supervisor, the old worker, the new one
                eventually(lambda who=who: log.exists() and who in log.read_text(), f"the new log has {who!r}")
            session(f"{directory}/s")
            eventually(lambda: "session 2: end" in log.read_text(), "the session is in the new log")
        finally:
            process.terminate()
        _, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert error == b""


@pytest.mark.parametrize(
    ("arguments", "head"),
    [
        (["--log-syslog"], rb"<30>\w{3} [ \d]\d \d\d:\d\d:\d\d fastpty-router\[\d+\]: "),
        (["--logger", "syslog:pty,local3"], rb"<158>\w{3} [ \d]\d \d\d:\d\d:\d\d pty\[\d+\]: "),
    ],
)
def test_syslog_gets_one_line_per_event_and_may_stop_or_restart(
    directory: Path, arguments: list[str], head: bytes
) -> None:
    path = f"{directory}/log"
    daemon = SyslogDaemon(path)
    command = [f"{directory}/s", "--forkptyrouter-command", "/bin/true", *arguments]
    with subprocess.Popen([sys.executable, "-c", SYSLOG_SHIM.format(path, command)]) as process:
        try:
            assert re.match(head, daemon.read_until(b"ready"))
            for _ in range(100):  # more than the socket holds
                session(f"{directory}/s")
            daemon.socket.close()
            session(f"{directory}/s")
            os.unlink(path)
            daemon = SyslogDaemon(path)
            session(f"{directory}/s")
            assert re.search(rb"\]: \d+ lines lost$", daemon.read_until(b"lines lost"))
            daemon.read_until(b": end: exit")
        finally:
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
            daemon.socket.close()


SHORT_OF_MEMORY = """
import resource
from fastpty import log
log.start([])
text = "a line that needs memory" + " " * 200_000
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))
hoard, size = [], 1 << 20
while size >= 1024:
    try:
        hoard.append(bytearray(size))
    except MemoryError:
        size //= 2
log.logger.info(text)
"""


def test_a_line_is_logged_even_if_memory_is_short() -> None:
    """The handler has a reserve for that."""
    ended = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True)
    assert (ended.returncode, "a line that needs memory" in ended.stderr) == (0, True)


def test_a_log_whose_reader_is_gone_does_not_stop_the_router(directory: Path) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen([sys.executable, "-m", "fastpty.router", f"{directory}/s"], stderr=writer) as process:
        os.close(writer)
        with open(reader, "rb") as log:
            read_until_ready(log)
        try:
            for _ in range(3):
                session(f"{directory}/s")
            process.send_signal(signal.SIGHUP)
            session(f"{directory}/s")
        finally:
            process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--logto", "127.0.0.1:514"], "UDP"),
        (["--logger", "redislog:x"], "is neither file:PATH nor syslog"),
        (["--logger", "syslog:x,nowhere"], "'nowhere' is not a syslog facility"),
        (["--logger", "file:/no/such/directory/log"], "cannot log to /no/such/directory/log"),
        (["--pidfile", "/no/such/directory/pid"], "cannot write pidfile /no/such/directory/pid"),
    ],
)
def test_an_unusable_log_or_pid_file_is_reported_in_one_line(
    directory: Path, arguments: list[str], words: str
) -> None:
    ended = run(f"{directory}/s", *arguments)
    assert ended.returncode in (1, 2)
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["pidfile", "safe-pidfile2"])
def test_an_unusable_pid_file_is_reported_with_file_and_line(directory: Path, option: str) -> None:
    ini = directory / "x.ini"
    ini.write_text(f"[fastpty]\nlisten-raw = {directory}/s\n{option} = /no/such/directory/pid\n")
    ended = run(str(ini))
    why = f"{ini}:3: cannot write pidfile /no/such/directory/pid: No such file or directory"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, f"fastpty-router: {why}")


def test_vacuum_removes_root_s_pid_file_after_a_change_of_user(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    folder = directory / "run"
    folder.mkdir()
    router = start_router(f"{directory}/s", "--uid", "nobody", "--pidfile", f"{folder}/pid", "--vacuum")
    assert (folder / "pid").stat().st_uid == 0
    assert router.end() == 0
    assert list(folder.iterdir()) == []
