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
from fastpty.errors import FastptyError, UsageError
from fastpty.listening.bind import Listener, listen
from fastpty.net import address
from fastpty.net.address import AbstractAddress, FdAddress, TcpAddress, UnixAddress
from tests.support.peers import need_root


@contextmanager
def listening(text: str, **options: object) -> Iterator[list[Listener]]:
    with ExitStack() as stack:
        listeners = listen(address.parse(text), **options)  # type: ignore[arg-type]
        for listener in listeners:
            stack.callback(listener.close)
        yield listeners


def can_be_reached(listener: Listener, name: address.Address | str | bytes) -> bool:
    """Whether a connection to `name` arrives at this listener."""
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


def the_text_of(error: pytest.ExceptionInfo[FastptyError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Reading


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("/tmp/x.socket", UnixAddress("/tmp/x.socket")),
        ("x.socket", UnixAddress("x.socket")),
        ("./a:1", UnixAddress("./a:1")),
        ("3000", UnixAddress("3000")),
        ("@name", AbstractAddress("name")),
        ("@a/b:c", AbstractAddress("a/b:c")),
        ("host:80", TcpAddress("host", 80)),
        (":80", TcpAddress("", 80)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("fd://3", FdAddress(3)),
    ],
)
def test_an_address_is_read_and_written_the_same_way(text: str, meaning: address.Address) -> None:
    assert address.parse(text) == meaning
    assert meaning.text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("@", "1 to 106 bytes"),
        ("@" + "x" * 107, "1 to 106 bytes"),
        ("/" + "x" * 107, "107 bytes and this has 108"),
        ("/" + "ä" * 60, "107 bytes and this has 121"),
        ("host:", "the port"),
        ("host:http", "the port"),
        ("host:65536", "from 0 to 65535"),
        ("host:-1", "the port"),
        ("host:٣", "the port"),
        ("host:" + "9" * 5000, "the port"),
        ("::1:80", "brackets"),
        ("[::1]", "brackets|the port|host"),
        ("[nope]:80", "not an IPv6 address"),
        ("a b:80", "not a host"),
        ("fd://", "the descriptor"),
        ("fd://x", "the descriptor"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        address.parse(text)
    the_text_of(error)


def test_the_longest_names_that_are_let_through_can_be_listened_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("x" * 107, "@" + "x" * 106):
        with listening(text) as listeners:
            assert can_be_reached(listeners[0], address.parse(text))


@pytest.mark.parametrize(
    "text",
    ["/x", "@x", "fd://3", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"],
)
def test_loopback_is_recognised(text: str) -> None:
    assert address.parse(text).is_loopback


@pytest.mark.parametrize("text", [":1", "0.0.0.0:1", "[::]:1", "192.0.2.1:1", "no-such-host.invalid:1", "a..b:1"])
def test_what_is_not_surely_loopback_is_not_called_so(text: str) -> None:
    assert not address.parse(text).is_loopback


def test_a_name_that_resolves_to_one_address_of_the_network_is_not_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1)) for host in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert not address.parse("both:1").is_loopback


# Socket files


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


def test_a_start_that_fails_leaves_no_socket_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        the_text_of(error)
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
def test_what_is_no_socket_is_never_touched(tmp_path: Path, kind: str) -> None:
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
    assert str(path) in the_text_of(error)
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


def test_closing_removes_the_file_also_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with listening("s"):
        monkeypatch.chdir("/")
    assert not os.listdir(tmp_path)


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    with listening(f"{tmp_path}/s") as (first,):
        first.close()
        with listening(f"{tmp_path}/s"):
            first.close()
            assert os.listdir(tmp_path) == ["s"]


def test_of_routers_that_start_together_one_gets_the_path(tmp_path: Path) -> None:
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
    """The other takes what is stale out of its way: a look at it from before would have its new socket removed."""
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
    assert f"{tmp_path}/no/s" in the_text_of(error)


# Abstract names, TCP, inherited descriptors


def test_an_abstract_name_is_listened_on_in_both_spellings() -> None:
    name = f"fastpty-test-{os.getpid()}"
    with listening(f"@{name}") as listeners:
        assert can_be_reached(listeners[0], f"\0{name}")
        assert can_be_reached(listeners[1], f"\0{name}\0")
        with pytest.raises(FastptyError, match="another program is listening"):
            listen(AbstractAddress(name))


@pytest.mark.parametrize("tail", ["", "\0"])
def test_a_client_finds_an_abstract_name_in_either_spelling(tail: str) -> None:
    name = f"fastpty-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}{tail}")
        server.listen()
        address.connect(AbstractAddress(name)).close()


def test_a_half_taken_abstract_name_is_not_half_listened_on() -> None:
    name = f"fastpty-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{name}\0")
        with pytest.raises(FastptyError, match="another program"):
            listen(AbstractAddress(name))
        with socket.socket(socket.AF_UNIX) as free:
            free.bind(f"\0{name}")


@pytest.mark.parametrize("text", ["127.0.0.1:0", "localhost:0", "[::1]:0", ":0"])
def test_a_tcp_port_is_listened_on_and_its_number_is_told(text: str) -> None:
    with listening(text) as (listener,):
        real = listener.address
        assert isinstance(real, TcpAddress)
        assert real.port != 0
        assert can_be_reached(listener, real)
        with pytest.raises(FastptyError, match="another program is listening") as error:
            listen(real)
        assert real.text in the_text_of(error)


def test_no_host_means_both_families() -> None:
    with listening(":0") as (listener,):
        assert isinstance(listener.address, TcpAddress)
        for host in ("127.0.0.1", "::1"):
            assert can_be_reached(listener, TcpAddress(host, listener.address.port))


def test_keys_do_not_wait_on_tcp() -> None:
    with listening("127.0.0.1:0") as (listener,), address.connect(listener.address) as client:
        listener.socket.settimeout(10)
        accepted, _ = listener.socket.accept()
        with accepted:
            for sock in (client, accepted):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("text", "why"), [("192.0.2.1:1", "no such address"), ("no-such-host.invalid:1", "cannot be resolved")]
)
def test_a_tcp_address_that_cannot_be_had_is_explained(text: str, why: str) -> None:
    with pytest.raises(FastptyError, match=why) as error:
        listen(address.parse(text))
    assert text in the_text_of(error)


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


# Connecting


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/nowhere/s", "no such socket"),
        ("@fastpty-nobody-listens", "no program is listening"),
        ("no-such-host.invalid:1", "cannot be resolved"),
    ],
)
def test_a_connection_that_cannot_be_made_is_explained(text: str, why: str) -> None:
    with pytest.raises(FastptyError, match=why) as error:
        address.connect(address.parse(text))
    assert f"cannot connect to {text}: " in the_text_of(error)


def test_a_refused_tcp_connection_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FastptyError, match="no program is listening"):
        address.connect(TcpAddress("localhost", port))


def test_a_descriptor_cannot_be_connected_to() -> None:
    with pytest.raises(UsageError, match="fd://3"):
        address.connect(FdAddress(3))
