"""The statistics server: uWSGI's keys, fastpty's own, and clients that do not read."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient
from tests.support.harness import PATIENCE_SECONDS, RAW_CAT, Client, Router, children, eventually
from tests.support.peers import need
from tests.support.statistics import ask, read_statistics


def test_the_keys_of_real_uwsgi_are_there_with_values_of_the_same_kind(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s", "--forkpty-urouter", f"{directory}/u", "--forkptyrouter-stats", f"{directory}/ours",
        sockets=3,
    )  # fmt: skip
    real = subprocess.Popen(
        [need("uwsgi"), "--master", "--die-on-term", "--plugins", "corerouter,forkptyrouter",
         "--forkptyrouter", f"{directory}/real", "--forkptyrouter-stats", f"{directory}/theirs"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: Path(f"{directory}/theirs").exists(), "uWSGI listens")
        theirs = read_statistics(f"{directory}/theirs")
    finally:
        real.terminate()
        real.wait(PATIENCE_SECONDS)
    ours = read_statistics(f"{directory}/ours")
    assert set(theirs) <= set(ours)
    assert {key: type(value) for key, value in theirs.items()} == {key: type(ours[key]) for key in theirs}
    assert ours["forkptyrouter"] == [f"{directory}/s", f"{directory}/u"]
    assert (ours["pid"], ours["uid"], ours["cwd"]) == (router.process.pid, os.getuid(), os.getcwd())


def test_statistics_list_every_session_of_every_worker(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(
        f"{directory}/s", "--forkptyrouter-workers", "3", "--forkptyrouter-ss", f"{directory}/stats",
        "--forkptyrouter-command", RAW_CAT, sockets=2,
    )  # fmt: skip
    router.wait_for_log("ready$", 3)
    clients = [Client(f"{directory}/s") for _ in range(6)]
    for client in clients:
        client.read_until(b"READY")
    clients[0].send(b"x" * 1000)
    clients[0].read_exactly(1000)
    stats = read_statistics(f"{directory}/stats")
    workers = stats["workers"]
    assert sorted(worker["pid"] for worker in workers) == sorted(router.workers)
    assert all(worker["answered"] and not worker["draining"] for worker in workers)
    assert stats["active_sessions"] == sum(worker["active_sessions"] for worker in workers) == 6
    assert sum(worker["accepted"] for worker in workers) == 6
    for worker in workers:
        assert sorted(session["pid"] for session in worker["sessions"]) == sorted(children(worker["pid"]))
    moved = sorted(
        (session["bytes_in"], session["bytes_out"]) for worker in workers for session in worker["sessions"]
    )
    assert moved == [(0, 5)] * 5 + [(1000, 1005)]
    assert sum(worker["bytes_in"] for worker in workers) == 1000
    for client in clients:
        client.socket.close()
    eventually(lambda: read_statistics(f"{directory}/stats")["active_sessions"] == 0, "all sessions have ended")
    stats = read_statistics(f"{directory}/stats")
    assert sum(worker["bytes_out"] for worker in stats["workers"]) == 6 * 5 + 1000
    assert all(worker["sessions"] == [] for worker in stats["workers"])


def test_stats_http_adds_http_headers_to_the_same_statistics(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-stats-server", f"{directory}/stats", "--stats-http", sockets=2)
    head, _, body = ask(f"{directory}/stats", b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["active_sessions"] == 0


def test_statistics_clients_that_do_not_read_delay_nobody(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Their connections buffer less than one answer."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        place = listener.getsockname()
        router = start_router(
            f"{directory}/s", "--forkptyrouter-stats", f"fd://{listener.fileno()}", "--forkptyrouter-stats",
            f"{directory}/stats", "--forkptyrouter-command", RAW_CAT, sockets=3, pass_fds=[listener.fileno()],
        )  # fmt: skip
    sessions = [Client(f"{directory}/s") for _ in range(60)]
    for client in sessions:
        client.read_until(b"READY")
    deaf = []
    for _ in range(30):
        deaf.append(socket.socket())
        deaf[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf[-1].connect(place)
    assert len(ask(f"{directory}/stats")) > 10_000
    for client in sessions:
        client.send(b"key")
        client.read_until(b"key")
    assert read_statistics(f"{directory}/stats")["active_sessions"] == 60
    for connection in (*deaf, *(client.socket for client in sessions)):
        connection.close()
    assert router.end() == 0


def test_a_worker_that_does_not_answer_is_listed_as_such(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s", "--forkptyrouter-workers", "2", "--forkptyrouter-stats", f"{directory}/stats", sockets=2
    )
    router.wait_for_log("ready$", 2)
    silent, talking = router.workers
    os.kill(silent, signal.SIGSTOP)
    try:
        answered = {worker["pid"]: worker["answered"] for worker in read_statistics(f"{directory}/stats")["workers"]}
    finally:
        os.kill(silent, signal.SIGCONT)
    assert answered == {silent: False, talking: True}
    eventually(
        lambda: all(worker["answered"] for worker in read_statistics(f"{directory}/stats")["workers"]),
        "it answers again",
    )


def test_sigusr1_puts_the_statistics_into_the_log(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        router.process.send_signal(signal.SIGUSR1)
        router.wait_for_log("statistics: 1 workers, 0 draining, 1 sessions$")
        (line,) = router.wait_for_log("statistics: sessions .*")
        assert re.search("sessions 1, accepted 1, bytes_in 0, bytes_out 5, ", line[0])


def test_statistics_go_on_over_a_reload(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(
        f"{directory}/s", "--forkptyrouter-stats", f"{directory}/stats", "--forkptyrouter-command", RAW_CAT, sockets=2
    )
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for_log("reloaded")
        stats = read_statistics(f"{directory}/stats")
    assert [(worker["draining"], worker["active_sessions"]) for worker in stats["workers"]] == [(True, 1), (False, 0)]


def test_statistics_say_who_is_in_a_session_and_what_it_runs(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(
        "--forkpty-urouter", f"{directory}/u", "--forkptyrouter-stats", f"{directory}/stats", "--pty-socket",
        f"{directory}/p", "--forkptyrouter-command", RAW_CAT, sockets=3,
    )  # fmt: skip
    with Client(f"{directory}/u") as client, Client(f"{directory}/p") as viewer:
        client.frame(100, 50)
        client.frame(101, 132)
        client.read_until(b"READY")
        viewer.read_until(b"READY")
        (worker,) = read_statistics(f"{directory}/stats")["workers"]
        pids = [session["pid"] for session in worker["sessions"] if session["pid"]]
        terminals = {pid: os.readlink(f"/proc/{pid}/fd/0") for pid in pids}
    sessions = {(session["protocol"], session["shared"]): session for session in worker["sessions"]}
    assert set(sessions) == {("uwsgi", None), ("pty", "viewer"), (None, "program")}
    private, program = sessions["uwsgi", None], sessions[None, "program"]
    assert (private["uid"], private["user"]) == (os.geteuid(), pwd.getpwuid(os.geteuid()).pw_name)
    assert (private["client_pid"], private["listener"]) == (os.getpid(), f"{directory}/u")
    assert (private["rows"], private["cols"], private["command"]) == (50, 132, RAW_CAT)
    for session in (private, program):
        assert terminals[session["pid"]] == f"/dev/{session['tty']}"
    assert (program["uid"], program["client_pid"], program["command"]) == (None, None, RAW_CAT)


def test_statistics_name_the_protocol_that_the_client_speaks(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """It negotiates fastpty's own on a socket of another protocol."""
    start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-stats", f"{directory}/stats", sockets=2)
    with ExtensionClient(f"{directory}/u") as client:
        client.execute("cat")
        client.read_until(extension.STARTED)
        ((session,),) = [worker["sessions"] for worker in read_statistics(f"{directory}/stats")["workers"]]
    assert (session["protocol"], session["listener"], session["exec"]) == ("fpty", f"{directory}/u", True)


def test_no_session_number_is_used_twice_over_all_workers_and_reloads(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-workers", "3", "--forkptyrouter-command", RAW_CAT)
    router.wait_for_log("ready$", 3)
    clients = []
    for reloads in (1, 2):
        for _ in range(6):
            clients.append(Client(f"{directory}/s"))
            clients[-1].read_until(b"READY")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for_log(r"\] reloaded", reloads)
    for client in clients:
        client.socket.close()
    starts = router.wait_for_log(r"\[(\d+)\] session (\d+): start", 12)
    assert sorted(int(line[2]) for line in starts) == list(range(1, 13))
    assert len({line[1] for line in starts}) > 1
