"""`--stop` and `--reload` wait for the outcome and report it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.service import control
from tests.supervision.test_reload_waits import SlowReading
from tests.support.first_steps import ignore_hangup
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually, process_gone, run
from tests.support.peers import need_root
from tests.support.reloads import configured, greeted

NOBODY = 65534


def start(start_router: Callable[..., Router], directory: Path, *arguments: str, **keywords: object) -> Router:
    ini = configured(directory / "r.ini", f"{directory}/s")
    return start_router(ini, "--pidfile", f"{directory}/pid", *arguments, **keywords)


@pytest.mark.parametrize("first", [None, ignore_hangup], ids=["", "nohup"])
def test_reload_returns_when_new_sessions_get_the_new_configuration(
    start_router: Callable[..., Router], directory: Path, first: Callable[[], object] | None
) -> None:
    start(start_router, directory, first=first)
    configured(directory / "r.ini", f"{directory}/s", word="new")
    reloaded = run("--reload", f"{directory}/pid")
    assert (reloaded.returncode, reloaded.stdout, reloaded.stderr) == (0, "reloaded\n", "")
    with greeted(f"{directory}/s", "new"):
        pass


def test_reload_says_why_the_router_refuses_and_exits_with_1(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start(start_router, directory)
    configured(directory / "r.ini", f"{directory}/s", "forkptyrouter-rows = abc")
    refused = run("--reload", f"{directory}/pid")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "fastpty-router: reload refused, keeping the old configuration: "
        f"{directory}/r.ini:4: forkptyrouter-rows: 'abc' is not a whole number from 1 to 65535\n"
    )


def test_a_reload_that_a_stop_interrupts_is_not_a_success(
    start_router: Callable[..., Router], directory: Path
) -> None:
    slow = SlowReading(start_router, directory, f"pidfile = {directory}/pid")
    slow.be_slow()
    with subprocess.Popen(
        [sys.executable, "-m", "fastpty.router", "--reload", f"{directory}/pid"], stderr=subprocess.PIPE, text=True
    ) as waiting:
        eventually((directory / "running").exists, "the reload reads")
        assert slow.router.end() == 0
        _, error = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert (waiting.returncode, error) == (1, "fastpty-router: reload refused: the router is stopping\n")


def test_a_reload_during_another_one_gets_the_outcome_of_its_own(
    start_router: Callable[..., Router], directory: Path
) -> None:
    slow = SlowReading(start_router, directory, f"pidfile = {directory}/pid")
    slow.be_slow()
    shell, *rest = slow.reload()
    slow.be_quick()
    configured(directory / "r.ini", slow.path, f"pidfile = {directory}/pid", "forkptyrouter-rows = abc")
    with subprocess.Popen(
        [sys.executable, "-m", "fastpty.router", "--reload", f"{directory}/pid"], stderr=subprocess.PIPE, text=True
    ) as waiting:
        eventually(lambda: connected(directory / "pid"), "the second request has come")
        for pid in (*rest, shell):
            os.kill(pid, signal.SIGKILL)
        _, error = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert waiting.returncode == 1
    assert "'abc' is not a whole number" in error


def connected(pidfile: Path) -> bool:
    """True once a client has connected to the control socket of this pid file."""
    status = pidfile.stat()
    name = f"@fastpty-control/{status.st_dev:x}/{status.st_ino:x}"
    return sum(line.endswith(name) for line in Path("/proc/net/unix").read_text().splitlines()) > 1


def test_stop_returns_when_the_router_is_gone(start_router: Callable[..., Router], directory: Path) -> None:
    router = start(
        start_router, directory, "--stop-timeout", "1", "--forkptyrouter-command", "trap '' HUP; echo old; cat"
    )
    with Client(f"{directory}/s") as client:
        client.read_until(b"old")
        assert run("--stop", f"{directory}/pid").returncode == 0
        assert process_gone(router.process.pid)


def test_with_no_wait_stop_returns_at_once(start_router: Callable[..., Router], directory: Path) -> None:
    command = "trap '' HUP; echo old; cat"
    router = start_router(
        f"{directory}/s",
        "--pidfile",
        f"{directory}/pid",
        "--stop-timeout",
        "1000",
        "--forkptyrouter-command",
        command,
    )
    with Client(f"{directory}/s") as client:
        client.read_until(b"old")
        assert run("--stop", f"{directory}/pid", "--no-wait").returncode == 0
        router.wait_for_log("SIGTERM: stopping")
        assert not process_gone(router.process.pid)
        # A signal of another process within 100 ms would be the same stop, so the second one is repeated.
        eventually(lambda: router.process.poll() is not None or router.process.terminate(), "a second signal ends it")


def test_with_no_wait_reload_returns_at_once(start_router: Callable[..., Router], directory: Path) -> None:
    router = start(start_router, directory)
    asked = run("--no-wait", "--reload", f"{directory}/pid")
    assert (asked.returncode, asked.stdout) == (0, "")
    router.wait_for_log(r"\] reloaded")


def test_a_signal_that_the_router_ignores_is_an_error(start_router: Callable[..., Router], directory: Path) -> None:
    router = start(start_router, directory, first=ignore_hangup)
    ignored = run("--no-wait", "--reload", f"{directory}/pid")
    assert ignored.returncode == 1
    assert ignored.stderr.endswith(
        f"router {router.process.pid} ignores SIGHUP, because it was started so (nohup?)\n"
    )


def test_no_wait_alone_is_refused() -> None:
    refused = run("--no-wait", "/tmp/never")
    assert (refused.returncode, refused.stderr) == (
        2, "fastpty-router: --no-wait goes with --stop or --reload only\n"
    )  # fmt: skip


AS_NOBODY = """
import os, sys
from fastpty.errors import FastptyError
from fastpty.service import control, pidfile
os.setgroups([])
os.setresgid({0}, {0}, {0})
os.setresuid({0}, {0}, {0})
file = os.open(sys.argv[1], os.O_RDONLY)
try:
    control.request(file, int(sys.argv[2]), control.RELOAD)
except ConnectionError:
    print("closed")
try:
    pidfile.reload(sys.argv[1], wait=True)
except FastptyError as error:
    print(error)
"""


def test_another_user_cannot_reload_a_router(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    router = start(start_router, directory)
    ended = subprocess.run(
        [sys.executable, "-c", AS_NOBODY.format(NOBODY), f"{directory}/pid", str(router.process.pid)],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert ended.stdout == (
        f"closed\npidfile {directory}/pid: router {router.process.pid} belongs to another user\n"
    ), ended.stderr
    assert router.end() == 0
    assert "reloaded" not in router.log


def test_a_program_that_takes_the_name_of_a_control_socket_gets_no_request(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Any user can bind an abstract name, but that process has not locked the pid file."""
    router = start(start_router, directory)
    taken = directory / "taken"
    taken.write_text("1\n")
    code = (
        "import os, sys; from fastpty.service import control\n"
        f"socket = control.ControlSocket(os.open({str(taken)!r}, os.O_RDONLY)); print(flush=True); sys.stdin.read()\n"
        "print(socket.socket.accept()[0].recv(100))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as thief:
        assert thief.stdout is not None
        thief.stdout.readline()
        file = os.open(taken, os.O_RDONLY)
        with pytest.raises(ConnectionError, match="another process"):
            control.request(file, router.process.pid, control.RELOAD)
        os.close(file)
        received, _ = thief.communicate(timeout=PATIENCE_SECONDS)
    assert received == "b''\n"


def test_a_router_whose_control_socket_has_no_name_has_none(directory: Path) -> None:
    """Another program has taken the name. A socket without a name would always be readable."""
    (directory / "pid").write_text("1\n")
    file = os.open(directory / "pid", os.O_RDONLY)
    first = control.ControlSocket(file)
    second = control.ControlSocket(file)
    assert second.socket is None
    first.close()
    second.close()
    os.close(file)


LISTENS = """
import os, sys
from fastpty.service import control
file = os.open(sys.argv[1], os.O_RDONLY)
os.setresuid(65534, 65534, 65534)
taken = control.ControlSocket(file)
print(flush=True)
sys.stdin.read()
"""


def test_a_process_of_another_user_than_the_pid_file_s_gets_no_request(directory: Path) -> None:
    """Also if its process id is the one that the file's lock names."""
    need_root()
    (directory / "pid").write_text("1\n")
    with subprocess.Popen(
        [sys.executable, "-c", LISTENS, f"{directory}/pid"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as thief:
        assert thief.stdout is not None
        assert thief.stdout.readline() == b"\n"
        file = os.open(directory / "pid", os.O_RDONLY)
        with pytest.raises(ConnectionError, match="another process"):
            control.request(file, thief.pid, control.RELOAD)
        os.close(file)
        thief.communicate(timeout=PATIENCE_SECONDS)
