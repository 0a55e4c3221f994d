"""Attacks of clients and of web pages on the statistics server."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.first_steps import limit_files
from tests.support.harness import PATIENCE_SECONDS, Client, Router, children, descriptors, eventually
from tests.support.statistics import read_statistics

FILES = 60
BUSY = "fastpty: refused: too many statistics clients at a time: try again later\r\n"


def without_timeouts() -> list[str]:
    """The program of a router that drops no statistics client for being slow."""
    times = "stats._CLIENT_SECONDS = stats._PARTING_SECONDS = 1000"
    return [
        "-c",
        f"import sys; from fastpty import router; from fastpty.supervision import statistics as stats; {times}; "
        "sys.exit(router.main())",
    ]


def http_router(
    start_router: Callable[..., Router], directory: Path, *more: str, **keywords: object
) -> tuple[Router, int]:
    arguments = (f"{directory}/s", "--forkptyrouter-stats", "127.0.0.1:0", "--stats-http", *more)
    router = start_router(*arguments, sockets=2, **keywords)
    return router, int(router.wait_for_log(r"listening on 127.0.0.1:(\d+) \(stats\)")[0][1])


def answer_to(port: int, request: bytes) -> bytes:
    with Client(("127.0.0.1", port)) as client:
        client.send(request)
        return client.read_to_end()


def connect_while_stopped(router: Router, path: str, stack: ExitStack, count: int) -> list[Client]:
    """Many clients that the supervisor accepts at once."""
    os.kill(router.process.pid, signal.SIGSTOP)
    clients = [stack.enter_context(Client(path)) for _ in range(count)]
    os.kill(router.process.pid, signal.SIGCONT)
    return clients


def test_clients_of_the_statistics_leave_descriptors_for_workers(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/stats"
    router = start_router(
        f"{directory}/s", "--forkptyrouter-stats", path, "--forkptyrouter-command", "echo IN", "--listen", "200",
        sockets=2, first=limit_files(FILES),
    )  # fmt: skip
    with ExitStack() as stack:
        worker = router.pid
        os.kill(worker, signal.SIGSTOP)  # it does not answer, so all clients wait
        clients = [stack.enter_context(Client(path)) for _ in range(80)]
        assert clients[-1].read_to_end().decode() == BUSY
        assert len(descriptors(router.process.pid)) <= FILES - 16
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: children(router.process.pid) not in ([], [worker]), "another worker is there")
        with Client(f"{directory}/s") as client:
            assert client.read_to_end() == b"IN\r\n"


@pytest.mark.parametrize("http", [False, True])
def test_a_statistics_client_over_the_limit_gets_one_line(
    start_router: Callable[..., Router], directory: Path, http: bool
) -> None:
    path = f"{directory}/stats"
    arguments = ["--stats-http"] if http else []
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, "--listen", "300", *arguments, sockets=2)
    os.kill(router.pid, signal.SIGSTOP)
    with ExitStack() as stack:
        clients = connect_while_stopped(router, path, stack, 150)
        for client in clients[64:]:
            said = client.read_to_end().decode()
            assert said.startswith("HTTP/1.0 503 ") if http else said == BUSY
            assert said.endswith(BUSY)
        os.kill(router.pid, signal.SIGCONT)
        for client in clients[:64]:
            assert b'"answered": ' in client.read_to_end()


def test_a_refused_tcp_client_can_finish_its_request_and_read_the_answer(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Closing the connection at once would break it before the answer is read."""
    _, port = http_router(start_router, directory, program=without_timeouts())
    with Client(("127.0.0.1", port)) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert client.read_to_end().startswith(b"HTTP/1.0 403 ")
        for _ in range(3):
            client.send(b"x" * 2000)
            answer_to(port, b"GET / HTTP/1.0\n\n")  # by then the router has handled the first request


@pytest.mark.parametrize("http", [False, True])
def test_an_endless_request_is_read_up_to_a_limit(
    start_router: Callable[..., Router], directory: Path, http: bool
) -> None:
    arguments = ["--stats-http"] if http else []
    stats = ("--forkptyrouter-stats", "127.0.0.1:0")
    router = start_router(f"{directory}/s", *stats, *arguments, sockets=2, program=without_timeouts())
    port = int(router.wait_for_log(r"listening on 127.0.0.1:(\d+) \(stats\)")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        with pytest.raises(ConnectionError):
            send_much(client)


def send_much(client: Client) -> None:
    """More than the kernel buffers."""
    for _ in range(256):
        client.send(b"x" * 65_536)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1", 200), (b"localhost:8080", 200), (b"[::1]:80", 200), (b"pc.localhost", 200), (b"LOCALHOST.", 200),
        (b"192.0.2.7:1", 200), (b"evil.example", 403), (b"evil.example:8080", 403), (b"", 403),
        (b"localhost.evil", 403), (b"127.0.0.1.evil.example", 403), (b"[evil]", 403), (b"127.0.0.1@evil.example", 403),
    ],
)  # fmt: skip
def test_a_web_page_cannot_read_the_statistics_through_another_name_of_this_machine(
    start_router: Callable[..., Router], directory: Path, host: bytes, status: int
) -> None:
    router, port = http_router(start_router, directory)
    answer = answer_to(port, b"GET / HTTP/1.1\r\nAccept: */*\r\nHost: %s\r\n\r\n" % host)
    assert answer.startswith(b"HTTP/1.0 %d " % status)
    assert (b'"pid"' in answer) == (status == 200)
    if status == 403:
        router.wait_for_log("statistics: refused a client on 127.0.0.1:.*: the request names another host")


def test_no_web_page_of_another_site_can_read_the_statistics(
    start_router: Callable[..., Router], directory: Path
) -> None:
    _, port = http_router(start_router, directory)
    head, _, body = answer_to(port, b"GET / HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n").partition(b"\r\n\r\n")
    assert json.loads(body)["pid"]
    assert b"access-control" not in head.lower()


def test_over_tcp_no_answer_comes_before_the_request(start_router: Callable[..., Router], directory: Path) -> None:
    """A browser sends the host name that it has used."""
    _, port = http_router(start_router, directory)
    with Client(("127.0.0.1", port)) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert json.loads(answer_to(port, b"GET / HTTP/1.0\n\n").partition(b"\r\n\r\n")[2])["pid"]
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.settimeout(PATIENCE_SECONDS)
        client.send(b"Host: evil.example\r\n\r\n")
        assert client.read_to_end().startswith(b"HTTP/1.0 403 ")


def test_statistics_are_valid_json_whatever_bytes_a_path_has(
    start_router: Callable[..., Router], directory: Path
) -> None:
    place = os.fsencode(directory) + b"/\xff\xe4"
    os.mkdir(place)
    path = os.fsdecode(place + b"/s")
    start_router(path, "--chdir", os.fsdecode(place), "--forkptyrouter-stats", f"{directory}/stats", sockets=2)
    with Client(f"{directory}/stats") as client:
        text = client.read_to_end().decode("utf-8")
    found: dict[str, Any] = json.loads(text)
    assert found["forkptyrouter"] == [f"{directory}/\\xff\\xe4/s"]
    assert found["cwd"] == f"{directory}/\\xff\\xe4"
    json.dumps(found, ensure_ascii=False).encode("utf-8")  # no lone surrogates


def test_frequent_requests_do_not_make_workers_report_without_a_pause(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/stats"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, sockets=2)
    first = read_statistics(path)["uptime_seconds"]
    for _ in range(10):
        last = read_statistics(path)["uptime_seconds"]
    assert last - first >= 10 * 0.1
    assert router.end() == 0


def test_a_supervisor_without_a_descriptor_left_does_not_wait(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The test lowers the limit of descriptors, as if something else had taken them."""
    path = f"{directory}/stats"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", path, sockets=2)
    hard = resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    with Client(path) as client:
        router.wait_for_log("statistics: a client on .* was not accepted: Too many open files")
        resource.prlimit(router.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert b'"pid"' in client.read_to_end()
