"""`fastpty exec`: the streams of a program at a router are those of the command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.client.exec_loop import Sink
from fastpty.wire import extension
from tests import ROOT
from tests.support.client_harness import CLIENT, ScriptedRouter, terminal_client
from tests.support.extension_peer import ExtensionPeer, playing
from tests.support.harness import Router, children, eventually, process_gone

MIB = 1 << 20
EXEC = " ".join(CLIENT) + " exec"


@pytest.fixture
def address(start_router: Callable[..., Router], directory: Path) -> str:
    start_router(f"{directory}/s")
    return f"{directory}/s"


def run(*arguments: str, data: bytes | None = None) -> tuple[int, bytes, bytes]:
    """Status, output and error output of the command."""
    given = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    ended = subprocess.run([*CLIENT, "exec", *arguments], cwd=ROOT, capture_output=True, timeout=60, **given)  # type: ignore[call-overload]
    return ended.returncode, ended.stdout, ended.stderr


def shell(script: str, address: str) -> tuple[int, bytes, bytes]:
    """The same of a shell's script, in which `$EXEC $A` runs the command."""
    environment = os.environ | {"EXEC": EXEC, "A": address}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return ended.returncode, ended.stdout, ended.stderr


# Streams


def test_output_and_errors_come_apart_with_the_exit_status(address: str) -> None:
    assert run(address, "--", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")


def test_merged_errors_are_output(address: str) -> None:
    ended = run("--merge-stderr", address, "--", "sh", "-c", "echo a; echo b >&2; echo c")
    assert ended == (0, b"a\nb\nc\n", b"")


def test_all_bytes_pass_both_ways(address: str) -> None:
    data = bytes(range(256)) * 4096 * 16
    assert run(address, "--", "cat", data=data) == (0, data, b"")


def test_input_ends(address: str) -> None:
    assert run(address, "--", "wc", "-c", data=b"") == (0, b"0\n", b"")
    assert run("-n", address, "--", "cat") == (0, b"", b"")


def test_input_that_the_program_does_not_want_is_no_error(address: str) -> None:
    assert run(address, "--", "true", data=bytes(4 * MIB)) == (0, b"", b"")


def test_a_pipeline_of_many(address: str) -> None:
    ended = shell(
        "seq 9 | $EXEC $A -- cat | $EXEC $A -- sort -r | $EXEC $A -- head -1; exit ${PIPESTATUS[3]}", address
    )
    assert ended == (0, b"9\n", b"")


def test_an_archive_passes_through(address: str, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    for number in range(20):
        (tmp_path / "from" / str(number)).write_bytes(os.urandom(number * 10_000))
    script = f"tar c -C {tmp_path}/from . | $EXEC $A -- tar x -C {tmp_path}/to"
    assert shell(script, address) == (0, b"", b"")
    for number in range(20):
        name = str(number)
        assert (tmp_path / "to" / name).read_bytes() == (tmp_path / "from" / name).read_bytes()
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        archive.add(tmp_path / "from")


def test_nobody_reads_the_output(address: str) -> None:
    assert shell("$EXEC $A -- yes | head -1; exit ${PIPESTATUS[0]}", address) == (141, b"y\n", b"")


def test_the_first_write_that_nobody_reads_breaks_the_pipe(address: str) -> None:
    """As in a pipeline without a router: the program is stopped before it writes."""
    script = "$EXEC $A -- sh -c 'echo one; sleep 1; echo two; exit 3' | head -1; exit ${PIPESTATUS[0]}"
    assert shell(script, address) == (141, b"one\n", b"")


@pytest.mark.parametrize(
    ("closed", "ended"),
    [
        ("<&-", (3, b"out\n", b"err\n")),
        (">&-", (3, b"", b"err\n")),
        ("2>&-", (3, b"out\n", b"")),
        ("<&- >&- 2>&-", (3, b"", b"")),
    ],
)
def test_closed_descriptors(closed: str, ended: tuple[int, bytes, bytes], address: str) -> None:
    program = "trap '' PIPE; echo out 2>/dev/null; echo err >&2 2>/dev/null; exit 3"
    assert shell(f'$EXEC $A -- sh -c "{program}" {closed}; exit $?', address) == ended


def test_two_hundred_at_once(address: str) -> None:
    """Each gets its own bytes and its own status."""
    script = (
        "for i in $(seq 200); do "
        "($EXEC $A -- sh -c \"echo $i; exit $((i % 100))\" > $D/$i; echo $? >> $D/$i) & "
        "[ $((i % 25)) = 0 ] && wait; done; wait"
    )  # fmt: skip
    directory = Path(address).parent / "many"
    directory.mkdir()
    assert shell(f"D={directory}; {script}", address) == (0, b"", b"")
    for number in range(1, 201):
        assert (directory / str(number)).read_text() == f"{number}\n{number % 100}\n"


def test_a_slow_reader_of_one_stream_gets_everything(address: str) -> None:
    script = "$EXEC $A -- sh -c 'seq 100000; seq 50000 >&2' 2> >(sha256sum >&2) | (sleep 0.3; sha256sum); wait"
    _, output, errors = shell(script, address)
    for found, last in ((output, 100_000), (errors, 50_000)):
        wanted = hashlib.sha256(b"".join(b"%d\n" % number for number in range(1, last + 1))).hexdigest()
        assert found.split()[0].decode() == wanted


# Options


def test_output_that_follows_output_that_waits_is_not_written_before_it() -> None:
    data = os.urandom(200_000)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sink = Sink(extension.OUTPUT_STREAM, writer, "output", blocks=False)
    sink.add(data[:150_000])  # more than the pipe takes
    got = os.read(reader, 65536)
    sink.add(data[150_000:])
    while sink.buffer:
        sink.write()
        got += os.read(reader, 65536)
    for fd in (reader, writer):
        os.close(fd)
    assert got == data


def test_variables_and_directory(address: str) -> None:
    ended = run("-e", "A=1 2", "-w", "/usr", address, "--", "sh", "-c", 'echo "$A" "$PWD"')
    assert ended == (0, b"1 2 /usr\n", b"")


def test_a_terminal_is_wanted(address: str) -> None:
    assert run("-t", address, "--", "sh", "-c", "test -t 0 && echo yes")[:2] == (0, b"yes\r\n")


def test_a_background_job_is_said_and_costs_no_success(address: str) -> None:
    status, output, complaint = run("--drain", "50", address, "--", "sh", "-c", "sleep 600 & echo $!")
    assert status == 0
    assert complaint == b"fastpty: other processes still have the output open: what they write from now on is lost\n"
    os.kill(int(output), signal.SIGKILL)


def test_a_command_that_takes_too_long_is_hung_up(address: str) -> None:
    status, output, complaint = run("--timeout", "1", address, "--", "sh", "-c", "echo $$; exec sleep 600")
    assert (status, complaint) == (255, b"fastpty: timed out: the command has not ended in time, and was hung up\n")
    eventually(lambda: process_gone(int(output)), "it has ended")


def test_the_status_line_counts_both_streams(address: str) -> None:
    _, output, _ = run("--status-fd", "1", address, "--", "sh", "-c", "echo four >&2; exit 4")
    fields = json.loads(output)
    assert (fields["code"], fields["output_bytes"], fields["error_bytes"]) == (4, 0, 5)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("@a",), "the command is missing"),
        (("-i", "-n", "@a", "--", "x"), "-i and -n"),
        (("--drain", "soon", "@a", "--", "x"), "--drain"),
        (("--timeout", "-1", "@a", "--", "x"), "--timeout"),
        (("-t", "--merge-stderr", "@a", "--", "x"), "--merge-stderr does not work with -t"),
        (("-e", "~", "@a", "--", "x"), "-e takes NAME=VALUE"),
        (("--protocol", "raw", "@a", "--", "x"), "exec does not work with --protocol raw"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], complaint: str) -> None:
    status, output, errors = run(*arguments)
    assert (status, output) == (2, b"")
    assert complaint in errors.decode()
    assert errors.count(b"\n") == 1


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("/etc/passwd", 126), ("/", 126)])
def test_a_command_that_cannot_be_executed(address: str, command: str, status: int) -> None:
    ended = run(address, "--", command)
    assert ended[:2] == (status, b"")
    assert ended[2].startswith(f"fastpty: {command}: cannot execute".encode())


# Signals


def test_an_interrupt_reaches_the_program(address: str) -> None:
    with subprocess.Popen(
        [*CLIENT, "exec", "-n", address, "--", "sh", "-c", "trap 'kill $!; exit 5' INT; echo ready; sleep 600 & wait"],
        cwd=ROOT, stdout=subprocess.PIPE,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(30) == 5


def test_a_second_interrupt_disconnects(address: str) -> None:
    program = "trap 'echo no' INT; trap 'exit 1' HUP; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [*CLIENT, "exec", "-n", address, "--", "sh", "-c", program],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGINT)
        assert client.stdout.readline() == b"no\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(30) == 255
        assert client.stderr.read() == b"fastpty: disconnected\n"


def test_a_key_on_a_terminal_interrupts(address: str) -> None:
    with terminal_client(
        "exec", address, "--", "sh", "-c", "trap 'kill $!; exit 5' INT; echo ready; sleep 600 & wait"
    ) as client:
        client.read_until(b"ready")
        client.type(b"\x03")
        assert client.wait() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_client_hangs_the_program_up(
    number: int, start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s")
    with subprocess.Popen(
        [*CLIENT, "exec", f"{directory}/s", "--", "sh", "-c", "echo $$; exec sleep 600"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        client.stdout.readline()
        client.send_signal(number)
        assert client.wait(30) == -number
    router.wait_for_log("end: client left, killed by SIGHUP")
    eventually(lambda: not children(router.pid), "nothing is left")


# Routers that lie, or break


def test_a_lost_connection_is_never_success(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"half")

    with playing(router, part):
        status, output, complaint = run("-n", router.address, "--", "x")
    assert (status, output) == (255, b"half")
    assert b"lost the connection" in complaint


@pytest.mark.parametrize("error_bytes", [0, 4, 6])
def test_standard_error_that_the_router_counts_otherwise_is_an_error(
    router: ScriptedRouter, error_bytes: int
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.send(extension.STDERR, b"error")
        peer.sock.sendall(extension.status(extension.EXITED, 0, error=error_bytes))
        peer.read_to_end()

    with playing(router, part):
        status, _, complaint = run("-n", router.address, "--", "x")
    assert status == 255
    assert b"output" in complaint


@pytest.mark.parametrize(
    ("number", "payload"),
    [(extension.STDERR, b"x"), (extension.STREAM_ENDED, b"\1"), (extension.STREAM_ENDED, b"\2")],
)
def test_frames_of_a_session_do_not_come_before_it(router: ScriptedRouter, number: int, payload: bytes) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.greet()
        peer.send(number, payload)
        peer.read_to_end()

    with playing(router, part):
        status, _, complaint = run("-n", router.address, "--", "x")
    assert status == 255
    assert b"violates the protocol" in complaint


def test_remarks_of_the_router_go_to_standard_error(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.send(extension.NOTICE, b"this session is \x1b[31mrecorded\n")
        peer.output(b"out")
        peer.end()

    with playing(router, part, part):
        assert run("-n", router.address, "--", "x") == (0, b"out", b"fastpty: this session is \\x1b[31mrecorded\n")
        assert run("-n", "-q", router.address, "--", "x") == (0, b"out", b"")


def test_a_router_without_the_extension_is_said(router: ScriptedRouter) -> None:
    with router.playing(lambda sock: sock.sendall(b"$ ")):
        status, output, complaint = run("-n", router.address, "--", "x")
    assert (status, output) == (255, b"")
    assert b"exec needs a router that speaks the extension" in complaint
