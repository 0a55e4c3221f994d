"""fastpty.Session: a session on a terminal for Python programs."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect.fdpexpect
import pytest

import fastpty
from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import ScriptedRouter, scripted_router
from tests.support.extension_peer import ExtensionPeer, playing
from tests.support.harness import eventually

MIB = 1 << 20


def read_all(session: fastpty.Session) -> bytes:
    data = b""
    while some := session.read():
        data += some
    return data


def test_what_a_program_is_given(router: ScriptedRouter) -> None:
    request = []

    def part(peer: ExtensionPeer) -> None:
        request.extend(peer.begin(number=9))
        peer.end()

    with (
        playing(router, part),
        fastpty.Session(
            router.address, ["ls", b"-l"], env={"A": "1"}, cwd="/srv", size=(43, 132), term="vt100"
        ) as session,
    ):
        assert session.number == 9
        assert session.wait(30) == 0
    assert request == [
        (extension.ARGUMENT, b"ls"),
        (extension.ARGUMENT, b"-l"),
        (extension.ENVIRONMENT, b"A=1"),
        (extension.DIRECTORY, b"/srv"),
        (extension.WINDOW, extension.window(43, 132)),
        (extension.TERM, b"vt100"),
    ]


@pytest.mark.parametrize(("options", "sent"), [({}, b"xterm-256color"), ({"term": None}, None)])
def test_the_terminal_s_type_is_common_or_the_router_s(
    router: ScriptedRouter, options: dict[str, str | None], sent: bytes | None
) -> None:
    request = []

    def part(peer: ExtensionPeer) -> None:
        request.extend(peer.begin())
        peer.end()

    with playing(router, part), fastpty.Session(router.address, **options) as session:  # type: ignore[arg-type]
        assert session.wait(30) == 0
    assert dict(request).get(extension.TERM) == sent


def test_an_option_that_there_is_not_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="columns"):
        fastpty.Session("/nowhere", columns=80)  # type: ignore[call-arg]


def test_output_that_may_be_missing_is_told_beside_the_exit_status(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"some")
        peer.end(3, flags=extension.CUT)

    with playing(router, part), fastpty.Session(router.address) as session:
        assert read_all(session) == b"some"
        assert session.wait(30) == 3
        assert session.output_cut


def test_bytes_go_both_ways_and_the_end_of_the_output_is_an_end_of_file(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        assert peer.read_input(3) == b"abc"
        peer.output(b"out")
        assert peer.read_input() == b"def"
        peer.output(b"put")
        peer.end(3)

    with playing(router, part), fastpty.Session(router.address) as session:
        session.write(b"abc")
        assert session.read(2) == b"ou"
        session.write(b"def")
        session.end_input()
        assert read_all(session) == b"tput"
        assert session.wait(30) == 3


def test_much_goes_both_ways_at_once(router: ScriptedRouter) -> None:
    data = random.Random(1).randbytes(4 * MIB)

    def part(peer: ExtensionPeer) -> None:
        peer.begin(8 * MIB)
        left = len(data)
        while left:
            some = peer.read_input(1)
            peer.output(some)
            left -= len(some)
        peer.end()

    with playing(router, part), fastpty.Session(router.address) as session:
        writer = threading.Thread(target=session.write, args=(data,))
        writer.start()
        assert read_all(session) == data
        writer.join()
        assert session.wait(30) == 0


def test_a_program_that_a_signal_ended_has_a_negative_status(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(signal.SIGTERM, extension.SIGNALLED)

    with playing(router, part), fastpty.Session(router.address) as session:
        assert session.wait(30) == -signal.SIGTERM


def test_the_terminal_can_be_resized(router: ScriptedRouter) -> None:
    with scripted_session(router) as (session, peer):
        session.resize(50, 100)
        assert peer.receive() == (extension.SIZE, extension.window(50, 100))
        session.resize(50, 100)
        session.write(b"x")
        assert peer.receive() == (extension.STDIN, b"x")


@contextmanager
def scripted_session(router: ScriptedRouter) -> Iterator[tuple[fastpty.Session, ExtensionPeer]]:
    """A session, and the peer that a test plays."""
    peers: list[ExtensionPeer] = []

    def accept() -> None:
        peers.append(ExtensionPeer(router.accept()))
        peers[0].begin()

    thread = threading.Thread(target=accept)
    thread.start()
    with fastpty.Session(router.address) as session:
        thread.join()
        with peers[0].sock:
            yield session, peers[0]


def test_leaving_hangs_up_and_the_status_is_not_known(router: ScriptedRouter) -> None:
    with scripted_session(router) as (session, peer):
        session.close()
        assert peer.receive() is None
        with pytest.raises(fastpty.SessionError, match="exit status unknown"):
            session.wait(30)


def test_a_session_that_goes_on_is_a_timeout(router: ScriptedRouter) -> None:
    with scripted_session(router) as (session, _), pytest.raises(TimeoutError):
        session.wait(0.01)


def test_a_lost_connection_is_an_error_after_the_output(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"some")

    with playing(router, part), fastpty.Session(router.address) as session:
        assert read_all(session) == b"some"
        with pytest.raises(fastpty.SessionError, match="lost the connection"):
            session.wait(30)


@pytest.mark.parametrize(("errno", "status"), [(2, 127), (13, 126)])
def test_a_command_that_cannot_be_executed_is_an_error_at_the_start(
    router: ScriptedRouter, errno: int, status: int
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.sock.sendall(extension.refusal(extension.EXECUTE, b"cannot execute it", errno=errno))

    with playing(router, part), pytest.raises(fastpty.SessionError, match=r"^it: cannot execute it$") as raised:
        fastpty.Session(router.address, ["it"])
    assert raised.value.exit_status == status


def test_what_is_no_router_is_an_error(router: ScriptedRouter, tmp_path: Path) -> None:
    with pytest.raises(fastpty.FastptyError, match="no such socket"):
        fastpty.Session(f"{tmp_path}/none")
    with (
        router.playing(lambda peer: peer.sendall(b"prompt$ ")),
        pytest.raises(fastpty.SessionError, match="does not speak the extension"),
    ):
        fastpty.Session(router.address)
    with pytest.raises(fastpty.UsageError, match="NUL"):
        fastpty.Session(router.address, ["a\0b"])


@pytest.mark.parametrize("greets", [False, True])
def test_a_silent_router_is_given_up_in_time(router: ScriptedRouter, greets: bool) -> None:
    def part(peer: ExtensionPeer) -> None:
        if greets:
            peer.sock.sendall(peer.welcome)
        peer.read_to_end()

    with playing(router, part), pytest.raises(fastpty.SessionError, match=r"does not answer|did not start in time"):
        fastpty.Session(router.address, timeout=0.2)


def test_a_tcp_address_works(tmp_path: Path) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"x")
        peer.end(2)

    with (
        scripted_router(tmp_path, tcp=True) as router,
        playing(router, part),
        fastpty.Session(router.address) as session,
    ):
        assert (read_all(session), session.wait(30)) == (b"x", 2)


def test_asyncio_can_use_the_descriptor(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        assert peer.read_input(6) == b"hello\n"
        peer.output(b"bye\n")
        peer.end()

    async def talk(session: fastpty.Session) -> bytes:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(session.fileno())))
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        return answer

    with playing(router, part), fastpty.Session(router.address) as session:
        assert asyncio.run(talk(session)) == b"bye\n"
        assert session.wait(30) == 0


def test_pexpect_can_use_the_descriptor(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"password: ")
        assert peer.read_input(7) == b"secret\n"
        peer.output(b"welcome\r\n")
        peer.end()

    with playing(router, part), fastpty.Session(router.address) as session:
        child = pexpect.fdpexpect.fdspawn(session.fileno(), timeout=30)
        child.expect_exact(b"password: ")
        child.sendline("secret")
        child.expect_exact(b"welcome\r\n")
        child.expect(pexpect.EOF)
        assert session.wait(30) == 0


def test_sessions_leave_no_descriptor_and_no_thread_behind(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end()

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = None
    with playing(router, *[part] * 6):
        for turn in range(6):
            with fastpty.Session(router.address) as session:
                session.wait(30)
            if turn == 0:
                before = open_files(), threading.active_count()
        # The thread that plays the router closes its end a moment later.
        eventually(lambda: (open_files(), threading.active_count()) <= (before or (0, 0)), "all is closed")


def test_importing_fastpty_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import fastpty; print(set(sys.modules) - before)"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "{'fastpty'}\n"


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        fastpty.nothing  # noqa: B018


def test_a_session_whose_output_nobody_reads_can_be_left(router: ScriptedRouter) -> None:
    with scripted_session(router) as (session, peer):
        peer.output(bytes(MIB // 4))
        session.close()
        peer.read_to_end()
