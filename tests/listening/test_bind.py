"""Listening: socket files, abstract names, TCP ports and inherited descriptors."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import fastpty.listening.bind
from fastpty.errors import FastptyError
from fastpty.listening.bind import Listener, listen
from fastpty.net import address
from fastpty.net.address import AbstractAddress, FdAddress, TcpAddress, UnixAddress
from tests.support.harness import message_of
from tests.support.peers import need_root


@contextmanager
def listening(text: str, **options: object) -> Iterator[list[Listener]]:
    with ExitStack() as stack:
        listeners = listen(address.parse(text), **options)  # type: ignore[arg-type]
        for listener in listeners:
            stack.callback(listener.close)
        yield listeners


def can_be_reached(listener: Listener, name: address.Address | str | bytes) -> bool:
    """True if a connection to `name` arrives at this listener."""
    if isinstance(name, (str, bytes)):
        client = socket.socket(socket.AF_UNIX)
        client.connect(name)
    else:
        client = address.connect(name)
    with client:
        listener.socket.setblocking(True)
        listener.socket.settimeout(10)
        accepted, _ = listener.socket.accept()
        accepted.close()
    return True


def test_the_longest_names_that_are_accepted_can_be_listened_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("x" * 107, "@" + "x" * 106):
        with listening(text) as listeners:
            assert can_be_reached(listeners[0], address.parse(text))


def test_a_socket_file_is_private_and_can_be_connected_to(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path) as (listener,):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
        assert can_be_reached(listener, address.parse(path))
        assert not listener.socket.get_inheritable()
    assert not os.path.lexists(path)


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o700])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: Path, mode: int, umask: int) -> None:
    previous = os.umask(umask)
    try:
        with listening(f"{tmp_path}/s", mode=mode):
            assert stat.S_IMODE(os.lstat(f"{tmp_path}/s").st_mode) == mode
    finally:
        os.umask(previous)


def test_a_socket_file_is_private_from_its_first_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chmod = os.chmod

    def watched(path: str, mode: int) -> None:
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", watched)
    previous = os.umask(0)
    try:
        with listening(f"{tmp_path}/s", mode=0o666):
            assert seen == [0o600]
    finally:
        os.umask(previous)


def test_a_socket_file_can_be_given_to_another_owner(tmp_path: Path) -> None:
    need_root()
    with listening(f"{tmp_path}/s", owner=(12345, -1)):
        found = os.lstat(f"{tmp_path}/s")
        assert (found.st_uid, found.st_gid) == (12345, os.getegid())


def test_a_failed_start_leaves_no_socket_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(FastptyError, match="only root"):
        listen(UnixAddress(f"{tmp_path}/s"), owner=(1, 1))
    assert not os.listdir(tmp_path)


def test_a_file_put_in_the_sockets_place_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"

    def meddle(*_: object, **__: object) -> None:
        path.unlink()
        path.write_text("another's")
        path.chmod(0o640)

    monkeypatch.setattr(os, "chown", meddle)
    with pytest.raises(FastptyError, match="somebody else replaced"):
        listen(UnixAddress(str(path)), mode=0o666, owner=(0, 0))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with listening(path) as (listener,):
        assert can_be_reached(listener, address.parse(path))


def test_a_live_socket_is_not_stolen(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path) as (listener,):
        with pytest.raises(FastptyError, match=f"another router is listening on {path}") as error:
            listen(UnixAddress(path))
        message_of(error)
        assert can_be_reached(listener, address.parse(path))


def test_a_live_socket_with_a_full_queue_is_not_stolen(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path, backlog=1), ExitStack() as stack:
        for _ in range(10):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            if waiting.connect_ex(path):
                break
        with pytest.raises(FastptyError, match="another router is listening"):
            listen(UnixAddress(path))


@pytest.mark.parametrize("kind", ["file", "symbolic link", "directory", "FIFO"])
def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead")
    make: dict[str, Callable[[], object]] = {
        "file": lambda: path.write_text("precious"),
        "symbolic link": lambda: path.symlink_to(tmp_path / "dead"),
        "directory": path.mkdir,
        "FIFO": lambda: os.mkfifo(path),
    }
    make[kind]()
    before = os.lstat(path)
    with pytest.raises(FastptyError, match=f"a {kind} is there") as error:
        listen(UnixAddress(str(path)))
    assert str(path) in message_of(error)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (
        before.st_ino,
        before.st_mode,
        before.st_mtime_ns,
    )


def test_closing_does_not_remove_a_file_that_somebody_else_put_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(str(path)):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_closing_removes_the_file_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with listening("s"):
        monkeypatch.chdir("/")
    assert not os.listdir(tmp_path)


def test_closing_a_listener_twice_is_harmless(tmp_path: Path) -> None:
    with listening(f"{tmp_path}/s") as (first,):
        first.close()
        with listening(f"{tmp_path}/s"):
            first.close()
            assert os.listdir(tmp_path) == ["s"]


def test_only_one_of_several_routers_that_start_together_gets_the_path(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    got, refused = [], []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            got.extend(listen(UnixAddress(path)))
        except FastptyError as error:
            refused.append(str(error))

    starts = [threading.Thread(target=start) for _ in range(8)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    for listener in got:
        listener.close()
    assert (len(got), len(refused)) == (1, 7)
    assert all("another router is listening" in text for text in refused)


def test_checking_and_binding_wait_for_another_router_that_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other replaces a stale file. A router that had checked that file before would remove the new socket."""
    path = f"{tmp_path}/s"
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with socket.socket(socket.AF_UNIX) as other:

        def go_on(_: float) -> None:
            os.unlink(path)
            other.bind(path)
            fcntl.flock(directory, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", go_on)
        with pytest.raises(FastptyError, match="another router is listening"):
            listen(UnixAddress(path))
    os.close(directory)


def test_a_lock_that_is_never_given_back_does_not_prevent_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastpty.listening.bind, "_LOCK_WAIT_SECONDS", 0.01)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with listening(f"{tmp_path}/s") as (listener,):
        assert can_be_reached(listener, UnixAddress(f"{tmp_path}/s"))
    os.close(directory)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastptyError, match="directory does not exist") as error:
        listen(UnixAddress(f"{tmp_path}/no/s"))
    assert f"{tmp_path}/no/s" in message_of(error)


def test_an_abstract_name_is_listened_on_in_both_spellings() -> None:
    name = f"fastpty-test-{os.getpid()}"
    with listening(f"@{name}") as listeners:
        assert can_be_reached(listeners[0], f"\0{name}")
        assert can_be_reached(listeners[1], f"\0{name}\0")
        with pytest.raises(FastptyError, match="another program is listening"):
            listen(AbstractAddress(name))


def test_an_abstract_name_with_one_spelling_in_use_is_not_listened_on() -> None:
    name = f"fastpty-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{name}\0")
        with pytest.raises(FastptyError, match="another program"):
            listen(AbstractAddress(name))
        with socket.socket(socket.AF_UNIX) as free:
            free.bind(f"\0{name}")


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:0", "[::1]:0", ":0"])
def test_a_listener_on_port_0_knows_its_real_port(text: str) -> None:
    with listening(text) as (listener,):
        real = listener.address
        assert isinstance(real, TcpAddress)
        assert real.port != 0
        assert can_be_reached(listener, real)
        with pytest.raises(FastptyError, match="another program is listening") as error:
            listen(real)
        assert real.text in message_of(error)


def test_an_address_without_a_host_listens_on_ipv4_and_ipv6() -> None:
    with listening(":0") as (listener,):
        assert isinstance(listener.address, TcpAddress)
        for host in ("127.0.0.1", "::1"):
            assert can_be_reached(listener, TcpAddress(host, listener.address.port))


def test_tcp_connections_have_nodelay_set() -> None:
    with listening("127.0.0.1:0") as (listener,), address.connect(listener.address) as client:
        listener.socket.settimeout(10)
        accepted, _ = listener.socket.accept()
        with accepted:
            for sock in (client, accepted):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("text", "why"), [("192.0.2.1:1", "no such address"), ("no-such-host.invalid:1", "cannot be resolved")]
)
def test_a_tcp_address_that_cannot_be_bound_is_explained(text: str, why: str) -> None:
    with pytest.raises(FastptyError, match=why) as error:
        listen(address.parse(text))
    assert text in message_of(error)


def test_an_inherited_listening_socket_is_taken_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.set_inheritable(True)
        port = server.getsockname()[1]
        with listening(f"fd://{server.detach()}") as (listener,):
            assert not listener.socket.get_inheritable()
            assert not listener.socket.getblocking()
            assert can_be_reached(listener, TcpAddress("127.0.0.1", port))


def test_a_descriptor_that_does_not_listen_is_refused_and_left_open(tmp_path: Path) -> None:
    ends = socket.socketpair()
    with (
        ends[0],
        ends[1],
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        (tmp_path / "f").open("w") as file,
    ):
        for fd in (ends[0].fileno(), datagram.fileno(), file.fileno()):
            with pytest.raises(FastptyError, match="not a listening stream socket"):
                listen(FdAddress(fd))
            os.fstat(fd)


def test_a_descriptor_that_is_not_there_is_refused() -> None:
    with pytest.raises(FastptyError, match="no such descriptor"):
        listen(FdAddress(98765))
