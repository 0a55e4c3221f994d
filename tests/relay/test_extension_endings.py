"""Every byte, then the status: how sessions of the negotiated extension end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient, ask_for_pieces
from tests.support.harness import Router, children, eventually, process_gone
from tests.support.peers import need_root

Starts = Callable[..., Router]


class Setting:
    """A router and its clients."""

    def __init__(self, start: Starts, path: str) -> None:
        self._start, self.path = start, path
        self.clients: list[ExtensionClient] = []
        self.router: Router | None = None

    def serve(self, *options: str) -> Router:
        self.router = self._start("--listen-raw", self.path, *options)
        return self.router

    def run(self, *argv: str, **keywords: object) -> ExtensionClient:
        if self.router is None:
            self.serve()
        self.clients.append(ExtensionClient(self.path))
        self.clients[-1].start(argv, **keywords)  # type: ignore[arg-type]
        return self.clients[-1]


@pytest.fixture
def setting(start_router: Starts, directory: Path) -> Iterator[Setting]:
    made = Setting(start_router, str(directory / "socket"))
    yield made
    for client in made.clients:
        client.sock.close()


@pytest.mark.parametrize("code", [0, 1, 37, 255])
def test_status_has_the_programs_exit_status(code: int, setting: Setting) -> None:
    status = setting.run("sh", "-c", f"exit {code}").status()
    assert (status.how, status.code) == (extension.EXITED, code)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM])
def test_status_has_the_signal_that_killed_the_program(number: int, setting: Setting) -> None:
    status = setting.run("sh", "-c", f"kill -{int(number)} $$").status()
    assert (status.how, status.code) == (extension.SIGNALLED, number)


def test_started_comes_before_all_output_and_status_after_it(setting: Setting) -> None:
    client = setting.run("sh", "-c", "echo done")
    client.status()
    assert [number for number, _ in client.messages] == [extension.WELCOME, extension.STARTED, extension.STATUS]


@pytest.mark.parametrize("splice", ["on", "off"])
def test_every_byte_comes_before_the_status(splice: str, setting: Setting) -> None:
    setting.serve("--splice", splice)
    client = setting.run("sh", "-c", "stty -opost; seq 200000; exit 3")
    status = client.status()
    assert status.code == 3
    assert client.output == b"".join(b"%d\n" % number for number in range(1, 200_001))


def test_a_short_program_loses_nothing(setting: Setting) -> None:
    for index in range(100):
        client = setting.run("sh", "-c", f"echo {index}; exit {index}")
        assert client.status().code == index
        assert client.output == b"%d\r\n" % index
        client.sock.close()


def test_a_slow_reader_gets_everything(setting: Setting) -> None:
    client = setting.run("sh", "-c", "stty -opost; seq 100000; exit 5")
    client.read_until(extension.STARTED)
    router = setting.router
    assert router is not None
    worker = router.pid
    for _ in range(20):
        client.read()
        time.sleep(0.01)
    assert client.status().code == 5
    assert client.output.endswith(b"100000\n")
    assert len(client.output) == sum(len(b"%d\n" % number) for number in range(1, 100_001))
    assert worker == router.pid


def test_a_client_that_does_not_read_at_the_end_still_finds_the_status(setting: Setting) -> None:
    """Its socket is full when the program exits, and has no room for the status."""
    program = "stty -opost -echo; while printf %01000d 0 && read line; do :; done; exit 6"
    probe = setting.run("sh", "-c", program)
    room = ask_for_pieces(probe, 1000)
    probe.sock.close()
    client = setting.run("sh", "-c", program)
    assert ask_for_pieces(client, room) == room
    client.send(extension.END_INPUT)
    router = setting.router
    assert router is not None
    router.wait_for_log("end: exit, exit status 6")
    assert client.status().code == 6
    assert len(client.output) == 1000 * room


def test_a_half_close_is_the_end_of_input_and_the_status_comes(setting: Setting) -> None:
    client = setting.run("sh", "-c", "cat; sleep 0.3; exit 8")
    client.type(b"last words\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.status().code == 8
    assert b"last words" in client.output


def test_end_input_is_the_end_of_input_and_signals_still_work(setting: Setting) -> None:
    client = setting.run("sh", "-c", "cat; echo ended; sleep 1000")
    client.type(b"last words\n")
    client.send(extension.END_INPUT)
    client.read_output_until(b"ended")
    client.send(signal.SIGTERM)
    status = client.status()
    assert (status.how, status.code) == (extension.SIGNALLED, signal.SIGTERM)


def test_stdin_after_end_input_violates_the_protocol(setting: Setting) -> None:
    client = setting.run("sleep", "1000")
    client.send(extension.END_INPUT)
    client.type(b"x")
    assert client.error().code == extension.PROTOCOL


def test_status_counts_the_input_that_the_program_did_not_get(setting: Setting) -> None:
    client = setting.run("sh", "-c", "stty raw -echo; echo ready; sleep 1000")
    client.read_output_until(b"ready")
    client.type(bytes(30_000))
    client.send(extension.PING, b"all")
    assert client.read_until(extension.PONG) == b"all"
    client.send(signal.SIGTERM)
    status = client.status()
    assert status.input_bytes + status.dropped_bytes == 30_000
    assert status.dropped_bytes > 0


def test_a_leader_that_closes_its_terminal_is_waited_for(setting: Setting) -> None:
    client = setting.run("sh", "-c", "trap '' HUP; exec <&- >&- 2>&-; sleep 0.1; exit 9")
    assert client.status().code == 9


def test_a_leader_that_lives_on_without_its_terminal_is_hung_up_and_its_status_told(setting: Setting) -> None:
    client = setting.run("sh", "-c", "exec <&- >&- 2>&-; sleep 1000")
    status = client.status()
    assert (status.how, status.code) == (extension.SIGNALLED, signal.SIGHUP)
    assert status.flags & extension.BY_ROUTER


def test_a_background_job_does_not_keep_the_status_back(setting: Setting) -> None:
    client = setting.run("sh", "-c", "trap '' HUP; sleep 5 & echo begun; exit 4")
    status = client.status()
    assert status.code == 4
    assert status.flags & extension.CUT  # the job could still write
    assert b"begun" in client.output


def test_output_that_nobody_could_still_write_is_not_reported_as_cut(setting: Setting) -> None:
    assert not setting.run("sh", "-c", "echo all").status().flags & extension.CUT


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--idle-timeout", "0.3"), b"the session was idle for too long"),
        (("--session-lifetime", "0.3"), b"the session's time is over"),
    ],
)
def test_a_limit_ends_the_session_with_an_error(options: tuple[str, ...], text: bytes, setting: Setting) -> None:
    setting.serve(*options)
    client = setting.run("sh", "-c", "echo begun; sleep 1000")
    refusal = client.error()
    assert (refusal.code, refusal.phase, refusal.text) == (extension.LIMIT, extension.RUNNING, text)
    assert client.output == b"begun\r\n"  # and no text of the router's


@pytest.mark.parametrize("frame", [extension.frames(extension.PING, b"x"), extension.frames(extension.STDIN)])
def test_frames_that_carry_no_input_do_not_keep_an_idle_session_alive(frame: bytes, setting: Setting) -> None:
    router = setting.serve("--idle-timeout", "0.5")
    client = setting.run("sh", "-c", "sleep 1000")
    client.read_until(extension.STARTED)
    ends = [line for line in router.lines if "end:" in line]
    while not ends:
        with suppress(BrokenPipeError):
            client.sock.sendall(frame)
        ends = [line for line in router.lines if "end: idle" in line]
        time.sleep(0.02)
    assert client.error().code == extension.LIMIT


def test_input_and_signals_keep_a_session_from_being_idle(setting: Setting) -> None:
    setting.serve("--idle-timeout", "2")
    client = setting.run("sh", "-c", "stty -echo; trap : USR1; echo ready; while :; do sleep 0.1; done")
    client.read_output_until(b"ready")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        client.type(b"x") if time.monotonic() < until - 1.5 else client.send(signal.SIGUSR1)
        time.sleep(0.1)
    client.send(signal.SIGKILL)
    assert client.status().code == signal.SIGKILL


@pytest.mark.parametrize("command", ["sleep 1000", "trap 'exit 0' HUP; echo begun; while :; do sleep 0.1; done"])
def test_a_stop_ends_the_session_with_an_error(command: str, setting: Setting) -> None:
    router = setting.serve()
    client = setting.run("sh", "-c", f"echo begun; {command}")
    client.read_output_until(b"begun")
    assert router.end() == 0
    refusal = client.error()
    assert (refusal.code, refusal.text) == (extension.STOPPED, b"the router was stopped")


def test_a_stop_kills_what_ignores_sighup_and_says_so(setting: Setting) -> None:
    router = setting.serve("--stop-timeout", "0.3")
    client = setting.run("sh", "-c", "trap '' HUP; echo begun; while :; do sleep 0.1; done")
    client.read_output_until(b"begun")
    assert router.end() == 0
    assert client.error().code == extension.STOPPED


def test_a_killed_worker_sends_no_final_frame(setting: Setting) -> None:
    router = setting.serve()
    client = setting.run("sh", "-c", "echo begun; sleep 1000")
    client.read_output_until(b"begun")
    (leader,) = children(router.pid)
    os.kill(router.pid, signal.SIGKILL)
    client.read_to_end()
    assert client.final is None
    eventually(lambda: process_gone(leader), "the supervisor has ended the program")
    router.wait_for_log("ready", 2)


def test_a_client_that_dies_ends_its_session(setting: Setting) -> None:
    client = setting.run("sh", "-c", "echo begun; sleep 1000")
    client.read_output_until(b"begun")
    router = setting.router
    assert router is not None
    client.sock.close()
    router.wait_for_log("end: client left, killed by SIGHUP")
    eventually(lambda: not children(router.pid), "no child is left")


def test_a_client_that_dies_in_a_flood_ends_its_session(setting: Setting) -> None:
    client = setting.run("sh", "-c", "stty -opost; yes")
    for _ in range(50):
        client.read()
    router = setting.router
    assert router is not None
    client.sock.close()
    router.wait_for_log("end: client left")
    eventually(lambda: not children(router.pid), "no child is left")


def test_a_program_of_another_user_has_a_status_too(setting: Setting) -> None:
    need_root()
    setting.serve("--run-as", "peer", "--allow-user", "root")
    status = setting.run("sh", "-c", "exit 11").status()
    assert (status.how, status.code) == (extension.EXITED, 11)


def test_the_log_and_status_count_the_same_bytes(setting: Setting) -> None:
    client = setting.run("sh", "-c", "stty -opost; seq 5000")
    client.status()
    router = setting.router
    assert router is not None
    (found,) = router.wait_for_log(r"end: exit, exit status 0 after .* s, (\d+) bytes in, (\d+) bytes out")
    assert (int(found[1]), int(found[2])) == (0, len(client.output))


def test_input_and_output_go_on_at_the_same_time(setting: Setting) -> None:
    """More input than the window is sent as credit comes; nothing is lost either way."""
    client = setting.run("sh", "-c", "stty raw -echo; echo ready; head -c 500000 | tee /dev/null")
    client.read_output_until(b"ready\r\n" if b"ready\r\n" in client.output else b"ready")
    window, sent, credited = client.welcome.input_window, 0, 0
    data = bytes(index * 7 % 251 for index in range(500_000))
    while sent < len(data):
        given = [payload for number, payload in client.messages if number == extension.CREDIT]
        credited = sum(int.from_bytes(payload, "little") for payload in given)
        room = window + credited - sent
        if room > 0:
            piece = data[sent : sent + min(room, 10_000)]
            client.type(piece)
            sent += len(piece)
        else:
            assert client.read()
    status = client.status()
    assert (status.input_bytes, status.dropped_bytes) == (500_000, 0)
    assert client.output.endswith(data)


def test_input_beyond_the_window_violates_the_protocol(setting: Setting) -> None:
    client = setting.run("sh", "-c", "stty raw -echo; echo ready; sleep 1000")
    client.read_output_until(b"ready")
    for _ in range(3):
        client.type(bytes(30_000))
    assert client.error().code == extension.PROTOCOL


def test_a_size_and_a_signal_overtake_input_that_nobody_reads(setting: Setting) -> None:
    script = "trap 'stty size' WINCH; trap 'echo interrupted; exit 0' TERM; stty raw -echo; echo ready; "
    script += "while :; do sleep 0.1; done"
    client = setting.run("sh", "-c", script)
    client.read_output_until(b"ready")
    client.type(bytes(60_000))
    client.resize(77, 88)
    client.read_output_until(b"77 88")
    client.send(signal.SIGTERM)
    assert client.status().code == 0
    assert b"interrupted" in client.output


def test_a_half_close_while_the_status_is_awaited_loses_nothing(setting: Setting) -> None:
    """The leader has closed its terminal and ignores SIGHUP: it is waited for until its SIGKILL."""
    setting.serve("--stop-timeout", "0.5")
    client = setting.run("sh", "-c", "trap '' HUP; echo begun; exec <&- >&- 2>&-; sleep 1000; :")
    client.read_output_until(b"begun")
    time.sleep(0.3)
    client.sock.shutdown(socket.SHUT_WR)
    status = client.status()
    assert (status.how, status.code) == (extension.SIGNALLED, signal.SIGKILL)
