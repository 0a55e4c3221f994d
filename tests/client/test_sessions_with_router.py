"""The client and the router together over the extension: command, exit status, window, and every byte."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import fastpty
from tests import ROOT
from tests.support.client_harness import CLIENT, terminal_client
from tests.support.harness import Router, children, eventually
from tests.support.peers import need

MIB = 1 << 20


@pytest.fixture
def address(start_router: Callable[..., Router], directory: Path) -> str:
    start_router(f"{directory}/s", "--env", "PS1=remote:")
    return f"{directory}/s"


def run(*arguments: str, data: bytes | None = None, shell: str = "") -> tuple[int, bytes, str]:
    """Status, output and complaints of a client; `shell` holds redirections."""
    command = [*CLIENT, "connect", *arguments]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    given = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, **given)  # type: ignore[call-overload]
    return ended.returncode, ended.stdout, ended.stderr.decode()


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_the_exit_status_is_the_program_s(address: str, code: int) -> None:
    assert run(address, "--", "sh", "-c", f"echo out; exit {code}") == (code, b"out\r\n", "")


def test_the_exit_status_is_the_program_s_though_it_leaves_a_background_job_behind(address: str) -> None:
    script = "trap '' HUP; sleep 5 & echo out; exit 3"
    remark = "fastpty: the program left processes behind: what they wrote last may be missing\n"
    assert run(address, "--", "sh", "-c", script) == (3, b"out\r\n", remark)


def test_a_session_ends_well_though_the_client_was_uninstalled(address: str, tmp_path: Path) -> None:
    """The client opens no file after the first output."""
    trace = tmp_path / "trace"
    script = ["sh", "-c", "echo BEGUN; exit 7"]
    command = [need("strace"), "-qq", "-o", str(trace), *CLIENT, "connect", address, "--", *script]
    ended = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True, timeout=60)
    assert ended.returncode == 7
    before, *after = re.split(r'^write\(\d+, "BEGUN', trace.read_text(), flags=re.MULTILINE)
    assert "open" in before
    assert len(after) == 1
    assert "open" not in after[0]


def test_the_exit_status_of_a_shell_is_the_client_s(address: str) -> None:
    with terminal_client("connect", address) as client:
        client.read_until(b"remote:")
        client.type(b"exit 9\r")
        assert client.wait() == 9
        assert client.modes_are_as_before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_a_signal_ended(address: str, number: int) -> None:
    script = ["sh", "-c", f"kill -{number} $$"]
    assert run(address, "--", *script) == (128 + number, b"", "")
    assert run("--raise", address, "--", *script) == (-number, b"", "")


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("--", "no-such-command"), 127, "No such file or directory"),
        (("--", "/etc/passwd"), 126, "Permission denied"),
        (("--", "/no/such/command"), 127, "No such file or directory"),
        (("--", "/"), 126, "Permission denied"),
    ],
)
def test_a_command_that_cannot_be_executed(
    address: str, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    ended = run(address, *arguments)
    assert ended[:2] == (status, b"")
    assert ended[2] == f"fastpty: {arguments[-1]}: cannot execute the command: {complaint}\n"


def test_a_directory_that_cannot_be_entered_is_said(address: str) -> None:
    status, output, complaint = run("-w", "/no/such", address, "--", "pwd")
    assert (status, output) == (127, b"")
    assert "directory" in complaint


def test_command_variables_and_directory_arrive(address: str) -> None:
    script = 'printf "%s\\n" "$A" "$B" "$PWD" "$1" "$2"'
    ended = run("-e", "A=1 2", "-e", "B=ü", "-w", "/usr", address, "--", "sh", "-c", script, "sh", "", "a b")
    assert ended == (0, "1 2\r\nü\r\n/usr\r\n\r\na b\r\n".encode(), "")


def test_the_first_look_of_a_program_sees_the_client_s_window_and_terminal(address: str) -> None:
    command = ["env", "TERM=screen", *CLIENT]
    for rows in range(20, 40):
        with terminal_client(
            "connect", address, "--", "sh", "-c", "stty size; echo $TERM", command=command, rows=rows, columns=123
        ) as client:
            assert client.wait() == 0
            assert client.shown == b"%d 123\r\nscreen\r\n" % rows


def test_a_resize_reaches_the_program(address: str) -> None:
    script = "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done"
    with terminal_client("connect", address, "--", "sh", "-c", script) as client:
        client.read_until(b"ready\r\n")
        client.resize(51, 101)
        client.read_until(b"51 101\r\n")
        assert client.wait() == 3


def test_a_status_line_counts_what_the_program_got(address: str) -> None:
    script = "stty raw -echo; echo ready; head -c 3 >/dev/null; exit 5"
    command = [*CLIENT, "connect", "--status-fd", "2", address, "--", "sh", "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        shown = client.stdout.readline()
        client.stdin.write(b"abc")
        client.stdin.flush()
        shown += client.stdout.read()
        described = json.loads(client.stderr.read())
    assert client.returncode == described["code"] == 5
    assert described["output_bytes"] == len(shown)
    assert described["input_bytes"] == described["input_taken_bytes"] == 3
    assert described["session"] == 1


def test_fast_programs_lose_no_output(address: str) -> None:
    """Many clients at once, each of whose programs exits at once."""
    failures = []

    def turn(number: int) -> None:
        for _ in range(25):
            ended = run(address, "--", "sh", "-c", f"echo {number}; exit {number}")
            if ended != (number, b"%d\r\n" % number, ""):
                failures.append(ended)

    threads = [threading.Thread(target=turn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_much_output_comes_whole_before_the_status(address: str) -> None:
    script = f"stty -opost; head -c {20 * MIB} /dev/zero; exit 4"
    status, output, complaint = run(address, "--", "sh", "-c", script)
    assert (status, len(output), complaint) == (4, 20 * MIB, "")


def test_much_input_goes_through_whole_and_its_end_is_seen(address: str) -> None:
    data = b"".join(b"%07d %s\n" % (number, b"x" * 55) for number in range(20_000))
    script = f"stty raw -echo; echo ready; head -c {len(data)} | sha256sum; exit 3"
    command = [*CLIENT, "connect", address, "--", "sh", "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdout.readline()
        client.stdin.write(data)
        client.stdin.close()
        assert hashlib.sha256(data).hexdigest().encode() in client.stdout.read()
    assert client.returncode == 3


def test_the_end_of_input_is_the_end_for_a_program_that_reads_lines(address: str) -> None:
    assert run(address, "--", "sh", "-c", "stty -echo; cat; exit 6", data=b"one\ntwo\n")[0] == 6


def test_an_interrupt_reaches_a_program_that_does_not_read(address: str) -> None:
    """Behind a paste that fills the router's window and the client's buffer."""
    with terminal_client("connect", address) as client:
        client.read_until(b"remote:")
        client.type(b"sh -c 'stty -echo; echo st\"\"arted; exec sleep 1000'; stty echo\r")
        client.read_until(b"started\r\n")
        client.type((b"# " + b"x" * 48 + b"\r") * 2000)
        for _ in range(100):  # as a person does; the first may come before the client has read all of the paste
            client.type(b"\x03")
            if client.shows_within(0.3, b"remote:"):
                break
        client.read_until(b"remote:")


def test_a_client_that_is_killed_hangs_its_program_up(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    with terminal_client("connect", f"{directory}/s", "--", "sleep", "1000") as client:
        router.wait_for_log("session 1: start")
        os.kill(client.pid, signal.SIGKILL)
        eventually(lambda: not children(router.pid), "the program is gone")


def test_a_forced_command_is_not_replaced(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", "/bin/echo forced")
    status, output, complaint = run(f"{directory}/s", "--", "id")
    assert (status, output) == (255, b"")
    assert complaint == "fastpty: refused: clients may not choose a command here\n"
    assert run(f"{directory}/s") == (0, b"forced\r\n", "")


def test_an_fpty_router_address_over_tcp(start_router: Callable[..., Router]) -> None:
    router = start_router("--fpty-router", "127.0.0.1:0")
    address = router.wait_for_log(r"listening on (127\.0\.0\.1:\d+)")[0][1]
    assert run("--protocol", "fpty", address, "--", "sh", "-c", "exit 8") == (8, b"", "")
    problem = "is an address for fastpty's own protocol: connect with --protocol fpty"
    assert run(address) == (255, b"", f"fastpty: {address} {problem}\n")
    assert run("--uwsgi", address, data=b"exit\n") == (255, b"", f"fastpty: {address} {problem}\n")


def test_a_session_for_python(address: str) -> None:
    with fastpty.Session(
        address, ["sh", "-c", "stty size; read line; echo got $line; exit 3"], size=(30, 90)
    ) as session:
        shown = b""
        while b"30 90\r\n" not in shown:
            shown += session.read()
        session.write(b"it\n")
        while some := session.read():
            shown += some
        assert shown.endswith(b"got it\r\n")
        assert session.wait(30) == 3
        assert session.number == 1
