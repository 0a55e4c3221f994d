"""Messages of the client about wrong arguments and addresses: one line that says what to do."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT, piped_client, receive_all, scripted_router, terminal_client
from tests.support.harness import Router, eventually
from tests.support.peers import need, need_root
from tests.support.real_uwsgi import RealRouter
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


def test_a_byte_of_a_name_that_is_not_utf_8_is_shown_as_its_number() -> None:
    why = r"cannot connect to /no/caf\xc3: no such socket: is the router running?"
    assert complaint("connect", os.fsdecode(b"/no/caf\xc3")) == (255, why)


def test_a_socket_of_another_type_is_named_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{tmp_path}/s")
        status, why = complaint("connect", f"{tmp_path}/s")
    assert (status, why.partition(": ")[2]) == (255, "it is a socket of another type than the router's")


# The other user may not be able to read the checkout, so all modules are loaded before.
AS_ANOTHER_USER = """
import os, pwd, socket, sys
import fastpty.client.attach, fastpty.client.connect
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


def test_no_other_user_can_make_a_silent_session_look_like_a_stopped_router(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A socket's name may have a line end in it, and then forges a line of /proc/net/unix."""
    path = f"{directory}/s"
    start_router(path, "--forkptyrouter-command", "stty -echo; sleep 1; echo woke")
    forged = f"\n0: 2 0 0 0001 02 1 {path}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0{os.getpid()}{forged}")
        assert forged.encode() in Path("/proc/net/unix").read_bytes()
        command = [*CLIENT, "connect", "-n", "--connect-timeout", "0.2", path]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"woke\r\n", b"")


def test_where_the_kernel_does_not_tell_a_session_goes_on(tmp_path: Path) -> None:
    """In a container without sock_diag, for example."""
    path, trace = f"{tmp_path}/s", tmp_path / "trace"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        options = ["-qq", "-o", str(trace), "-e", "trace=socket", "-e", "inject=socket:error=EPERM:when=2"]
        command = [need("strace"), *options, *CLIENT]
        with piped_client("connect", "--connect-timeout", "0.2", path, command=command) as client:
            eventually(lambda: trace.exists() and "AF_NETLINK" in trace.read_text(), "the kernel was asked")
            with server.accept()[0] as peer:
                peer.sendall(b"late\n")
            assert client.communicate(timeout=60) == (b"late\n", b"")


def test_a_tls_server_that_does_not_answer_is_reported_within_the_timeout(
    tmp_path: Path, authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        ended = complaint("connect", "--connect-timeout", "0.3", *authority.options("alice"), address)
    assert ended == (255, f"{address}: no answer in TLS in time: is this a router's TLS address?")


def test_a_tls_server_that_sends_a_byte_at_a_time_is_reported_within_the_timeout(
    tmp_path: Path, authority: Authority
) -> None:
    def trickle(peer: socket.socket) -> None:
        # A record of 16 KiB, the beginning of a handshake.
        with suppress(ConnectionError):  # the client has left
            for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(16380):
                if select.select([peer], [], [], 0.05)[0] and len(peer.recv(65536)) == 0:
                    return
                peer.send(bytes([byte]))

    with scripted_router(tmp_path, tcp=True) as router, router.playing(trickle):
        address = f"localhost:{router.address.rpartition(':')[2]}"
        ended = complaint("connect", "--connect-timeout", "0.5", *authority.options("alice"), address)
    assert ended == (255, f"{address}: no answer in TLS in time: is this a router's TLS address?")


# The wrong protocol


def test_a_uwsgi_client_on_a_raw_socket_says_so_and_leaves(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "exec sleep 1000")
    with terminal_client("connect", "--protocol", "uwsgi", f"{directory}/s") as client:
        assert client.wait() == 255
        assert client.shown == b"fastpty: this socket speaks the raw protocol: connect without --uwsgi\r\n"
    router.wait_for_log("session 1: end: uwsgi frames on a raw socket")


def test_a_uwsgi_client_on_a_raw_socket_of_uwsgi_s_says_so_and_leaves(tmp_path: Path) -> None:
    router = RealRouter(tmp_path)
    try:
        with terminal_client("connect", "--uwsgi", router.raw) as client:
            assert client.wait() == 255
            line = f"fastpty: {router.raw} speaks the raw protocol: connect without --uwsgi\r\n"
            assert line.encode() in client.shown
    finally:
        router.stop()


def test_a_uwsgi_client_without_a_window_leaves_a_raw_socket_too(tmp_path: Path) -> None:
    def echo(peer: socket.socket) -> None:
        peer.recv(4)
        peer.sendall(b"remote:^@^C^@^@ls\r\n")
        receive_all(peer)

    with scripted_router(tmp_path) as router, router.playing(echo):
        address = router.address
        ended = complaint("connect", "--protocol", "uwsgi", address, data=b"ls\n")
    assert ended == (255, f"{address} speaks the raw protocol: connect without --uwsgi")


@pytest.mark.parametrize("protocol", ["raw", "uwsgi"])
def test_a_client_told_to_speak_an_older_protocol_names_an_fpty_address(
    start_router: Callable[..., Router], directory: Path, protocol: str
) -> None:
    start_router("--fpty-router", f"{directory}/s")
    why = f"{directory}/s is an address for fastpty's own protocol: connect with --protocol fpty"
    assert complaint("connect", "--protocol", protocol, f"{directory}/s", data=b"ls\n") == (255, why)


def test_a_client_told_to_speak_fpty_to_a_silent_port_is_reminded_of_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ended = complaint("connect", "--protocol", "fpty", "--connect-timeout", "0.3", address)
    why = "the router does not answer: it is stopped, it hangs, or the port speaks TLS"
    assert ended == (255, f"{address}: {why}")


@pytest.mark.parametrize("tcp", [False, True])
def test_a_connection_that_is_closed_without_an_answer_is_not_taken_for_an_older_router(
    tmp_path: Path, tcp: bool
) -> None:
    def leave(peer: socket.socket) -> None:
        pass

    with scripted_router(tmp_path, tcp=tcp) as router, router.playing(leave):
        address = router.address
        ended = complaint("connect", "--protocol", "fpty", address)
    why = "the connection was closed without an answer: has the router ended? See its log"
    assert ended == (255, f"{address}: {why}")


def test_a_client_told_to_speak_fpty_shows_the_line_of_a_router_that_refuses_it(tmp_path: Path) -> None:
    def refuse(peer: socket.socket) -> None:
        peer.sendall(b"fastpty: this port speaks \x1b[1mTLS\n" + bytes(100_000))

    with scripted_router(tmp_path, tcp=True) as router, router.playing(refuse):
        ended = complaint("connect", "--protocol", "fpty", router.address)
    assert ended == (255, r"this port speaks \x1b[1mTLS")


def test_a_raw_client_on_a_uwsgi_socket_says_so_and_leaves(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router("--forkpty-urouter", f"{directory}/s", "--forkptyrouter-command", "stty -echo; exec cat")
    why = "this socket speaks the uwsgi protocol: connect with --uwsgi"
    assert complaint("connect", "--protocol", "raw", f"{directory}/s", data=b"ls\n") == (255, why)
    router.wait_for_log("session 1: end: raw bytes on a uwsgi socket")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS: give --tls-cert, --tls-key and --tls-ca"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", "is a web server, not a router"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "is an SSH server, not a router"),
    ],
    ids=["TLS", "HTTP", "SSH"],
)
def test_a_server_of_another_protocol_is_named_as_what_it_is(tmp_path: Path, answer: bytes, what: str) -> None:
    def refuse(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(answer)

    with scripted_router(tmp_path, tcp=True) as router, router.playing(refuse):
        address = router.address
        ended = complaint("connect", address, data=b"ls\n")
    assert ended == (255, f"{address} {what}")


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
