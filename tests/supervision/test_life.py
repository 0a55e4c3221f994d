"""What becomes of a router's sessions and sockets when it is reloaded, killed, stopped and hurt in other ways."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.harness import Client, Router, eventually, process_gone, state
from tests.support.peers import preload
from tests.support.reloads import ECHO, STUCK_ACCEPT, configured, echoes, greeted, reload
from tests.support.tracing import traced

# -- reload --


def test_a_reload_is_for_new_sessions_and_the_old_ones_go_on(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    ini = configured(directory / "r.ini", path)
    router = start_router(ini)
    old_worker = router.pid
    with greeted(path, "old") as old:
        configured(directory / "r.ini", path, word="new")
        reload(router)
        with greeted(path, "new") as new:
            echoes(old)
            echoes(new)
            assert len(router.workers) == 2
        old.send(b"\x04")
        old.read_to_end()
    eventually(lambda: process_gone(old_worker), "the draining worker ends with its last session")
    router.wait_for_log("session 1: end: exit, ")
    assert "has ended" not in router.log


def test_a_draining_worker_is_stopped_as_the_others_are(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    with greeted(path, "old") as old:
        reload(router)
        with greeted(path, "old"):
            workers = router.workers
            assert router.end() == 0
            old.read_to_end()
    assert all(process_gone(pid) for pid in workers)


def test_no_connection_is_refused_in_10_000_during_20_reloads(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Each is accepted, too: a program that exits at once ends it."""
    path = f"{directory}/s"
    router = start_router(
        path, "--forkptyrouter-command", "/bin/true", "--listen", "1000", "--forkptyrouter-workers=2"
    )
    failures: list[OSError] = []
    told: list[bytes] = []

    def connect(count: int) -> None:
        for number in range(count):
            try:
                with Client(path) as client:
                    if number % 10 == 0:
                        told.append(client.read_to_end())
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=connect, args=(2500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in range(1, 21):
        reload(router, count)
    for thread in threads:
        thread.join()
    assert (failures, set(told)) == ([], {b""})
    eventually(lambda: len(router.workers) == 2, "the draining workers end")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("forkptyrouter-rows = abc", "r.ini:4: forkptyrouter-rows: 'abc' is not a whole number"),
        ("forkpty-router = /no/such/directory/s", "cannot listen on /no/such/directory/s"),
    ],
)
def test_a_wrong_configuration_is_refused_and_the_old_one_goes_on(
    start_router: Callable[..., Router], directory: Path, line: str, words: str
) -> None:
    path = f"{directory}/s"
    ini = configured(directory / "r.ini", path)
    router = start_router(ini)
    worker = router.pid
    configured(directory / "r.ini", path, line, word="new")
    router.process.send_signal(signal.SIGHUP)
    (refused,) = router.wait_for_log("not reloaded, the old configuration goes on: (.*)")
    assert words in refused[1]
    with greeted(path, "old") as client:
        echoes(client)
    assert router.workers == [worker]


def test_addresses_come_and_go_with_a_reload(start_router: Callable[..., Router], directory: Path) -> None:
    kept, gone, new = (f"{directory}/{name}" for name in ("kept", "gone", "new"))
    ini = configured(directory / "r.ini", kept, f"forkpty-router = {gone}")
    router = start_router(ini, sockets=2)
    identity = os.stat(kept).st_ino
    with greeted(gone, "old") as old:
        configured(directory / "r.ini", kept, f"forkpty-urouter = {new}", word="new")
        reload(router)
        assert not Path(gone).exists()
        assert os.stat(kept).st_ino == identity
        for path in (kept, new):
            greeted(path, "new").socket.close()
        echoes(old)


def test_a_removed_socket_file_costs_no_session_and_comes_back_with_a_reload(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    with greeted(path, "old") as old:
        os.unlink(path)
        echoes(old)
        reload(router)
        with greeted(path, "old"):
            echoes(old)


def test_a_terminal_that_closes_stops_a_router_in_its_foreground(directory: Path) -> None:
    """The kernel's SIGHUP is not somebody's: whoever closes the window does not mean a reload."""
    pid, master = os.forkpty()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "fastpty.router", f"{directory}/s"])
    shown = b""
    while b"ready" not in shown:
        shown += os.read(master, 65536)
    os.close(master)
    eventually(lambda: process_gone(pid), "the router has stopped")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not Path(f"{directory}/s").exists()


# -- cheap, idle, harakiri --


def test_a_cheap_router_starts_no_worker_until_the_first_connection(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-cheap", "--forkptyrouter-command", ECHO.format("hi"))
    assert router.workers == []
    clients = [greeted(f"{directory}/s", "hi") for _ in range(3)]
    assert len(router.workers) == 1
    for client in clients:
        client.socket.close()


def test_an_idle_router_ends_its_workers_and_starts_them_again(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s",
        "--idle",
        "0.3",
        "--forkptyrouter-workers",
        "2",
        "--forkptyrouter-command",
        ECHO.format("hi"),
    )
    for count in (1, 2, 3):
        with greeted(f"{directory}/s", "hi") as client:
            asleep = len([line for line in router.lines if "until somebody connects" in line])
            select_nothing(1.5)
            echoes(client)
            assert len([line for line in router.lines if "until somebody connects" in line]) == asleep
        router.wait_for_log("no worker until somebody connects", count)
        eventually(lambda: router.workers == [], "no worker is left")


def select_nothing(seconds: float) -> None:
    """Gives something time that must not happen."""
    signal.sigtimedwait([], seconds)


def test_a_worker_stuck_in_one_turn_is_killed_and_replaced(
    start_router: Callable[..., Router], directory: Path
) -> None:
    stuck = directory / "stuck"
    shim = preload(directory, STUCK_ACCEPT, f'STUCK="{stuck}"')
    router = start_router(
        f"{directory}/s", "--forkptyrouter-harakiri", "1", "--forkptyrouter-command", ECHO.format("hi"), env=shim
    )
    with greeted(f"{directory}/s", "hi") as client:
        select_nothing(1.5)
        echoes(client)  # waiting is not being stuck
        worker = router.pid
        stuck.touch()
        with Client(f"{directory}/s") as another:
            router.wait_for_log(f"worker {worker} is stuck for 1 s: killed")
            stuck.unlink()
            router.wait_for_log(f"worker {worker} has ended .killed by SIGKILL.; another one starts")
            client.read_to_end()
            another.socket.close()
    with greeted(f"{directory}/s", "hi"):
        pass


def test_a_router_that_was_stopped_and_continued_goes_on(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Nobody takes its workers for stuck or idle because time has passed."""
    router = start_router(
        f"{directory}/s", "--forkptyrouter-harakiri=1", "--forkptyrouter-command", ECHO.format("hi")
    )
    with greeted(f"{directory}/s", "hi") as client:
        worker = router.pid
        everybody = [router.process.pid, worker]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: all(state(pid) == "T" for pid in everybody), "all are stopped")
        client.send(b"sent meanwhile\n")
        select_nothing(1.5)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        client.read_until(b"sent meanwhile\r\n")
        select_nothing(1.5)
        echoes(client)
        assert router.workers == [worker]


def test_a_router_without_work_wakes_nobody(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    everybody = [router.process.pid, router.pid]
    eventually(lambda: all(state(pid) == "S" for pid in everybody), "all rest")
    before = [switches(pid) for pid in everybody]
    select_nothing(1.0)
    assert [switches(pid) for pid in everybody] == before


def switches(pid: int) -> list[str]:
    """How often a process has gone to sleep."""
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("voluntary")]


def test_events_bounds_what_one_turn_takes_and_nothing_is_lost(
    start_router: Callable[..., Router], directory: Path
) -> None:
    events = ("--forkptyrouter-events", "3")
    router = start_router(f"{directory}/s", *events, "--forkptyrouter-command", ECHO.format("hi"))
    clients = [greeted(f"{directory}/s", "hi") for _ in range(8)]
    with traced(router, directory / "calls"):
        for client in clients:
            client.send(b"one\ntwo\n")
        for client in clients:
            client.read_until(b"one\r\ntwo\r\n")
            client.socket.close()
    bounds = re.findall(r"epoll_wait\(.*, (\d+), -?\d+\) += ", (directory / "calls").read_text())
    assert set(bounds) == {"3"}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--forkptyrouter-fallback=/tmp/x", "start a second router"),
        ("--forkptyrouter-zerg=/tmp/x", "fd://N"),
        ("--forkptyrouter-events=0", "from 1 to 1024"),
        ("--forkptyrouter-events=1025", "from 1 to 1024"),
        ("--forkptyrouter-harakiri=0", "at least 1 second"),
        ("--idle=x", "seconds"),
    ],
)
def test_what_cannot_be_is_told(directory: Path, flag: str, words: str) -> None:
    ini = directory / "r.ini"
    name, _, value = flag.removeprefix("--").partition("=")
    ini.write_text(f"[uwsgi]\nforkpty-router = {directory}/s\n{name} = {value}\n")
    for arguments, where in (([flag, f"{directory}/s"], flag.partition("=")[0]), ([str(ini)], f"{ini}:3: {name}")):
        ended = subprocess.run(
            [sys.executable, "-m", "fastpty.router", *arguments], capture_output=True, text=True, timeout=30
        )
        assert ended.returncode == 2
        assert where in ended.stderr
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1


# -- addresses --


def test_a_shared_socket_is_meant_by_its_number(start_router: Callable[..., Router], directory: Path) -> None:
    first, second = f"{directory}/first", f"{directory}/second"
    start_router(
        "--shared-socket", first, "--shared-socket", second, "--forkpty-router", "=1", "--forkptyrouter-command",
        ECHO.format("hi"),
    )  # fmt: skip
    with greeted(second, "hi") as client:
        echoes(client)


def test_two_routers_share_a_port_with_reuse_port(start_router: Callable[..., Router], directory: Path) -> None:
    arguments = ("--reuse-port", "--forkptyrouter-command")
    first = start_router("127.0.0.1:0", *arguments, "echo first")
    port = int(first.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    start_router(f"127.0.0.1:{port}", *arguments, "echo second")
    answers = set()

    def both() -> bool:
        with Client(("127.0.0.1", port)) as client:
            answers.add(client.read_to_end())
        return len(answers) == 2

    eventually(both, "both answer")


def test_a_tcp_port_is_free_for_a_new_router_when_its_supervisor_is_killed(
    start_router: Callable[..., Router],
) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", ECHO.format("old"))
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client(("127.0.0.1", port)) as old:
        old.read_until(b"old\r\n")
        router.kill_supervisor()
        start_router(f"127.0.0.1:{port}", "--forkptyrouter-command", ECHO.format("new"))
        with Client(("127.0.0.1", port)) as new:
            new.read_until(b"new\r\n")
            echoes(old)


@contextmanager
def in_group_of(leader: int) -> Iterator[int]:
    """Keeps a child in this process group. The kernel would continue a stopped group that no other one is parent of."""
    with subprocess.Popen(["sleep", "1000"], process_group=leader) as member:
        try:
            yield leader
        finally:
            member.kill()


SAYS_THAT_AN_ADDRESS_IS_IN_USE = """
import sys
from pathlib import Path
from fastpty import router
from fastpty.listening import bind

class InUse(bind.AddressInUseError):
    def __init__(self, text):
        super().__init__(text)
        Path({!r}).touch()

bind.AddressInUseError = InUse
sys.exit(router.main())
"""


def test_a_new_router_waits_for_the_workers_of_a_killed_one_to_let_go(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """They need the CPU for that, as a stopped one shows."""
    path = f"{directory}/s"
    router = start_router(path, "--forkptyrouter-command", ECHO.format("old"))
    with greeted(path, "old") as old, in_group_of(router.pid) as worker:
        os.kill(worker, signal.SIGSTOP)
        router.kill_supervisor()
        found = directory / "found"

        def go_on() -> None:
            eventually(found.exists, "the new router has found that somebody listens")
            os.kill(worker, signal.SIGCONT)

        going_on = threading.Thread(target=go_on)
        going_on.start()
        program = ("-c", SAYS_THAT_AN_ADDRESS_IS_IN_USE.format(str(found)))
        start_router(path, "--forkptyrouter-command", ECHO.format("new"), program=program)
        with greeted(path, "new"):
            echoes(old)
        going_on.join()
