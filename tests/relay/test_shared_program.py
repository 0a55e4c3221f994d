"""The program of a shared terminal: when it starts, ends and starts again; stops and reloads."""

from __future__ import annotations

import datetime
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.harness import RAW_CAT, children, eventually, process_gone
from tests.support.programs import broken_program
from tests.support.shared_pty import Shared


def test_viewers_stay_connected_when_the_program_ends_and_see_the_next_one(share: Callable[..., Shared]) -> None:
    shared = share()
    with shared.join() as one, shared.join() as two:
        # Input typed before the first prompt would be echoed before it, and the prompt taken for the next program's.
        two.read_until(b"prompt:")
        for number in (3, 4):
            one.send(b"exit %d\n" % number)
            two.read_until(b"exit %d\r\n" % number, b"prompt:")
        two.send(b"echo $((6*7))\n")
        one.read_until(b"\r\n42\r\n")
    for number in (3, 4):
        shared.router.wait_for_log(f"end: exit, exit status {number}")
    shared.router.wait_for_log("start: the shared terminal", 3)


def test_a_program_that_always_ends_at_once_is_restarted_with_growing_delays(share: Callable[..., Shared]) -> None:
    shared = share(command="/bin/true")
    lines = shared.router.wait_for_log(r"^(\S+)Z .* start: the shared terminal", 6)
    moments = [datetime.datetime.fromisoformat(line[1]) for line in lines]
    # The delays are 20, 40, 80, 160 and 320 ms. Timers may be late but not early; the log drops fractions of a ms.
    assert (moments[-1] - moments[0]).total_seconds() > 0.6


def test_viewers_get_a_message_if_the_command_cannot_be_executed(
    share: Callable[..., Shared], directory: Path
) -> None:
    program = broken_program(directory)
    shared = share(command=program)
    with shared.join() as client:
        client.read_until(f"fastpty: cannot execute {program}: No such file or directory\r\n".encode())
    shared.router.wait_for_log(f"cannot start the shared terminal: cannot execute {program}", 2)


def test_with_pty_once_the_program_s_end_ends_all_sessions(share: Callable[..., Shared]) -> None:
    shared = share("--pty-once")
    with shared.join() as one, shared.join() as two:
        one.send(b"echo l''ast; exit 3\n")
        for client in (one, two):
            assert client.read_to_end().endswith(b"last\r\n")
    with shared.join() as late:
        assert late.read_to_end().endswith(b"last\r\n")
    shared.router.wait_for_log("end: exit, exit status 3")
    assert len(shared.router.wait_for_log("start: the shared terminal")) == 1


def test_with_pty_once_a_stalled_viewer_still_receives_the_whole_ring(share: Callable[..., Shared]) -> None:
    command = "stty raw; head -c 1; head -c 900000 /dev/zero | tr '\\0' x; echo END"
    shared = share("--pty-once", "--pty-scrollback", "1M", command=command)
    with shared.join() as stalled:
        stalled.send(b"g")
        shared.router.wait_for_log("end: exit, exit status 0")
        assert stalled.read_to_end().endswith(900_000 * b"x" + b"END\n")


def test_a_stop_hangs_up_the_program_and_ends_all_sessions(share: Callable[..., Shared]) -> None:
    shared = share(command="trap 'echo hung'' up; exit 5' HUP; sleep 1000 & echo READY; wait")
    with shared.join() as one, shared.join() as two:
        for client in (one, two):
            client.read_until(b"READY")
        shared.router.process.send_signal(signal.SIGTERM)
        for client in (one, two):
            assert client.read_to_end().endswith(b"hung up\r\n\r\nfastpty: the router was stopped\r\n")
    assert shared.router.process.wait(30) == 0
    shared.router.wait_for_log("end: exit, exit status 5")
    assert len(shared.router.wait_for_log("start: the shared terminal")) == 1


def test_a_stop_does_not_wait_for_the_input_of_a_client_that_has_left(share: Callable[..., Shared]) -> None:
    shared = share(command="stty raw -echo; printf READY; exec sleep 1000")
    with shared.join() as stayer:
        with shared.join() as client:
            client.read_until(b"READY")
            client.socket.setblocking(False)
            while select.select([], [client.socket], [], 0.2)[1]:
                client.socket.send(bytes(65_536))
        shared.router.process.send_signal(signal.SIGTERM)
        stayer.read_to_end()
    assert shared.router.process.wait(30) == 0
    shared.router.wait_for_log("session 3: end: client left, no process")


def test_a_stop_between_two_programs_ends_all_sessions(share: Callable[..., Shared]) -> None:
    shared = share(command="/bin/false")
    with shared.join() as client:
        shared.router.wait_for_log("end: exit, exit status 1", 5)
        shared.router.process.send_signal(signal.SIGTERM)
        client.read_to_end()
    assert shared.router.process.wait(30) == 0


def test_one_of_several_workers_owns_the_terminal_and_another_replaces_it(share: Callable[..., Shared]) -> None:
    shared = share("--forkptyrouter-processes", "3", command=RAW_CAT)
    shared.router.wait_for_log("ready$", 3)
    clients = [shared.join() for _ in range(6)]
    clients[0].send(b"hello")
    for client in clients:
        client.read_until(b"READY", b"hello")
    owner = next(worker for worker in shared.router.workers if children(worker))
    os.kill(owner, signal.SIGKILL)
    for client in clients:
        client.socket.close()
    shared.router.wait_for_log("start: the shared terminal", 2)
    with shared.join() as one, shared.join() as two:
        two.send(b"again")
        one.read_until(b"READY", b"again")


def test_after_a_reload_old_viewers_keep_the_old_terminal_and_new_ones_get_a_new_one(
    share: Callable[..., Shared],
) -> None:
    shared = share(command=RAW_CAT)
    with shared.join() as old:
        old.read_until(b"READY")
        shared.router.process.send_signal(signal.SIGHUP)
        shared.router.wait_for_log("reloaded")
        old.send(b"old")
        old.read_until(b"old")
        with shared.join() as new:
            new.send(b"new")
            new.read_until(b"READY", b"new")
            assert b"old" not in new.seen
    eventually(lambda: len(shared.router.workers) == 1, "the old terminal has no viewers and so has ended")


def test_a_reload_ends_a_terminal_without_viewers(share: Callable[..., Shared]) -> None:
    shared = share(command=RAW_CAT)
    shared.router.process.send_signal(signal.SIGHUP)
    shared.router.wait_for_log("end: exit, killed by SIGHUP")
    eventually(lambda: len(shared.router.workers) == 1, "the old worker has ended")


def test_the_program_runs_before_the_first_client_joins_and_after_the_last_one_leaves(
    share: Callable[..., Shared],
) -> None:
    shared = share()
    program = shared.program
    for _ in range(3):
        with shared.join() as client:
            client.send(b"echo $$\n")
            client.read_until(b"%d\r\n" % program)
    shared.router.wait_for_log("session .* end: client left, no process", 3)
    assert not process_gone(program)


def test_without_pty_exec_the_sessions_command_runs_on_the_shared_terminal(share: Callable[..., Shared]) -> None:
    shared = share("--forkptyrouter-command", "/bin/cat")
    with shared.join() as client:
        client.send(b"hello\n")
        client.read_until(b"hello\r\nhello\r\n")
