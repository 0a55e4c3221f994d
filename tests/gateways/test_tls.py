"""TLS over TCP, with certificates on both sides."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT
from tests.support.harness import Router, eventually, process_gone, run
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, attached, connected, proxy_of, read_to_end, status


@pytest.mark.parametrize("framed", [False, True])
def test_the_client_gets_a_session_through_tls_and_the_end_of_its_input_arrives(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, framed: bool
) -> None:
    router, port = tls_router("--forkptyrouter-command", "read word; cat; echo got $word", framed=framed)
    ended = attached(authority, port, *(["--uwsgi"] if framed else []), text=b"hello\n")
    assert ended.stdout.endswith(b"got hello\r\n")
    assert (ended.stderr, ended.returncode) == (b"", 0)
    router.wait_for_log(r"session 1: start: TLS client 127\.0\.0\.1 port \d+ alice on .* over TLS\)")


def test_every_byte_of_a_stream_arrives_both_ways(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    """Input and output at once, the input's end in between, and more output after it."""
    _, port = tls_router(
        "--forkptyrouter-command", "stty raw -echo; printf R; head -c 3000000; head -c 2000000 /dev/zero"
    )
    sent = os.urandom(1000) * 3000
    with connected(authority, port) as connection:
        assert connection.recv(1) == b"R"
        connection.setblocking(False)
        received = bytearray()
        at = 0
        while len(received) < len(sent) + 2_000_000:
            wanted = select.POLLIN | (select.POLLOUT if at < len(sent) else 0)
            poll = select.poll()
            poll.register(connection, wanted)
            if not connection.pending():
                assert poll.poll(30_000)
            with suppress(ssl.SSLWantWriteError):
                at += connection.send(sent[at : at + 16384]) if at < len(sent) else 0
            with suppress(ssl.SSLWantReadError):
                received += connection.recv(65536)
    assert bytes(received) == sent + bytes(2_000_000)


def test_output_that_follows_the_end_of_input_still_comes(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = tls_router("--forkptyrouter-command", "cat; head -c 3000000 /dev/zero | tr '\\0' x; echo END")
    ended = attached(authority, port, text=b"a\n")
    assert ended.stdout.endswith(b"a\r\n" + b"x" * 3_000_000 + b"END\r\n")
    assert ended.returncode == 0


@pytest.mark.parametrize("has", ["none", "a stranger's", "no TLS"])
def test_a_client_without_a_trusted_certificate_gets_no_session(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, tmp_path: Path, has: str
) -> None:
    router, port = tls_router()
    if has == "none":
        with pytest.raises(OSError, match="certificate required"), connected(authority, port, None) as connection:
            connection.recv(1)
    elif has == "a stranger's":
        stranger = Authority(tmp_path, "other")
        command = [*CLIENT, "connect", *stranger.options("alice"), f"localhost:{port}"]
        command[command.index("--tls-ca") + 1] = str(authority.certificate)
        ended = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True, timeout=60)
        assert b"unknown ca" in ended.stderr
        assert (ended.stderr.count(b"\n"), ended.returncode) == (1, 255)
    else:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"id\n" * 100)
            plain.settimeout(30)
            assert b"uid=" not in plain.recv(65536)
    router.wait_for_log("TLS client 127.0.0.1 port .*: the handshake failed")
    assert "session 1" not in router.log


def test_the_client_refuses_a_router_without_a_valid_certificate(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, tmp_path: Path
) -> None:
    _, port = tls_router()
    certificate, key = authority.give("alice")
    other = Authority(tmp_path, "other")
    for options, words in (
        (["--tls-ca", str(other.certificate)], b"the certificate was rejected"),
        (
            ["--tls-ca", str(authority.certificate), "--tls-name", "elsewhere"],
            b"the certificate was rejected: Hostname",
        ),
    ):
        command = [*CLIENT, "connect", "--tls-cert", certificate, "--tls-key", key, *options, f"localhost:{port}"]
        ended = subprocess.run(command, cwd=ROOT, input=b"id\n", capture_output=True, timeout=60)
        assert words in ended.stderr
        assert (ended.stdout, ended.stderr.count(b"\n"), ended.returncode) == (b"", 1, 255)


@pytest.mark.parametrize(
    ("name", "extra", "comes_in"),
    [("alice", "", True), ("bob", "", False), ("carol", ",email:ops@example.org", True)],
)
def test_allow_tls_name_decides_by_the_certificate_s_names(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, name: str, extra: str, comes_in: bool
) -> None:
    rules = ("--allow-tls-name", "alice", "--allow-tls-name", "ops@example.org")
    router, port = tls_router(*rules, "--forkptyrouter-command", "echo IN")
    ended = attached(authority, port, name=name, extra=extra)
    refusal = b"fastpty: refused: no name of your certificate is allowed to connect\n"
    assert (ended.stdout, ended.stderr) == ((b"IN\r\n", b"") if comes_in else (b"", refusal))
    if not comes_in:
        router.wait_for_log(r"TLS client 127.0.0.1 port \d+ \(bob, localhost, 127.0.0.1\): refused")


def test_a_connection_that_is_cut_hangs_up_and_does_not_end_the_input(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority, directory: Path
) -> None:
    """An attacker who cuts a connection must not make a program take its input for complete."""
    complete = directory / "complete"
    router, port = tls_router("--forkptyrouter-command", f"stty -echo; printf R; cat; : > {complete}; exit 7")
    with connected(authority, port) as connection:
        assert connection.recv(1) == b"R"
        connection.sendall(b"half\n")
        assert connection.recv(6) == b"half\r\n"
        socket.socket.shutdown(connection, socket.SHUT_WR)  # ends TCP without close_notify
        ended = router.wait_for_log("session 1: end: (.*) after")[0][1]
    assert ended == "client left, killed by SIGHUP"
    assert not complete.exists()


def test_the_proxy_is_replaced_when_it_dies_and_ends_with_the_router(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = tls_router("--forkptyrouter-command", "echo IN")
    proxy = proxy_of(router)
    os.kill(proxy, signal.SIGKILL)
    router.wait_for_log(rf"the TLS proxy {proxy} has ended \(killed by SIGKILL\); another one starts")
    assert attached(authority, port).stdout == b"IN\r\n"
    successor = proxy_of(router)
    assert router.end() == 0
    assert process_gone(successor)


def test_the_proxy_ends_when_the_router_is_killed(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, _ = tls_router()
    proxy = proxy_of(router)
    router.end(signal.SIGKILL)
    eventually(lambda: process_gone(proxy), "the proxy has ended, too")


def test_only_root_needs_to_read_the_key_and_the_proxy_runs_as_the_router_s_user(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    need_root()
    router, port = tls_router("--uid", "nobody", "--gid", "nogroup", "--forkptyrouter-command", "id -un; true")
    assert os.stat(authority.directory / "server.key").st_mode & 0o077 == 0
    assert attached(authority, port).stdout == b"nobody\r\n"
    assert "Uid:\t65534\t65534\t65534\t65534" in status(proxy_of(router))


def test_workers_share_the_proxy_and_the_limits_hold(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    _, port = tls_router(
        "--forkptyrouter-processes", "2", "--max-sessions", "2", "--forkptyrouter-command", "printf R; cat"
    )
    with connected(authority, port) as first, connected(authority, port) as second:
        assert (first.recv(1), second.recv(1)) == (b"R", b"R")
        with connected(authority, port) as third:
            assert b"the limit of 2 sessions is reached" in read_to_end(third)


def test_rules_about_users_keep_out_a_certificate_without_an_allowed_name_on_an_inherited_socket(
    start_router: Callable[..., Router], authority: Authority
) -> None:
    """With such rules, the router does not listen on a TCP address of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inherited = (f"fd://{server.fileno()}", "--allow-user", "root", *authority.options("server"))
        router = start_router(*inherited, "--forkptyrouter-command", "echo IN", pass_fds=[server.fileno()])
        assert b"the access rules need to know your user" in attached(authority, port).stderr
        router.end()
        start_router(
            *inherited, "--allow-tls-name", "alice", "--forkptyrouter-command", "echo IN", pass_fds=[server.fileno()]
        )
        assert attached(authority, port).stdout == b"IN\r\n"


def test_a_client_that_offers_only_tls_1_2_is_refused(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    router, port = tls_router("--forkptyrouter-command", "echo IN")
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(*authority.give("alice"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLError, match="version"):
        context.wrap_socket(plain, server_hostname="localhost")
    router.wait_for_log("TLS client 127.0.0.1 port .*: the handshake failed")
    assert "session 1" not in router.log


def test_the_socket_between_the_proxy_and_the_relay_has_no_name_in_the_file_system(
    tls_router: Callable[..., tuple[Router, int]], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that could connect to it would pass for a client with a valid certificate."""
    monkeypatch.setenv("TMPDIR", str(directory))
    tls_router()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-cert", "/x", "127.0.0.1:0"], "TLS needs all three of tls-cert, tls-key and tls-ca"),
        (["--allow-tls-name", "x", "127.0.0.1:0"], "allow-tls-name needs TLS"),
        (
            ["--tls-cert", "/x", "--tls-key", "/x", "--tls-ca", "/x", "127.0.0.1:0"],
            "tls-ca: /x cannot be used: No such",
        ),
    ],
)
def test_unusable_tls_options_are_refused_at_the_start(arguments: list[str], words: str) -> None:
    ended = run(*arguments)
    assert words in ended.stderr
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 2)


def test_an_open_address_is_allowed_with_tls(start_router: Callable[..., Router], authority: Authority) -> None:
    router = start_router("0.0.0.0:0", *authority.options("server"), "--forkptyrouter-command", "echo IN")
    port = int(router.wait_for_log(r"listening on .*:(\d+) \(raw over TLS\)")[0][1])
    assert attached(authority, port).stdout == b"IN\r\n"


def test_tls_without_a_tcp_address_is_refused(authority: Authority, directory: Path) -> None:
    ended = run(*authority.options("server"), f"{directory}/s")
    assert "there is no TCP address to serve TLS on" in ended.stderr
    assert ended.returncode == 2
