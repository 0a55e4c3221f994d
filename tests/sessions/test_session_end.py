"""The end of a session: no output is lost, nothing is left behind, and the client does not wait in vain."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.support.harness import (
    PLAIN_PYTHON,
    RAW_CAT,
    Client,
    Router,
    children,
    descriptors,
    eventually,
    fill,
    frame,
    process_gone,
)
from tests.support.peers import need, need_root

NUMBERS = b"".join(b"%d\r\n" % number for number in range(1, 20_001))


def say(client: Client, framed: bool, text: bytes) -> None:
    client.send(frame(0, payload=text) if framed else text)


def test_a_program_that_exits_at_once_loses_nothing_in_500_runs(serve: Callable[..., Service]) -> None:
    service = serve(command="seq 1 20000; exit 3")
    for _ in range(500):
        with service.connect() as client:
            assert client.read_to_end() == NUMBERS
    ends = service.router.wait_for_log(
        r"session \d+: end: exit, exit status 3 after .*, 0 bytes in, 128894 bytes out", 500
    )
    assert len(ends) == 500
    service.wait_until_idle()


def test_a_client_that_reads_late_gets_all_of_a_dead_program_s_output(
    serve: Callable[..., Service], directory: Path
) -> None:
    """As much as a socket holds in large writes. With more output, or small writes, the programs would wait."""
    words = os.urandom(16_000)
    (directory / "words").write_bytes(words)
    service = serve(command=f"stty raw; exec cat {directory}/words")
    clients = [service.connect() for _ in range(20)]
    service.router.wait_for_log("session .*: start: ", 20)
    eventually(lambda: all(process_gone(pid) for pid in children(service.router.pid)), "all programs have written")
    assert [client.read_to_end() for client in clients] == [words] * 20
    for client in clients:
        client.socket.close()
    service.wait_until_idle()


def test_more_output_than_all_buffers_hold_waits_for_a_late_reader(serve: Callable[..., Service]) -> None:
    service = serve(command="stty raw; head -c 3000000 /dev/zero; printf LAST")
    with service.connect() as client:
        client.read_until(b"\0" * 1000)
        eventually(lambda: "S" in state_of_children(service.router.pid), "the program waits for room")
        data = client.read_to_end()
    assert len(data) == 3_000_004
    assert data.endswith(b"\0LAST")


def state_of_children(pid: int) -> str:
    states = ""
    for child in children(pid):
        states += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    return states


def test_a_background_job_that_holds_the_terminal_does_not_hold_the_client(serve: Callable[..., Service]) -> None:
    """uWSGI's client hangs until the job ends. Output until the shell's exit arrives; the job goes on."""
    service = serve(command="trap '' HUP; sleep 1000 & echo job $!; seq 1 20000; exit")
    with service.connect() as client:
        data = client.read_to_end()
    job = int(data.split()[1])
    assert data == b"job %d\r\n" % job + NUMBERS
    assert not process_gone(job)
    os.kill(job, signal.SIGKILL)
    service.wait_until_idle()


def test_a_background_job_that_writes_without_end_does_not_hold_the_client(serve: Callable[..., Service]) -> None:
    service = serve(command="trap '' HUP; for i in 1 2 3 4 5 6 7 8; do yes & done; sleep 0.2; exit")
    with service.connect() as client:
        client.read_to_end()
    service.wait_until_idle()


def test_no_zombie_is_left_by_quick_disconnects(serve: Callable[..., Service]) -> None:
    service = serve()
    for _ in range(200):
        service.connect().socket.close()
    service.router.wait_for_log("session .*: end: ", 200)
    assert children(service.router.pid) == []
    service.wait_until_idle()


def test_a_client_that_leaves_hangs_up_shell_and_foreground_job(serve: Callable[..., Service]) -> None:
    """uWSGI leaves a foreground `sleep` and its shell alive."""
    service = serve(command="/bin/bash")
    with service.connect() as client:
        say(client, service.framed, b"sh -c 'echo pid $$; exec sleep 1000'\n")
        job = job_number(client)
    service.router.wait_for_log("session 1: end: client left, killed by SIGHUP")
    eventually(lambda: process_gone(job), "the foreground job has got SIGHUP")
    service.wait_until_idle()


def job_number(client: Client) -> int:
    """The number behind "pid " in the program's output; the echo of the command has none."""
    while not (found := re.search(rb"pid (\d+)\r\n", client.seen)):
        client.read_until(b"\n")
    return int(found[1])


def test_a_stopped_program_gets_sigcont_with_its_sighup(serve: Callable[..., Service]) -> None:
    """A stopped program could not react to the SIGHUP before the SIGKILL comes."""
    service = serve(command="echo READY; kill -STOP $$; sleep 1000")
    with service.connect() as client:
        client.read_until(b"READY\r\n")
        eventually(lambda: state_of_children(service.router.pid) == "T", "the program is stopped")
    service.router.wait_for_log("session 1: end: client left, killed by SIGHUP")


def test_a_program_that_ignores_sighup_is_killed_after_the_grace_time(serve: Callable[..., Service]) -> None:
    service = serve("--stop-timeout", "0.3", command="trap '' HUP; echo pid $$ ; sleep 1000; sleep 1000")
    with service.connect() as client:
        client.read_until(b"pid ", b"\r\n")
        (leader,) = children(service.router.pid)
        eventually(lambda: children(leader), "the shell has started sleep")
        (job,) = children(leader)
    started = time.monotonic()
    service.router.wait_for_log("session 1: end: client left, killed by SIGKILL")
    assert time.monotonic() - started > 0.2
    eventually(lambda: process_gone(job), "the group is killed as well")
    service.wait_until_idle()


def test_a_foreground_job_that_ignores_sighup_is_killed_though_its_shell_is_gone(
    serve: Callable[..., Service],
) -> None:
    service = serve("--stop-timeout", "0.3", command="/bin/bash")
    with service.connect() as client:
        say(client, service.framed, b"sh -c 'trap \"\" HUP; echo pid $$; exec sleep 1000'\n")
        job = job_number(client)
    service.router.wait_for_log("session 1: end: client left, killed by SIGHUP")
    eventually(lambda: process_gone(job), "the job is killed")
    service.wait_until_idle()


def test_a_leader_that_ignores_sighup_is_killed_though_its_foreground_job_is_gone(
    serve: Callable[..., Service],
) -> None:
    service = serve("--stop-timeout", "0.3", command="/bin/bash")
    with service.connect() as client:
        loop = b"while :; do sleep 0.1; done"
        say(client, service.framed, b"trap : HUP; sh -c 'echo pid $$; exec sleep 1000'; %b\n" % loop)
        job = job_number(client)
    service.router.wait_for_log("session 1: end: client left, killed by SIGKILL")
    assert process_gone(job)
    service.wait_until_idle()


def test_a_half_close_ends_the_shell_and_all_output_comes(serve: Callable[..., Service]) -> None:
    service = serve()
    with service.connect() as client:
        say(client, service.framed, b"sleep 0.3; seq 1 20000; echo en''d\n")
        client.half_close()
        data = client.read_to_end()
    assert NUMBERS + b"end\r\n" in data
    service.router.wait_for_log("session 1: end: exit, exit status 0")


def test_a_half_close_within_a_line_delivers_the_line(serve: Callable[..., Service]) -> None:
    service = serve(command="/bin/cat")
    with service.connect() as client:
        say(client, service.framed, b"no newline")
        client.half_close()
        assert client.read_to_end() == b"no newlineno newline"


def test_a_half_close_ends_a_shell_with_line_editing(serve: Callable[..., Service]) -> None:
    """bash turns canonical mode off at its prompt, and an end of file typed before loses its meaning then."""
    service = serve(command="/bin/bash")
    with service.connect() as client:
        say(client, service.framed, b"sleep 0.2; echo en''d\n")
        client.half_close()
        assert b"end\r\n" in client.read_to_end()


def test_a_half_close_ends_program_after_program(serve: Callable[..., Service]) -> None:
    """Every program that reads gets the end of input, as from a pipe."""
    service = serve(command="cat; cat; cat; echo done")
    with service.connect() as client:
        client.half_close()
        assert client.read_to_end() == b"done\r\n"


def test_a_half_close_adds_no_byte_on_a_raw_terminal(serve: Callable[..., Service]) -> None:
    service = serve(command="stty raw -echo; printf READY; timeout --foreground 0.5 cat; printf END")
    with service.connect() as client:
        client.read_until(b"READY")
        say(client, service.framed, b"data")
        client.half_close()
        assert client.read_to_end() == b"READYdataEND"


def test_socat_with_a_pipe_gets_the_answer(start_router: Callable[..., Router], directory: Path) -> None:
    socat = need("socat")
    start_router(f"{directory}/s")
    done = subprocess.run(
        [socat, "-t", "30", "-", f"UNIX:{directory}/s"],
        input=b"echo the host is $(uname -n)''\n",
        capture_output=True,
    )
    assert f"the host is {os.uname().nodename}\r\n".encode() in done.stdout
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_end_is_clean_even_if_the_client_s_last_bytes_were_not_read(
    serve: Callable[..., Service], directory: Path
) -> None:
    """Closing at once would show such a client a broken connection, on TCP even without the last output.

    It has sent more than the router and the terminal take, so that some is left in its socket.
    """
    service = serve(
        command=f"stty raw -echo; printf READY; until [ -e {directory}/enough ]; do sleep 0.02; done; printf LAST"
    )
    with service.connect() as client:
        client.read_until(b"READY")
        fill(client, service.framed)
        (directory / "enough").touch()
        assert client.read_to_end() == b"READYLAST"


def test_a_program_that_closes_its_terminal_ends_the_session(serve: Callable[..., Service]) -> None:
    service = serve(
        "--stop-timeout", "0.2", command="trap '' HUP; echo last; exec </dev/null >/dev/null 2>&1; sleep 1000"
    )
    with service.connect() as client:
        assert client.read_to_end() == b"last\r\n"
    service.router.wait_for_log("session 1: end: exit, killed by SIGKILL")


VHANGUP = f"{PLAIN_PYTHON} -c 'import ctypes; assert ctypes.CDLL(None).vhangup() == 0'"


@pytest.mark.parametrize("way", [":", VHANGUP], ids=["closed", "hung up"])
@pytest.mark.parametrize(("closed", "silent"), [(0, 0), (0.4, 0), (0.05, 1.2)])
def test_a_program_that_closes_its_terminal_and_opens_it_again_goes_on(
    serve: Callable[..., Service], way: str, closed: float, silent: float
) -> None:
    """login(1) and agetty(8) ignore SIGHUP, hang their terminal up and open it again, to be its only users."""
    if way == VHANGUP:
        need_root()
    service = serve(
        command=f"trap '' HUP; tty=$(tty); printf before; {way}; exec <&- >&- 2>&-; sleep {closed}; "
        f"exec <>$tty >&0 2>&1; sleep {silent}; printf after; exec cat"
    )
    with service.connect() as client:
        client.read_until(b"before", b"after")
        say(client, service.framed, b"hello\n")
        client.read_until(b"hello\r\nhello\r\n")
        say(client, service.framed, b"\x04")
        assert client.read_to_end().endswith(b"hello\r\nhello\r\n")
    service.router.wait_for_log("session 1: end: exit, exit status 0")


def test_the_last_output_on_a_terminal_that_was_opened_again_arrives(serve: Callable[..., Service]) -> None:
    """The router may learn of the words and of the program's end at once."""
    service = serve(command="tty=$(tty); printf first; exec <&- >&- 2>&-; sleep 0.05; printf last >$tty; exit 3")
    for number in range(1, 21):
        with service.connect() as client:
            assert client.read_to_end() == b"firstlast"
        service.router.wait_for_log(f"session {number}: end: exit, exit status 3")


def test_the_exit_status_of_a_program_that_had_closed_its_terminal_is_logged(serve: Callable[..., Service]) -> None:
    """The session waits a moment for the program to exit."""
    service = serve(command="echo last; exec </dev/null >/dev/null 2>&1; /bin/true; /bin/true; exit 3")
    with service.connect() as client:
        assert client.read_to_end() == b"last\r\n"
    service.router.wait_for_log("session 1: end: exit, exit status 3")


def test_an_idle_session_goes_on_unless_idle_timeout_is_set(serve: Callable[..., Service]) -> None:
    service = serve("--forkptyrouter-timeout", "0.5", command=RAW_CAT)
    with service.connect() as idle, service.connect() as busy:
        idle.read_until(b"READY")
        busy.read_until(b"READY")
        ended = False
        while not ended:
            say(busy, service.framed, b"x")
            busy.read_exactly(1)
            ended = any("session 1: end: idle" in line for line in service.router.lines)
        assert idle.read_to_end() == b"READY\r\nfastpty: the session was idle for too long\r\n"
        say(busy, service.framed, b"y")
        assert busy.read_exactly(1) == b"y"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_tcp_delivers_everything_and_ends_cleanly(start_router: Callable[..., Router], host: str) -> None:
    router = start_router(f"{host}:0", "--forkptyrouter-command", "stty -echo; seq 1 20000")
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client((host.strip("[]"), port)) as client:
        client.send(b"nobody reads this")
        assert client.read_to_end().endswith(NUMBERS)


def test_tcp_delivers_everything_to_a_client_that_sends_and_closes_after_the_program_s_end(
    start_router: Callable[..., Router],
) -> None:
    """Both come in one event while most output is unsent. A close with unread bytes would discard that output."""
    router = start_router(
        "--forkpty-router", "127.0.0.1:0", "--forkptyrouter-command", "stty raw; head -c 17000 /dev/zero"
    )
    port = int(router.wait_for_log(r"listening on 127.0.0.1:(\d+)")[0][1])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        router.wait_for_log("session 1: start")
        eventually(
            lambda: not any("ptmx" in what for what in descriptors(router.pid).values()), "the session is over"
        )
        client.send(b"x", socket.MSG_MORE)
        client.shutdown(socket.SHUT_WR)
        router.wait_for_log("session 1: end: exit, exit status 0")
        got = 0
        while data := client.recv(65536):
            got += len(data)
    assert got == 17_000


def test_unread_output_of_a_killed_session_reaches_no_other_session(serve: Callable[..., Service]) -> None:
    """The pipe or buffer that held it is not reused with it."""
    service = serve(command="read word; exec yes $word")
    with service.connect() as stalled:
        say(stalled, service.framed, b"secret\n")
        stalled.read_until(b"secret\r\nsecret\r\n" * 100)
        eventually(lambda: state_of_children(service.router.pid) == "S", "the program waits for room")
    service.wait_until_idle()
    for _ in range(3):
        with service.connect() as client:
            say(client, service.framed, b"public\n")
            assert b"secret" not in client.read_exactly(2 << 20)


def test_urgent_data_does_not_stop_what_comes_after_it(start_router: Callable[..., Router]) -> None:
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", "stty raw -echo; printf READY; exec cat")
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.read_until(b"READY")
        for _ in range(20):
            # All bytes are there before the router reads: a read ends at the urgent byte, no event for the rest.
            os.kill(router.pid, signal.SIGSTOP)
            client.send(b"x" * 3000)
            client.socket.send(b"!", socket.MSG_OOB)
            client.send(b"y" * 3000)
            os.kill(router.pid, signal.SIGCONT)
            echoed = client.read_exactly(6000)
            assert echoed.count(b"x") + echoed.count(b"y") == 6000


def test_a_router_whose_parent_ignored_sigchld_still_sees_its_programs_end(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s",
        "--forkptyrouter-command",
        "exit 3",
        first=partial(signal.signal, signal.SIGCHLD, signal.SIG_IGN),
    )
    with Client(f"{directory}/s") as client:
        client.read_to_end()
    router.wait_for_log("session 1: end: exit, exit status 3")
