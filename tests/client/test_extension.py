"""Sessions over the negotiated extension: what the client asks for, shows, and returns."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess

import pytest

from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter, terminal_client
from tests.support.extension_peer import ExtensionPeer, playing

MIB = 1 << 20


def run(
    *arguments: str, data: bytes = b"", environment: dict[str, str] | None = None, shell: str = ""
) -> tuple[int, bytes, str]:
    """Status, output and complaints of a client; `shell` holds redirections."""
    command = [*CLIENT, "connect", *arguments]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    ended = subprocess.run(
        command, cwd=ROOT, input=data, env=os.environ | (environment or {}), capture_output=True, timeout=60
    )
    return ended.returncode, ended.stdout, ended.stderr.decode()


# Start


def test_the_request_holds_command_environment_directory_and_language(router: ScriptedRouter) -> None:
    request = []

    def part(peer: ExtensionPeer) -> None:
        request.extend(peer.begin())
        peer.end()

    environment = {"TERM": "xterm-kitty", "LANG": "C.UTF-8", "LC_TIME": "C", "COLORTERM": "truecolor", "SECRET": "x"}
    with playing(router, part):
        ended = run(
            "-e", "A=1", "-e", "B=two words", "-w", "/srv", router.address, "--", "ls", "-l", "",
            environment=environment,
        )  # fmt: skip
    assert ended == (0, b"", "")
    assert [value for tag, value in request if tag == extension.ARGUMENT] == [b"ls", b"-l", b""]
    assert [value for tag, value in request if tag == extension.ENVIRONMENT] == [b"A=1", b"B=two words"]
    assert [value for tag, value in request if tag == extension.DIRECTORY] == [b"/srv"]
    assert [value for tag, value in request if tag == extension.TERM] == [b"xterm-kitty"]
    offered = [value for tag, value in request if tag == extension.OFFERED_ENVIRONMENT]
    assert {b"LANG=C.UTF-8", b"LC_TIME=C", b"COLORTERM=truecolor"} <= set(offered)
    assert b"SECRET" not in b"".join(offered)
    assert extension.WINDOW not in dict(request)


def test_no_more_variables_are_offered_than_a_router_takes(router: ScriptedRouter) -> None:
    request = []

    def part(peer: ExtensionPeer) -> None:
        request.extend(peer.begin())
        peer.end()

    with playing(router, part):
        assert run(router.address, environment={f"LC_{number}": "C" for number in range(100)}) == (0, b"", "")
    assert len([value for tag, value in request if tag == extension.OFFERED_ENVIRONMENT]) == 64


@pytest.mark.parametrize("options", [(), ("--uwsgi",)])
def test_the_window_is_in_the_request_and_resizes_follow(router: ScriptedRouter, options: tuple[str, ...]) -> None:
    with (
        terminal_client("connect", *options, router.address, rows=43, columns=132) as client,
        router.accept() as sock,
    ):
        peer = ExtensionPeer(sock)
        assert dict(peer.begin())[extension.WINDOW] == extension.window(43, 132)
        client.resize(50, 100)
        assert peer.receive() == (extension.SIZE, extension.window(50, 100))
        peer.end()
        assert client.wait() == 0


def test_an_address_that_begins_with_a_dash_takes_a_command(router: ScriptedRouter) -> None:
    status, _, complaint = run("--", "-nowhere", "--", "true")
    assert status == 255
    assert "cannot connect to -nowhere" in complaint


def test_a_request_that_is_too_long_is_refused_by_the_client(router: ScriptedRouter) -> None:
    with playing(router, lambda peer: peer.sock.sendall(peer.welcome)):
        status, _, complaint = run(router.address, "--", "true", *["x" * 100_000] * 3)
    assert status == 2
    assert "a router takes 262144" in complaint


# Both ways


@pytest.mark.parametrize("size", [0, 1, 65_536, 5 * MIB])
def test_input_and_output_are_the_same_at_the_other_end(router: ScriptedRouter, size: int) -> None:
    data = random.Random(size).randbytes(size)
    received = []

    def part(peer: ExtensionPeer) -> None:
        peer.begin(8 * MIB)
        received.append(peer.read_input())
        peer.output(received[0])
        peer.end()

    with playing(router, part):
        status, output, complaint = run(router.address, data=data)
    assert (status, complaint) == (0, "")
    assert [hashlib.sha256(some).digest() for some in (received[0], output)] == [hashlib.sha256(data).digest()] * 2


def test_no_more_input_is_sent_than_the_router_has_room_for(router: ScriptedRouter) -> None:
    data = random.Random(1).randbytes(100_000)
    received = bytearray()

    def part(peer: ExtensionPeer) -> None:
        peer.begin(window=1000)
        while len(received) < len(data):
            wanted = min(1000, len(data) - len(received))
            received.extend(peer.read_input(wanted))
            assert len(received) % 1000 == 0  # no byte came beyond the window
            peer.send(extension.CREDIT, (1000).to_bytes(4, "little"))
        assert peer.receive() == (extension.END_INPUT, b"")
        peer.end()

    with playing(router, part):
        assert run(router.address, data=data) == (0, b"", "")
    assert received == data


def test_the_window_size_and_escapes_overtake_input_without_room(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as sock:
        peer = ExtensionPeer(sock)
        peer.begin(window=5)
        peer.output(b"ready")
        client.read_until(b"ready")
        client.type(b"1234567\r")
        assert peer.read_input(5) == b"12345"
        client.resize(33, 99)
        assert peer.receive() == (extension.SIZE, extension.window(33, 99))
        client.type(b"~.")
        assert client.wait() == 255
        assert b"fastpty: disconnected\r\n" in client.shown
        assert peer.read_to_end() == []


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_an_interrupt_overtakes_and_drops_input_without_room(router: ScriptedRouter, key: bytes, number: int) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as sock:
        peer = ExtensionPeer(sock)
        peer.begin(window=5)
        peer.output(b"ready")
        client.read_until(b"ready")
        client.type(b"1234567")
        assert peer.read_input(5) == b"12345"
        client.type(key)
        assert peer.receive() == (number, b"")
        peer.send(extension.CREDIT, (100).to_bytes(4, "little"))
        client.type(b"x")
        assert peer.receive() == (extension.STDIN, b"x")


def test_an_interrupt_with_room_is_a_key(router: ScriptedRouter) -> None:
    with terminal_client("connect", router.address) as client, router.accept() as sock:
        peer = ExtensionPeer(sock)
        peer.begin()
        peer.output(b"ready")
        client.read_until(b"ready")
        client.type(b"\x03")
        assert peer.receive() == (extension.STDIN, b"\x03")


def test_a_last_line_like_a_notice_is_output(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"fastpty: the session's time is over\r\n")
        peer.end()

    with playing(router, part):
        assert run(router.address) == (0, b"fastpty: the session's time is over\r\n", "")


def test_remarks_of_the_router_go_to_standard_error(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"out")
        peer.send(extension.NOTICE, b"this session is \x1b[31mrecorded\n")
        peer.end()

    with playing(router, part, part):
        assert run(router.address) == (0, b"out", "fastpty: this session is \\x1b[31mrecorded\n")
        assert run("-q", router.address) == (0, b"out", "")


def test_the_connection_is_shown_with_what_the_program_got_and_wrote(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        assert peer.read_input() == b"four"
        peer.output(b"abc")
        peer.end()

    with playing(router, part):
        _, _, complaint = run("-v", router.address, data=b"four")
    first, last = complaint.splitlines()
    assert first.endswith(", fpty protocol")
    assert last.startswith("fastpty: 4 bytes sent, 3 bytes received in ")


# Endings


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_the_exit_status_is_the_program_s(router: ScriptedRouter, code: int) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"all of it")
        peer.end(code)

    with playing(router, part):
        assert run(router.address) == (code, b"all of it", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
@pytest.mark.parametrize(("options", "raises"), [((), False), (("--raise",), True)])
def test_a_program_that_a_signal_ended(
    router: ScriptedRouter, options: tuple[str, ...], raises: bool, number: int
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(number, extension.DUMPED_CORE if number == signal.SIGSEGV else extension.SIGNALLED)

    with playing(router, part):
        assert run(*options, router.address) == (-number if raises else 128 + number, b"", "")


@pytest.mark.parametrize(
    ("how", "code", "expected"),
    [
        (extension.EXITED, 3, {"code": 3}),
        (extension.SIGNALLED, 15, {"signal": 15, "core": False}),
        (extension.DUMPED_CORE, 11, {"signal": 11, "core": True}),
    ],
)
def test_the_status_descriptor_gets_one_line_of_json(
    router: ScriptedRouter, how: int, code: int, expected: dict[str, object]
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin(number=12)
        taken = peer.read_input()
        peer.output(b"12345")
        peer.sock.sendall(extension.status(how, code, output=5, taken=len(taken)))
        peer.read_to_end()

    with playing(router, part):
        _, output, complaint = run("--status-fd", "3", router.address, data=b"abc", shell="3>&2")
    assert output == b"12345"
    assert complaint.count("\n") == 1
    counts = {"output_bytes": 5, "input_bytes": 3, "input_taken_bytes": 3, "input_dropped_bytes": 0}
    flags = {"hung_up": False, "output_cut": False}
    assert json.loads(complaint) == {"session": 12, "seconds": 0.0} | expected | counts | flags


def test_the_status_descriptor_also_gets_an_error(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"12345")

    with playing(router, part):
        status, _, complaint = run("--status-fd", "3", router.address, shell="3>&1 1>/dev/null 2>&1")
        assert (status, complaint) == (255, "")
    with playing(router, part):
        status, output, _ = run("--status-fd", "3", router.address, shell="3>&1 1>/dev/null 2>/dev/null")
    described = json.loads(output)
    assert described["error"] == "lost the connection; exit status unknown"
    assert "code" not in described


@pytest.mark.parametrize("number", ["77", "no", "0"])
def test_a_status_descriptor_that_cannot_be_written_is_reported(number: str) -> None:
    status, _, complaint = run("--status-fd", number, "/nowhere", shell="</dev/null")
    assert status == 2
    assert f"--status-fd: '{number}' is not the number of a descriptor" in complaint


@pytest.mark.parametrize("difference", [-2, 2])
def test_output_that_the_router_counts_otherwise_is_an_error(router: ScriptedRouter, difference: int) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"12345")
        peer.output_bytes += difference
        peer.end()

    with playing(router, part):
        status, output, complaint = run(router.address)
    assert (status, output) == (255, b"12345")
    assert complaint.endswith(f"the router sent {5 + difference}, 5 came\n")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "cut", ["before WELCOME is whole", "before STARTED", "in the session", "in a frame", "reset"]
)
def test_a_connection_that_ends_without_a_status_is_lost(router: ScriptedRouter, cut: str) -> None:
    def part(peer: ExtensionPeer) -> None:
        if cut == "before WELCOME is whole":
            peer.sock.sendall(peer.welcome[:-3])
            return
        if cut == "before STARTED":
            peer.greet()
            return
        peer.begin()
        peer.output(b"some")
        if cut == "in a frame":
            peer.sock.sendall(extension.status(extension.EXITED, 0, output=4)[:-1])
        if cut == "reset":
            peer.receive()  # and the rest of the input remains unread

    with playing(router, part):
        status, output, complaint = run(router.address, data=b"x" * 30_000)
    assert status == 255
    assert output in (b"", b"some")
    assert complaint == "fastpty: lost the connection; exit status unknown\n"


def test_a_background_job_that_the_program_leaves_behind_does_not_change_the_exit_status(
    router: ScriptedRouter,
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"some")
        peer.end(3, flags=extension.CUT)

    remark = "fastpty: the program left processes behind: what they wrote last may be missing\n"
    with playing(router, part, part, part):
        assert run(router.address) == (3, b"some", remark)
        assert run("-q", router.address) == (3, b"some", "")
        status, described, _ = run("--status-fd", "3", router.address, shell="3>&1 1>/dev/null")
    assert status == 3
    found = json.loads(described)
    assert (found["code"], found["output_cut"], "error" in found) == (3, True, False)


def test_a_program_that_the_router_hung_up_has_its_own_status(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(1, extension.SIGNALLED, extension.BY_ROUTER)

    with playing(router, part):
        assert run(router.address) == (129, b"", "")


@pytest.mark.parametrize("how", [0, extension.UNKNOWN, 77])
def test_a_status_that_the_router_does_not_know_is_no_success(router: ScriptedRouter, how: int) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(0, how)

    with playing(router, part):
        assert run(router.address) == (255, b"", "fastpty: the program has ended; exit status unknown\n")


@pytest.mark.parametrize(("how", "code"), [(extension.EXITED, 256), (extension.SIGNALLED, 128)])
def test_a_status_that_no_program_can_have_is_no_success(router: ScriptedRouter, how: int, code: int) -> None:
    """The low eight bits of the exit status would be 0."""

    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.end(code, how)

    with playing(router, part):
        assert run(router.address) == (255, b"", "fastpty: the program has ended; exit status unknown\n")


@pytest.mark.parametrize(
    ("code", "errno", "status"),
    [
        (extension.REFUSED, 0, 255),
        (extension.LIMIT, 0, 255),
        (extension.EXECUTE, 2, 127),
        (extension.EXECUTE, 13, 126),
        (999, 0, 255),
    ],
)
@pytest.mark.parametrize("has_started", [False, True])
def test_a_refusal_is_one_harmless_line_and_never_output(
    router: ScriptedRouter, code: int, errno: int, status: int, has_started: bool
) -> None:
    def part(peer: ExtensionPeer) -> None:
        if has_started:
            peer.begin()
        else:
            peer.greet()
        peer.sock.sendall(extension.refusal(code, b"no:\x1b]0;x\x07\n such \xff", errno=errno))

    with playing(router, part):
        assert run(router.address) == (status, b"", "fastpty: no:\\x1b]0;x\\x07\\n such \ufffd\n")


@pytest.mark.parametrize("code", [extension.REFUSED, extension.EXECUTE])
def test_a_refusal_without_end_is_one_short_line(router: ScriptedRouter, code: int) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.sock.sendall(extension.refusal(code, b"\r\x1b[2J\n" * 20_000))

    with playing(router, part):
        status, output, complaint = run(router.address)
    assert (status, output) == (255 if code == extension.REFUSED else 126, b"")
    assert complaint.startswith("fastpty: \\x1b[2J\\n\\r")
    assert complaint.count("\n") == 1
    assert complaint.rstrip("\n").isprintable()
    assert len(complaint) < 2000


def test_a_refusal_with_the_welcome_is_not_output(router: ScriptedRouter) -> None:
    """A router that refuses a client does not wait for START."""

    def part(peer: ExtensionPeer) -> None:
        peer.sock.sendall(peer.welcome + extension.refusal(extension.REFUSED, b"refused: no rule allows you"))

    with playing(router, part):
        assert run(router.address) == (255, b"", "fastpty: refused: no rule allows you\n")


def test_a_refusal_without_a_text_is_told_by_its_code(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.sock.sendall(extension.refusal(extension.LIMIT, b""))

    with playing(router, part):
        assert run(router.address) == (255, b"", "fastpty: the router has too many sessions\n")


def test_a_closed_output_ends_the_client_like_a_local_program(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            peer.output(bytes(64 * MIB))

    script = '{ "$@"; echo "status $?" >&2; } | head -c 1'
    with playing(router, part):
        ended = subprocess.run(
            ["sh", "-c", script, "sh", *CLIENT, "connect", "-n", router.address],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
    assert ended.stderr == b"status 141\n"
