"""A client cannot affect processes outside its session, although the router that acts for it may be root."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import connected_as, talk_as
from tests.support.harness import RAW_CAT, Client, Router, eventually, frame, process_gone, state
from tests.support.peers import need, need_root

UID, GID = 1, 1  # daemon: run-as peer needs an account
UNKNOWN_FRAME = 200


def sent_and_obeyed(client: Client, router: Router, number: int) -> None:
    """Sends a signal frame and waits until the router has obeyed it."""
    client.frame(number)
    client.frame(UNKNOWN_FRAME)

    def counted() -> bool:
        os.kill(router.pid, signal.SIGUSR1)
        return bool(re.search("ignored_frames [1-9]", router.log))

    eventually(counted, "the frame after the signal is counted")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP])
def test_a_client_cannot_signal_a_process_that_became_root_in_its_terminal(
    start_router: Callable[..., Router], directory: Path, number: int
) -> None:
    """A signal frame has the client's rights, as with ssh. ^C is sent by the terminal and does reach the process."""
    need_root()
    become = directory / "become"
    shutil.copy(need("setpriv"), become)
    become.chmod(0o4755)
    path = f"{directory}/u"
    program = f"{become} --reuid=0 --regid=0 --clear-groups sh -c 'echo $$ READY; exec sleep 1000'"
    command = f"set -m; {program}; exec cat"
    router = start_router(
        "--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", command, "--forkpty-urouter", path
    )
    with Client(connected_as(path, UID, GID)) as client:
        root = int(client.read_until(b" READY").split()[-2])
        sent_and_obeyed(client, router, number)
        eventually(lambda: state(root) == "S", "the program runs on, neither stopped nor dead")
        client.frame(signal.SIGINT)
        eventually(lambda: process_gone(root), "the terminal's own signal has ended it")


def test_a_client_s_signal_reaches_its_own_processes(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path = f"{directory}/u"
    trap = "trap 'echo got it' USR1; echo READY; while :; do sleep 1000 & wait; kill $!; done"
    router = start_router(
        "--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", trap, "--forkpty-urouter", path
    )
    with Client(connected_as(path, UID, GID)) as client:
        client.read_until(b"READY")
        client.frame(signal.SIGUSR1)
        client.read_until(b"got it")
        client.frame(signal.SIGKILL)
        client.read_to_end()
    router.wait_for_log("end: exit, killed by SIGKILL")


def test_a_worker_that_has_signalled_as_a_client_still_ends_with_its_supervisor(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A change of ids clears the parent-death signal (prctl(2)), so the worker has to set it again."""
    need_root()
    path = f"{directory}/u"
    router = start_router(
        "--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", RAW_CAT, "--forkpty-urouter", path
    )
    with Client(connected_as(path, UID, GID)) as client:
        client.read_until(b"READY")
        sent_and_obeyed(client, router, signal.SIGCONT)
        worker = router.pid
        assert int(re.findall(r"^Uid:\s+(.*)", Path(f"/proc/{worker}/status").read_text(), re.M)[0].split()[1]) == 0
        router.kill_supervisor()
        router.wait_for_log("no longer accepting; 1 session left")
        client.frame(0, payload=b"still here")
        client.read_until(b"still here")
    eventually(lambda: process_gone(worker), "the worker has ended")


STALE = """
import os, sys, time
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    time.sleep(1000)
os.setpgid(child, child)
os.tcsetpgrp(0, child)
os.kill(child, 9)
os.waitpid(child, 0)
print("group", child, ".", flush=True)
time.sleep(1000)
"""

BYSTANDER = """
import os, sys, time
number = int(sys.argv[1])
while True:
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(number - 1))
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(1000)
    if child == number:
        break
    os.kill(child, 9)
    os.waitpid(child, 0)
print("PLACED", flush=True)
sys.stdin.readline()
print("lives" if os.waitpid(child, os.WNOHANG) == (0, 0) else "was killed", flush=True)
"""


@pytest.mark.parametrize("how", ["a signal", "a hang-up"])
def test_a_group_that_reuses_the_number_of_an_ended_one_is_not_signalled(
    start_router: Callable[..., Router], directory: Path, how: str
) -> None:
    """A terminal names its foreground group even after its last process has ended, and the number can be reused."""
    need_root()
    for name, text in (("stale", STALE), ("bystander", BYSTANDER)):
        (directory / name).write_text(text)
    path = f"{directory}/u"
    router = start_router("--unshare", "pid", "--forkpty-urouter", path, "--forkptyrouter-command", "stty -echo; sh")
    with Client(path) as other, Client(path) as client:
        client.frame(0, payload=f"exec {sys.executable} {directory}/stale\n".encode())
        group = int(client.read_until(b"group ", b" .").split()[-2])
        other.frame(0, payload=f"exec {sys.executable} {directory}/bystander {group}\n".encode())
        other.read_until(b"PLACED")
        if how == "a signal":
            client.frame(signal.SIGKILL)
        client.socket.close()
        router.wait_for_log("session 2: end: client left")
        other.frame(0, payload=b"\n")
        assert b"lives" in other.read_until(b"l")


KEYCTL = {"x86_64": 250, "aarch64": 219}
ADD_KEY = {"x86_64": 248, "aarch64": 217}
WITH_A_KEY = """
import ctypes, runpy, sys
libc = ctypes.CDLL(None)
add_key, keyctl = int(sys.argv.pop(1)), int(sys.argv.pop(1))
libc.syscall(keyctl, 1, None)
key = libc.syscall(add_key, b"user", b"secret", b"TOP", 3, -3)
assert key > 0
libc.syscall(keyctl, 5, key, 0x3F000000)
runpy.run_module("fastpty.router", run_name="__main__")
"""


@pytest.mark.parametrize("who", [("--run-as", "peer"), ("--uid", "daemon")])
def test_a_session_of_another_account_does_not_possess_root_s_keys(
    start_router: Callable[..., Router], directory: Path, who: tuple[str, str]
) -> None:
    """A process possesses the keys of its session keyring whatever its user is (keyrings(7))."""
    need_root()
    add_key, keyctl = ADD_KEY[platform.machine()], KEYCTL[platform.machine()]
    look = (
        'my ($b, $t, $n) = ("\\0" x 9, "user", "secret");'
        f" my $k = syscall({keyctl}, 10, -3, $t, $n, 0); syscall({keyctl}, 11, $k, $b, 9);"
        ' print $k > 0 ? "has $b" : "has none"'
    )
    command = f"{need('perl')} -e '{look}'"
    start_router(
        str(add_key), str(keyctl), *who, "--chmod-socket=666", "--forkptyrouter-command", command, f"{directory}/s",
        program=("-c", WITH_A_KEY),
    )  # fmt: skip
    assert talk_as(f"{directory}/s", UID, GID) == "has none"


def test_a_flood_of_signal_frames_does_not_delay_other_sessions(
    start_router: Callable[..., Router], directory: Path, tmp_path: Path
) -> None:
    """Each signal goes to a whole process group, which can be large. None is lost."""
    count = 16_000
    path = f"{directory}/u"
    router = start_router("--forkpty-urouter", path, "--forkptyrouter-command", RAW_CAT)
    with Client(path) as flood, Client(path) as other:
        flood.read_until(b"READY")
        other.read_until(b"READY")
        argv = [need("strace"), "-e", "trace=kill,write", "-o", str(tmp_path / "calls"), "-p", str(router.pid)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            os.kill(router.pid, signal.SIGSTOP)
            flood.send(frame(signal.SIGCONT) * count + frame(0, payload=b"done"))
            other.frame(0, payload=b"key")
            os.kill(router.pid, signal.SIGCONT)
            other.read_until(b"key")
            flood.read_until(b"done")
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
    calls = (tmp_path / "calls").read_text().splitlines()
    kills = [index for index, line in enumerate(calls) if line.startswith("kill(") and "SIGCONT" in line]
    key = next(index for index, line in enumerate(calls) if line.startswith("write(") and '"key"' in line)
    assert len(kills) == count
    assert len([index for index in kills if index < key]) < 1000


@pytest.mark.parametrize("option", ["--forkpty-router", "--forkpty-urouter", "--pty-socket"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_an_http_request_to_a_tcp_port_runs_no_command(
    start_router: Callable[..., Router], directory: Path, option: str, method: bytes
) -> None:
    """A web page can make a browser send requests to any port of its machine, with commands in the URL and the body."""
    proof = directory / "proof"
    router = start_router(option, "127.0.0.1:0", "--forkptyrouter-command", "/bin/sh")
    port = int(router.wait_for_log(r"listening on 127.0.0.1:(\d+)")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.send(method + f" /;touch${{IFS}}{proof} HTTP/1.1\r\nHost: a\r\n\r\ntouch {proof}\n".encode())
        assert b"HTTP/1.0 400 Bad Request\r\n\r\nfastpty: this port gives terminals" in client.read_to_end()
    router.wait_for_log("end: an HTTP request")
    assert not proof.exists()


def test_get_typed_on_a_unix_socket_is_not_taken_for_http(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        client.send(b"GET / HTTP/1.1")
        client.read_until(b"GET / HTTP/1.1")
