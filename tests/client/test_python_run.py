"""fastpty.run: a command without a terminal for Python programs, as subprocess.run runs one here."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fastpty
from tests import ROOT
from tests.support.client_harness import ScriptedRouter
from tests.support.extension_peer import ExtensionPeer, playing
from tests.support.harness import Router, eventually, process_gone


@pytest.fixture
def address(start_router: Callable[..., Router], directory: Path) -> str:
    start_router(f"{directory}/s")
    return f"{directory}/s"


def test_input_output_errors_and_the_return_code(address: str) -> None:
    args = ["sh", "-c", "cat; echo err >&2; exit 3"]
    done = fastpty.run(address, args, input=b"in\0\xff", capture_output=True)
    assert (done.args, done.returncode, done.stdout, done.stderr) == (args, 3, b"in\0\xff", b"err\n")


def test_without_input_the_program_reads_none(address: str) -> None:
    assert fastpty.run(address, ["wc", "-c"], capture_output=True).stdout == b"0\n"


def test_text_is_str_with_plain_ends_of_lines(address: str) -> None:
    done = fastpty.run(address, ["sed", "s/$/\r/"], input="grün\n", capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("grün\n", "")


@pytest.mark.parametrize(("data", "text"), [("text", False), (b"bytes", True)])
def test_input_of_the_wrong_type_is_a_type_error(data: bytes | str, text: bool) -> None:
    with pytest.raises(TypeError, match="input is a str if text is true"):
        fastpty.run("/nowhere", ["cat"], input=data, text=text)


def test_variables_and_directory(address: str) -> None:
    done = fastpty.run(address, ["sh", "-c", "echo $A; pwd"], env={"A": "1"}, cwd="/usr", capture_output=True)
    assert done.stdout == b"1\n/usr\n"


def test_a_program_that_a_signal_ended(address: str) -> None:
    assert fastpty.run(address, ["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM


def test_a_return_code_that_is_checked_is_an_error_with_the_output(address: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        fastpty.run(address, ["sh", "-c", "echo out; echo err >&2; exit 4"], capture_output=True, check=True)
    error = raised.value
    assert (error.returncode, error.stdout, error.stderr) == (4, b"out\n", b"err\n")


def test_a_timeout_has_the_output_so_far_and_hangs_the_program_up(address: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        fastpty.run(address, ["sh", "-c", "echo $$; exec sleep 1000"], capture_output=True, text=True, timeout=1)
    error = raised.value
    assert error.timeout == 1
    assert isinstance(error.stdout, str)
    eventually(lambda: process_gone(int(error.stdout)), "the program has ended")


def test_output_without_end_runs_into_the_timeout_too(address: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        fastpty.run(address, ["yes"], capture_output=True, timeout=0.2)


def test_much_input_and_output_pass_at_the_same_time(address: str) -> None:
    data = bytes(range(256)) * 40_000
    assert fastpty.run(address, ["cat"], input=data, capture_output=True).stdout == data


def test_input_that_the_program_does_not_read_is_dropped(address: str) -> None:
    assert fastpty.run(address, ["true"], input=bytes(10_000_000)).returncode == 0


def test_without_capture_the_output_is_this_process_s(address: str) -> None:
    code = "import fastpty, sys; print(fastpty.run(sys.argv[1], ['sh', '-c', 'echo out; echo err >&2']).stdout)"
    done = subprocess.run([sys.executable, "-c", code, address], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("out\nNone\n", "err\n")


def test_a_program_whose_output_nobody_reads_gets_a_broken_pipe(address: str) -> None:
    code = "import fastpty, sys; sys.exit(-fastpty.run(sys.argv[1], ['yes']).returncode)"
    command = f'{{ "{sys.executable}" -c "$0" "$1"; echo $? >&2; }} | head -c 2'
    done = subprocess.run(["sh", "-c", command, code, address], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"y\n", b"%d\n" % signal.SIGPIPE)


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_executed(address: str, command: str, status: int) -> None:
    with pytest.raises(fastpty.SessionError, match=f"^{command}: cannot execute") as raised:
        fastpty.run(address, [command])
    assert raised.value.exit_status == status


def test_a_forced_command_is_said(start_router: Callable[..., Router], directory: Path) -> None:
    start_router("--command", "cat", f"{directory}/s")
    with pytest.raises(fastpty.SessionError, match="may not choose a command"):
        fastpty.run(f"{directory}/s", ["ls"])


def test_without_a_router_or_a_command(directory: Path, address: str) -> None:
    with pytest.raises(fastpty.FastptyError, match="no such socket"):
        fastpty.run(f"{directory}/nothing", ["ls"])
    with pytest.raises(fastpty.UsageError, match="the command is missing"):
        fastpty.run(address, [])


def test_a_connection_that_breaks_is_no_success(router: ScriptedRouter) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"some")

    with playing(router, part), pytest.raises(fastpty.SessionError, match="lost the connection"):
        fastpty.run(router.address, ["ls"], capture_output=True)


def test_a_router_that_does_not_answer_runs_into_the_timeout(router: ScriptedRouter) -> None:
    with (
        router.playing(lambda sock: sock.recv(65536)),
        pytest.raises(fastpty.SessionError, match="does not answer"),
    ):
        fastpty.run(router.address, ["ls"], timeout=0.5)


def test_an_option_that_there_is_not_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^run\(\) got an unexpected keyword argument 'shell'$"):
        fastpty.run("/nowhere", ["ls"], shell=True)  # type: ignore[call-arg]
