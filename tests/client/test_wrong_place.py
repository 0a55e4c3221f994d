"""What the client says when it is called or pointed wrongly: one line that says what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT, receive_all, scripted_router, terminal_client
from tests.support.harness import Router
from tests.support.peers import need_root
from tests.support.tls_harness import Authority


def complaint(*arguments: str, data: bytes = b"") -> tuple[int, str]:
    """Status and complaint of a client that must not write any output."""
    ended = subprocess.run([*CLIENT, *arguments], cwd=ROOT, input=data, capture_output=True, timeout=60)
    assert ended.stdout == b""
    assert ended.stderr.count(b"\n") == 1
    return ended.returncode, ended.stderr.decode().removeprefix("fastpty: ").rstrip("\n")


# No router there


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/etc/passwd", "cannot connect to /etc/passwd: it is a regular file, not a socket"),
        ("/etc", "cannot connect to /etc: it is a directory, not a socket"),
        ("/dev/null", "cannot connect to /dev/null: it is not a socket"),
        (
            "localhost",
            "cannot connect to localhost: there is no socket of this name here "
            "(a TCP address is HOST:PORT, as localhost:4000)",
        ),
    ],
)
def test_an_address_that_is_no_socket_is_named_as_what_it_is(address: str, why: str) -> None:
    assert complaint("connect", address) == (255, why)


def test_a_socket_of_another_type_is_named_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{tmp_path}/s")
        status, why = complaint("connect", f"{tmp_path}/s")
    assert (status, why.partition(": ")[2]) == (255, "it is a socket of another type than the router's")


# The other user may not be able to read the checkout, so all modules are loaded before.
AS_ANOTHER_USER = """
import os, pwd, socket, sys
import fastpty.client.connect
from fastpty import cli
os.setgroups([])
os.setresgid(54010, 54010, 54010)
os.setresuid(54010, 54010, 54010)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_socket_of_another_user_is_named_with_its_owner_and_mode(directory: Path) -> None:
    need_root()
    path = f"{directory}/s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        os.chmod(path, 0o600)
        client = [sys.executable, "-c", AS_ANOTHER_USER, "connect", path]
        ended = subprocess.run(client, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.stderr == (
        f"fastpty: cannot connect to {path}: permission denied: the socket belongs to root (uid 0) and has mode 0600\n"
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["/tmp/fpty.socket"], "did you mean fastpty connect /tmp/fpty.socket?"),
        (["host:4000"], "did you mean fastpty connect host:4000?"),
        (["@jail"], "did you mean fastpty connect @jail?"),
        (["conect", "x"], "did you mean connect?"),
        (["connect", "--uwsg", "x"], "unknown option --uwsg: did you mean --uwsgi?"),
        (["connect", "--tls-crt", "f", "x"], "did you mean --tls-cert?"),
        (["--pty-conect", "x"], "did you mean --pty-connect?"),
        (["connect", "--connect-timeout", "soon", "x"], "'soon' is not a number of seconds"),
        (["connect", "x", "y"], "one address at a time, not x y"),
    ],
)
def test_a_slip_on_the_command_line_gets_a_hint(arguments: list[str], hint: str) -> None:
    status, why = complaint(*arguments)
    assert status == 2
    assert hint in why


# A router that does not answer


@pytest.mark.parametrize("abstract", [False, True])
def test_a_stopped_router_is_reported_within_the_timeout(
    start_router: Callable[..., Router], directory: Path, abstract: bool
) -> None:
    address = f"@{directory}/s" if abstract else f"{directory}/s"
    router = start_router(address, "--forkptyrouter-command", "/bin/cat")
    stopped = [router.process.pid, *router.workers]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        ended = complaint("connect", "--connect-timeout", "0.3", address)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert ended == (255, f"{address}: the router does not accept the connection: it is stopped, or it hangs")


def test_a_full_queue_of_connections_is_reported_within_the_timeout(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(path)
        server.listen(0)
        first.connect(path)
        ended = complaint("connect", "--connect-timeout", "0.2", path)
    assert ended == (
        255,
        f"cannot connect to {path}: the router does not accept connections: is it stopped or overloaded?",
    )


def test_a_program_that_says_nothing_is_not_taken_for_a_stopped_router(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", "stty -echo; sleep 1; echo woke")
    command = [*CLIENT, "connect", "-n", "--connect-timeout", "0.2", f"{directory}/s"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"woke\r\n", b"")


# The wrong protocol


def test_a_uwsgi_client_on_a_raw_socket_says_so_and_leaves(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s")
    with terminal_client("connect", "--protocol", "uwsgi", f"{directory}/s") as client:
        assert client.wait() == 255
        assert f"fastpty: {directory}/s speaks the raw protocol: connect without --uwsgi\r\n".encode() in client.shown
    router.wait_for_log("session 1: end: ")


def test_a_plain_client_on_a_tls_port_says_so(tmp_path: Path) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x46"

    def refuse(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(alert)

    with scripted_router(tmp_path, tcp=True) as router, router.playing(refuse):
        address = router.address
        ended = complaint("connect", address, data=b"ls\n")
    assert ended == (255, f"{address} speaks TLS: give --tls-cert, --tls-key and --tls-ca")


def test_a_tls_client_on_a_plain_port_says_so(tmp_path: Path, authority: Authority) -> None:
    def prompt(peer: socket.socket) -> None:
        peer.sendall(b"root@jail:/# ")
        receive_all(peer)

    with scripted_router(tmp_path, tcp=True) as router, router.playing(prompt):
        port = router.address.rpartition(":")[2]
        ended = complaint("connect", *authority.options("alice"), f"localhost:{port}")
    assert ended == (
        255,
        f"localhost:{port} does not speak TLS: connect without --tls-cert, --tls-key and --tls-ca",
    )


def test_bytes_like_a_tls_alert_from_a_local_program_are_output(tmp_path: Path) -> None:
    def part(peer: socket.socket) -> None:
        peer.sendall(b"\x15\x03\x03\x00\x02\x02\x46")
        receive_all(peer)

    with scripted_router(tmp_path) as router, router.playing(part):
        ended = subprocess.run([*CLIENT, "connect", "-n", router.address], cwd=ROOT, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"\x15\x03\x03\x00\x02\x02\x46")
