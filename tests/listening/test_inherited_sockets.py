"""Inherited sockets: if one is less private than configured, the router does not start."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.listening import bind as listening
from tests.support.accounts import talk_as
from tests.support.harness import Client, Router
from tests.support.peers import need_root, need_vsock

MALLORY = 54_009
ECHO = ("--forkptyrouter-command", "echo IN")


@pytest.fixture
def server(directory: Path) -> Iterator[socket.socket]:
    """A socket as systemd makes it without SocketMode."""
    with made(f"{directory}/s", 0o666) as sock:
        yield sock


def made(name: str, mode: int = 0o600) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(name)
    if not name.startswith("\0"):
        os.chmod(name, mode)
    sock.listen()
    return sock


def refused(server: socket.socket, *arguments: str, protocol: str = "--forkpty-router") -> str:
    """The one line on stderr of a router that refuses to start with this socket."""
    argv = [sys.executable, "-m", "fastpty.router", protocol, f"fd://{server.fileno()}", *arguments]
    ended = subprocess.run(argv, pass_fds=[server.fileno()], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.count("\n") == 1
    start = f"fastpty-router: cannot listen on fd://{server.fileno()}: "
    assert ended.stderr.startswith(start)
    return ended.stderr.removeprefix(start).strip()


def serve(start_router: Callable[..., Router], server: socket.socket, *arguments: str, sockets: int = 1) -> Router:
    return start_router(f"fd://{server.fileno()}", *ECHO, *arguments, pass_fds=[server.fileno()], sockets=sockets)


def test_an_inherited_socket_that_others_may_write_to_is_refused(server: socket.socket, directory: Path) -> None:
    why = refused(server)
    assert why.startswith(f"{directory}/s has mode 666, so more users may connect than chmod-socket=600 allows")
    for advice in ("SocketMode=", "allow-user or allow-group", "chmod-socket=666"):
        assert advice in why
    os.chmod(f"{directory}/s", 0o660)
    assert "has mode 660" in refused(server)


def test_an_inherited_socket_with_another_mode_than_configured_is_refused(
    server: socket.socket, directory: Path
) -> None:
    assert "has mode 666" in refused(server, "--chmod-socket=600")
    assert "has mode 666" in refused(server, "--chmod-socket=660", "--deny-user", "nobody")
    os.chmod(f"{directory}/s", 0o600)
    assert "chmod-socket=660 does not apply" in refused(server, "--chmod-socket=660")


@pytest.mark.parametrize("said", [("--chmod-socket=666",), ("--allow-user", str(os.getuid()))])
def test_an_inherited_socket_that_is_meant_to_be_open_is_served(
    start_router: Callable[..., Router], server: socket.socket, directory: Path, said: tuple[str, ...]
) -> None:
    router = serve(start_router, server, *said)
    with Client(f"{directory}/s") as client:
        assert client.read_to_end() == b"IN\r\n"
    assert ("only the rules decide who may connect" in router.log) == (said[0] == "--allow-user")


def test_an_inherited_socket_with_run_as_peer_gives_each_client_its_own_account(
    start_router: Callable[..., Router], server: socket.socket, directory: Path
) -> None:
    need_root()
    serve(start_router, server, "--run-as", "peer")
    assert "root is not allowed to connect" in talk_as(f"{directory}/s", 0, 0)


def test_run_as_peer_opens_no_inherited_socket_of_the_statistics(server: socket.socket, directory: Path) -> None:
    need_root()
    arguments = ("--run-as", "peer", f"{directory}/other")
    assert "has mode 666" in refused(server, *arguments, protocol="--forkptyrouter-stats")


def test_an_inherited_shared_socket_is_checked_too(server: socket.socket) -> None:
    argv = [sys.executable, "-m", "fastpty.router", "--shared-socket", f"fd://{server.fileno()}", "=0"]
    ended = subprocess.run(argv, pass_fds=[server.fileno()], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "has mode 666" in ended.stderr) == (1, True)


def test_an_inherited_socket_of_another_user_is_refused(
    start_router: Callable[..., Router], server: socket.socket, directory: Path
) -> None:
    need_root()
    os.chmod(f"{directory}/s", 0o600)
    os.chown(f"{directory}/s", MALLORY, MALLORY)
    assert f"belongs to uid {MALLORY}, who may connect" in refused(server)
    assert "chown-socket does not apply" in refused(server, "--chown-socket", f"{MALLORY}:root")
    serve(start_router, server, "--chown-socket", str(MALLORY))


def test_the_socket_s_own_file_is_checked_even_if_its_path_leads_to_another(
    server: socket.socket, directory: Path
) -> None:
    """With CAP_NET_ADMIN the kernel gives the file itself (SIOCUNIXFILE)."""
    need_root()
    os.rename(f"{directory}/s", f"{directory}/away")
    with made(f"{directory}/s", 0o600):
        assert "has mode 666" in refused(server)


def test_without_cap_net_admin_the_file_at_the_socket_s_path_is_checked(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_SIOCUNIXFILE", 0)
    with made(f"{directory}/s", 0o660) as sock:
        listener = listening.Listener(sock, listening.FdAddress(sock.fileno()))
        listener.find_file()
        found = listener.file_status()
        assert found is not None
        assert found.st_mode & 0o777 == 0o660
        listener.close_copy()


def test_an_inherited_socket_whose_file_cannot_be_found_needs_a_rule(
    start_router: Callable[..., Router], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in another mount namespace without CAP_NET_ADMIN. This socket is bound to a relative name."""
    need_root()
    monkeypatch.chdir(directory)
    with made("s") as server:
        without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
        argv = [*without, sys.executable, "-m", "fastpty.router", f"fd://{server.fileno()}"]
        ended = subprocess.run(argv, pass_fds=[server.fileno()], capture_output=True, text=True, timeout=60)
        assert (ended.returncode, "its file s cannot be found" in ended.stderr) == (1, True)


def test_an_inherited_socket_whose_file_is_gone_is_warned_of(
    start_router: Callable[..., Router], server: socket.socket, directory: Path
) -> None:
    need_root()
    os.chmod(f"{directory}/s", 0o600)
    os.unlink(f"{directory}/s")
    serve(start_router, server).wait_for_log(f"its file {directory}/s is gone")


def test_an_inherited_abstract_name_needs_a_rule_or_mode_666(
    start_router: Callable[..., Router], directory: Path
) -> None:
    name = f"fastpty-inherited-{directory.name}"
    with made(f"\0{name}") as server:
        assert refused(server).startswith(f"@{name} is abstract, which is as mode 666, so more users")
        assert "has no file: remove chown-socket" in refused(server, "--chown-socket", str(os.getuid()))
        serve(start_router, server, "--chmod-socket=666")
        with Client(f"\0{name}") as client:
            assert client.read_to_end() == b"IN\r\n"


def test_an_inherited_port_open_to_the_network_needs_insecure_tcp_or_tls(
    start_router: Callable[..., Router],
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert "is open to the network" in refused(server)
        serve(start_router, server, "--insecure-tcp")


def test_options_that_do_not_apply_to_an_inherited_port_are_refused(start_router: Callable[..., Router]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "reuse-port takes effect where a socket is made" in refused(server, "--reuse-port")
        assert "has no file: remove chown-socket" in refused(server, "--chown-socket", str(os.getuid()))
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        serve(start_router, server, "--reuse-port")


def test_listen_sets_the_backlog_of_an_inherited_port(start_router: Callable[..., Router]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        serve(start_router, server, "--listen", "3")
        longest = struct.unpack_from("I", server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)
        assert longest == (3,), "tcpi_sacked, which is that of a socket that listens"


def test_listen_sets_the_backlog_of_an_inherited_socket(start_router: Callable[..., Router], directory: Path) -> None:
    with made(f"{directory}/s") as server:
        router = serve(start_router, server, "--listen", "3")
        os.kill(router.pid, signal.SIGSTOP)
        clients = []
        while True:
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            if clients[-1].connect_ex(f"{directory}/s"):
                break
        os.kill(router.pid, signal.SIGCONT)
        for client in clients:
            client.close()
        assert len(clients) == 5, "the kernel lets one more wait than listen(2) asks for, and one is refused"


def test_an_inherited_socket_of_another_family_is_refused() -> None:
    with need_vsock() as server:
        server.listen()
        assert refused(server) == "this is not a listening stream socket"


def test_a_reload_does_not_open_an_inherited_socket(
    start_router: Callable[..., Router], server: socket.socket, directory: Path
) -> None:
    file = directory / "x.ini"
    text = f"[uwsgi]\nforkpty-router = fd://{server.fileno()}\n"
    file.write_text(f"{text}allow-user = {os.getuid()}\n")
    router = start_router(str(file), pass_fds=[server.fileno()])
    file.write_text(text)
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log(r"reload refused, .*/s has mode 666")
    file.write_text(f"{text}chmod-socket = 666\n")
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reloaded; command: ")
