"""Limits: a client over the limit gets one clear line and is disconnected."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import ROOT
from tests.conftest import Service
from tests.support.accounts import talk_as
from tests.support.client_harness import CLIENT
from tests.support.harness import Client, Router, eventually, fill, process_gone, run
from tests.support.peers import need_root
from tests.support.programs import broken_program
from tests.support.tls_harness import Authority

TIMES = (
    "forkptyrouter-timeout",
    "session-lifetime",
    "greeting-timeout",
    "stop-timeout",
    "idle",
    "forkptyrouter-harakiri",
)
HELLO = "stty -echo; printf READY; exec cat"


def take(path: str, count: int) -> list[Client]:
    """This many clients whose sessions have started."""
    clients = [Client(path) for _ in range(count)]
    for client in clients:
        client.read_until(b"READY")
    return clients


def close(clients: list[Client]) -> None:
    for client in clients:
        client.socket.close()


def said_by(path: str) -> bytes:
    with Client(path) as client:
        return client.read_to_end()


OVER = b"fastpty: refused: the limit of 3 sessions is reached: try again later\r\n"


@pytest.mark.parametrize("workers", [1, 3])
def test_max_sessions_holds_over_all_workers_and_a_freed_place_is_reused(
    start_router: Callable[..., Router], directory: Path, workers: int
) -> None:
    path = f"{directory}/s"
    router = start_router(
        "--max-sessions", "3", "--forkptyrouter-processes", str(workers), "--forkptyrouter-command", HELLO, path
    )
    clients = take(path, 3)
    for _ in range(2 * workers):
        assert said_by(path) == OVER
    router.wait_for_log("refused pid .* the limit of 3 sessions is reached", 2 * workers)
    clients.pop().socket.close()
    router.wait_for_log("end: client left")
    clients += take(path, 1)
    assert said_by(path) == OVER
    close(clients)


def test_a_killed_worker_gives_its_places_back(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    router = start_router(
        "--max-sessions", "3", "--forkptyrouter-processes", "2", "--forkptyrouter-command", HELLO, path
    )
    clients = take(path, 3)
    workers = {int(match[1]) for match in router.wait_for_log(r"\[(\d+)\] session \d+: start", 3)}
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    router.wait_for_log("worker .* has ended", len(workers))
    eventually(lambda: all(process_gone(worker) for worker in workers), "the workers have ended")
    clients += take(path, 3)
    assert said_by(path) == OVER
    close(clients)


def test_max_sessions_per_uid_counts_each_user_alone(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path = f"{directory}/s"
    start_router("--chmod-socket=666", "--max-sessions-per-uid", "2", "--forkptyrouter-command", HELLO, path)
    clients = take(path, 2)
    refusal = b"fastpty: refused: the limit of 2 sessions for your user is reached: try again later\r\n"
    assert said_by(path) == refusal
    assert "READY" in talk_as(path, 54_001, 54_001, text="x\n\x04")
    clients.pop().socket.close()
    clients += take_one_more(path, refusal)
    close(clients)


def take_one_more(path: str, refusal: bytes) -> list[Client]:
    """A client of a new session, once the session just left has ended."""
    found: list[Client] = []

    def begun() -> bool:
        client = Client(path)
        first = client.socket.recv(7)
        if first.startswith(b"READY"):
            found.append(client)
            return True
        assert refusal.startswith(first)
        client.socket.close()
        return False

    eventually(begun, "a session begins")
    return found


def test_a_client_refused_by_its_user_s_limit_takes_no_place_from_others(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    limits = ("--max-sessions", "2", "--max-sessions-per-uid", "1")
    start_router("--chmod-socket=666", *limits, "--forkptyrouter-command", HELLO, path)
    with Client(path) as client:
        client.read_until(b"READY")
        for _ in range(3):
            assert b"the limit of 1 session for your user is reached" in said_by(path)
        assert "READY" in talk_as(path, 54_001, 54_001, text="x\n\x04")


def test_a_program_that_cannot_start_takes_no_place(start_router: Callable[..., Router], directory: Path) -> None:
    program = broken_program(directory)
    start_router("--max-sessions", "1", "--forkptyrouter-command", program, f"{directory}/s")
    for _ in range(3):
        assert b"cannot execute" in said_by(f"{directory}/s")


def test_a_session_ends_when_its_lifetime_is_over_even_if_it_is_used(serve: Callable[..., Service]) -> None:
    service = serve("--session-lifetime", "0.3", command="for _ in $(seq 500); do printf x; sleep 0.02; done")
    with service.connect() as client:
        assert client.read_to_end().endswith(b"\r\nfastpty: the session's time is over\r\n")
    service.router.wait_for_log("session 1: end: lifetime over, killed by SIGHUP")
    service.wait_until_idle()


def test_an_idle_session_ends_with_a_message(serve: Callable[..., Service]) -> None:
    service = serve("--forkptyrouter-timeout", "0.3", command="printf READY; exec sleep 1000")
    with service.connect() as client:
        assert client.read_to_end() == b"READY\r\nfastpty: the session was idle for too long\r\n"
    service.router.wait_for_log("session 1: end: idle, killed by SIGHUP")


def test_a_uwsgi_client_that_sends_nothing_is_disconnected_and_another_is_not(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/u"
    router = start_router(
        "--forkpty-urouter", path, "--greeting-timeout", "0.3", "--forkptyrouter-command", HELLO
    )  # fmt: skip
    with Client(path) as polite, Client(path) as silent:
        polite.frame(100, 40)
        assert silent.read_to_end() == b"READY\r\nfastpty: no input arrived in time\r\n"
        router.wait_for_log("session 2: end: sent nothing")
        polite.frame(0, payload=b"still here\n")
        polite.read_until(b"still here")


def test_the_longest_timeouts_work(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    times = [argument for name in TIMES for argument in (f"--{name}", "1000000000")]
    router = start_router("--forkpty-urouter", path, *times, "--forkptyrouter-command", HELLO)
    with Client(path) as client:
        client.read_until(b"READY")
        client.frame(0, payload=b"still here\n")
        client.read_until(b"still here")
    router.wait_for_log("session 1: end: client left")
    assert router.end() == 0


def test_more_sockets_than_a_relay_can_watch_are_refused(
    start_router: Callable[..., Router], directory: Path
) -> None:
    paths = [f"{directory}/{number}" for number in range(65)]
    start_router(*(f"--listen-raw={path}" for path in paths[:64]), "--command", "echo IN", sockets=64)
    assert {said_by(path) for path in paths[:64]} == {b"IN\r\n"}
    ended = run(*(f"--listen-raw={path}" for path in paths))
    assert ended.stderr == "fastpty-router: 65 sockets for sessions are too many: the limit is 64\n"
    assert ended.returncode == 2


def test_greeting_timeout_does_not_apply_to_raw_clients(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(
        f"{directory}/raw", "--forkpty-urouter", f"{directory}/u", "--greeting-timeout", "0.3",
        "--forkptyrouter-command", HELLO, sockets=2,
    )  # fmt: skip
    with Client(f"{directory}/raw") as raw, Client(f"{directory}/u") as framed:
        framed.read_to_end()
        raw.read_until(b"READY")
        raw.send(b"still here\n")
        raw.read_until(b"still here")


def test_clear_env_leaves_path_and_term_and_what_is_set(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(
        "--clear-env", "--env", "A=1", "--env", "B=2", "--unenv", "B", "--forkptyrouter-command", "/usr/bin/env",
        f"{directory}/s", env={"SECRET": "1"},
    )  # fmt: skip
    assert sorted(said_by(f"{directory}/s").split()) == [
        b"A=1",
        b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        b"TERM=xterm-256color",
    ]


@pytest.mark.parametrize(("arguments", "word"), [([], b"0"), (["--no-new-privs"], b"1")])
def test_no_new_privs_is_set_where_asked(
    start_router: Callable[..., Router], directory: Path, arguments: list[str], word: bytes
) -> None:
    start_router(*arguments, "--forkptyrouter-command", "grep ^NoNewPrivs /proc/self/status", f"{directory}/s")
    assert said_by(f"{directory}/s").split() == [b"NoNewPrivs:", word]


def test_session_buffer_limits_how_much_input_a_session_holds(
    start_router: Callable[..., Router], protocol: str, directory: Path
) -> None:
    """If the program does not read. The kernel's own buffers hold the same in both cases."""
    taken = {}
    for size in ("4K", "64K"):
        place = directory / size
        place.mkdir()
        idle = "stty raw -echo; printf READY; exec sleep 1000"
        service = Service(
            start_router, protocol, place, "--session-buffer", size, "--forkptyrouter-command", idle
        )  # fmt: skip
        with service.connect() as client:
            client.read_until(b"READY")
            os.kill(service.router.pid, signal.SIGSTOP)  # its first read shall find all
            before = fill(client, service.framed)
            os.kill(service.router.pid, signal.SIGCONT)
            taken[size] = fill(client, service.framed, before) - before
    assert taken["64K"] - taken["4K"] > 20_000


def test_listen_limits_how_many_connections_wait_to_be_accepted(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router("--listen", "5", "--forkptyrouter-command", HELLO, f"{directory}/s")
    os.kill(router.pid, signal.SIGSTOP)
    clients: list[socket.socket] = []
    with ExitStack() as stack:
        while not clients or clients[-1].connect_ex(f"{directory}/s") == 0:
            clients.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            clients[-1].setblocking(False)
        os.kill(router.pid, signal.SIGCONT)
        refused = clients.pop()
        assert len(clients) == 6, "the kernel lets one more wait than listen(2) asks for"
        for client in clients:
            client.settimeout(30)
            assert client.recv(5) == b"READY"
        refused.settimeout(30)
        refused.connect(f"{directory}/s")
        assert refused.recv(5) == b"READY"


def waiting_for_accept(port: int) -> int:
    """How many connections wait in the listen queue of this port (proc(5))."""
    pattern = rf"^ *\d+: [0-9A-F]+:{port:04X} 00000000:0000 0A [0-9A-F]+:([0-9A-F]+)"
    return int(re.findall(pattern, Path("/proc/net/tcp").read_text(), re.MULTILINE)[0], 16)


def test_max_startups_limits_tls_handshakes_at_a_time_and_waiting_clients_are_served(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = tls_router("--max-startups", "2", "--forkptyrouter-command", "echo IN")
    with ExitStack() as silent:
        for _ in range(5):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        eventually(lambda: waiting_for_accept(port) == 3, "all but two wait")
        command = [*CLIENT, "connect", *authority.options("alice"), f"localhost:{port}"]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as polite:
            eventually(lambda: waiting_for_accept(port) == 4, "one more waits")
            silent.close()
            assert polite.communicate(timeout=60)[0] == b"IN\r\n"
