"""The router as a command: its sockets, start, stop, log and error messages."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from fastpty import __version__
from tests.conftest import Service
from tests.support.first_steps import ignore_hangup
from tests.support.harness import (
    PROMPT,
    Client,
    Router,
    children,
    eventually,
    process_gone,
    read_until_ready,
    run,
    state,
)
from tests.support.peers import need_root


def test_a_socket_file_is_private_to_its_owner(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s")
    assert stat.S_IMODE(os.stat(f"{directory}/s").st_mode) == 0o600


@pytest.mark.parametrize(("flag", "mode"), [("--chmod-socket", 0o666), ("--chmod-socket=660", 0o660)])
def test_chmod_socket_sets_the_mode(
    start_router: Callable[..., Router], directory: Path, flag: str, mode: int
) -> None:
    start_router(flag, f"{directory}/s")
    assert stat.S_IMODE(os.stat(f"{directory}/s").st_mode) == mode


def test_a_socket_file_belongs_to_the_user_that_the_router_becomes(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    start_router(f"{directory}/s", "--uid", "nobody", "--gid", "nogroup")
    found = os.stat(f"{directory}/s")
    assert (found.st_uid, found.st_gid) == (65_534, 65_534)


def test_chown_socket_is_applied(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    start_router(f"{directory}/s", "--chown-socket", "daemon:adm")
    found = os.stat(f"{directory}/s")
    assert (found.st_uid, found.st_gid) == (1, 4)


def test_both_protocols_on_several_sockets_at_once(start_router: Callable[..., Router], directory: Path) -> None:
    raw = [f"{directory}/raw1", f"{directory}/raw2"]
    framed = [f"{directory}/u1", f"{directory}/u2"]
    start_router(
        "--forkpty-router", raw[0], "--forkptyrouter", raw[1], "--forkpty-urouter", framed[0],
        "--forkptyurouter", framed[1], sockets=4,
    )  # fmt: skip
    for path in raw + framed:
        with Client(path) as client:
            text = b"echo $((6*7))\n"
            client.send(b"\0" + bytes([len(text)]) + b"\0\0" + text if path in framed else text)
            client.read_until(b"42\r\n")


def test_an_abstract_name_is_had_in_both_spellings(start_router: Callable[..., Router]) -> None:
    name = f"fastpty-test-{os.getpid()}"
    start_router(f"@{name}")
    for spelling in (f"\0{name}", f"\0{name}\0"):
        with Client(spelling) as client:
            client.read_until(PROMPT)


def test_an_inherited_descriptor_is_listened_on(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/s")
        os.chmod(f"{directory}/s", 0o600)  # a umask of 002 would make it writable by a group, which a router refuses
        listener.listen()
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-m", "fastpty.router", f"fd://{listener.fileno()}"],
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(f"{directory}/s") as client:
                client.send(b"echo $((6*7)); exit\n")
                client.read_until(b"42\r\n")
        finally:
            process.terminate()
            assert process.wait(30) == 0
    assert Path(f"{directory}/s").exists()  # it belongs to another program


def test_a_stale_socket_file_is_replaced(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    router.end(signal.SIGKILL)
    assert Path(f"{directory}/s").exists()
    start_router(f"{directory}/s")
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


def test_a_live_socket_is_not_stolen(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s")
    second = run(f"{directory}/s")
    assert second.returncode == 1
    assert second.stderr == f"fastpty-router: another router is listening on {directory}/s\n" or (
        f"another router is listening on {directory}/s" in second.stderr and second.stderr.count("\n") == 1
    )
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


def test_a_socket_file_that_another_program_has_replaced_is_not_removed(
    start_router: Callable[..., Router], directory: Path
) -> None:
    first = start_router(f"{directory}/s")
    os.unlink(f"{directory}/s")
    start_router(f"{directory}/s")
    assert first.end() == 0
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_the_router_and_all_that_it_started(
    start_router: Callable[..., Router], directory: Path, number: int
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "/bin/bash")
    clients = [Client(f"{directory}/s") for _ in range(3)]
    for client in clients:
        client.send(b"sh -c 'echo in the fore''ground; exec sleep 1000'\n")
        client.read_until(b"in the foreground\r\n")
    programs = children(router.pid)
    assert len(programs) == 3
    assert router.end(number) == 0
    assert all(process_gone(pid) for pid in programs)
    assert not Path(f"{directory}/s").exists()
    for client in clients:
        client.read_to_end()
    assert len(router.wait_for_log(r"session \d: end: exit, killed by SIGHUP", 3)) == 3


def test_the_last_output_of_a_program_at_a_stop_reaches_its_client(serve: Callable[..., Service]) -> None:
    service = serve(command="trap 'echo good''bye; exit 5' HUP; echo READY; while :; do sleep 0.05; done")
    with service.connect() as client:
        client.read_until(b"READY\r\n")
        assert service.router.end() == 0
        assert client.read_to_end().endswith(b"goodbye\r\n")
    service.router.wait_for_log("session 1: end: exit, exit status 5")


def test_a_stop_does_not_wait_for_clients_that_do_not_read(serve: Callable[..., Service], directory: Path) -> None:
    """Three sessions: the program has ended, the program still writes, the client was refused."""
    command = (
        f"[ -e {directory}/first ] && exec cat /dev/zero; touch {directory}/first; head -c 900000 /dev/zero; echo END"
    )
    service = serve("--stop-timeout", "0.3", command=command)
    dead, writing = service.connect(), None
    try:
        eventually(lambda: (directory / "first").exists(), "the first program runs")
        writing = service.connect()
        for client in (dead, writing):
            client.wait_for_output()
        assert service.router.end() == 0
    finally:
        dead.socket.close()
        if writing:
            writing.socket.close()


@contextmanager
def router_whose_log_is_a_pipe(directory: Path, command: str) -> Iterator[tuple[BinaryIO, subprocess.Popen[bytes]]]:
    """The reading end of the log, and the router, which is ready. Nothing more of the log is read."""
    reader, writer = os.pipe()
    argv = [sys.executable, "-m", "fastpty.router", f"{directory}/s", "--forkptyrouter-command", command]
    with open(reader, "rb") as log, subprocess.Popen(argv, stderr=writer) as process:
        os.close(writer)
        try:
            read_until_ready(log)
            yield log, process
        finally:
            process.kill()


def test_a_log_reader_that_has_stopped_does_not_stop_the_sessions(directory: Path) -> None:
    with router_whose_log_is_a_pipe(directory, "/bin/true") as (log, process):
        for _ in range(600):  # two lines each, more than a pipe holds
            with Client(f"{directory}/s") as client:
                client.read_to_end()
        os.set_blocking(log.fileno(), False)
        shown = log.read()
        with Client(f"{directory}/s") as client:
            client.read_to_end()
        process.terminate()
        assert process.wait(30) == 0
        os.set_blocking(log.fileno(), True)
        shown += log.read()
    lost = sum(int(number) for number in re.findall(rb"\] (\d+) lines lost\n", shown))
    assert lost > 0
    assert lost + len(re.findall(rb"\] session \d+: ", shown)) == 2 * 601


def test_a_long_line_in_an_unread_log_does_not_stop_the_sessions(directory: Path) -> None:
    """A writable pipe may still block a line longer than PIPE_BUF."""
    with router_whose_log_is_a_pipe(directory, "true " + "x" * 100_000) as (_, process):
        for _ in range(2):
            with Client(f"{directory}/s") as client:
                assert client.read_to_end() == b""
        process.terminate()
        assert process.wait(30) == 0


def test_a_second_signal_kills_programs_that_ignore_the_first(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        f"{directory}/s",
        "--stop-timeout",
        "600",
        "--forkptyrouter-command",
        "trap '' HUP; echo READY; while :; do sleep 1; done",
    )
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY\r\n")
        router.process.send_signal(signal.SIGTERM)
        router.wait_for_log("SIGTERM: stopping")
        assert router.end() == 0
        client.read_to_end()
    router.wait_for_log("session 1: end: .*killed by SIGKILL")


def test_two_stop_signals_count_twice_even_if_the_worker_reads_both_at_once(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The kernel merges two pending signals with the same number."""
    command = "trap '' HUP; echo READY; while :; do sleep 1; done"
    router = start_router(f"{directory}/s", "--stop-timeout", "600", "--forkptyrouter-command", command)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY\r\n")
        worker = router.pid
        os.kill(worker, signal.SIGSTOP)
        try:
            for count in (1, 2):
                router.process.send_signal(signal.SIGTERM)
                router.wait_for_log(rf"\[{router.process.pid}\] SIGTERM: stopping", count)
                eventually(lambda: state(router.process.pid) == "S", "the supervisor has passed it on")
        finally:
            os.kill(worker, signal.SIGCONT)
        client.read_to_end()
        assert router.end() == 0


def test_a_stop_continues_a_stopped_program_which_can_end_in_order_then(serve: Callable[..., Service]) -> None:
    service = serve(command="trap 'exit 6' HUP; echo READY; kill -STOP $$; sleep 1000")
    with service.connect() as client:
        client.read_until(b"READY\r\n")
        (program,) = children(service.router.pid)
        eventually(lambda: state(program) == "T", "the program is stopped")
        assert service.router.end() == 0
    service.router.wait_for_log("session 1: end: exit, exit status 6")


def test_a_router_started_with_nohup_ignores_sighup(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", first=ignore_hangup)
    router.process.send_signal(signal.SIGHUP)
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)
    assert router.end() == 0
    assert "reloaded" not in router.log
    assert "draining" not in router.log


def test_each_session_leaves_a_start_and_an_end_in_the_log(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "cat; exit 4")
    with Client(f"{directory}/s") as client:
        client.send(b"abc\n\x04")
        assert client.read_to_end() == b"abc\r\nabc\r\n"
    about = (
        rf"pid {os.getpid()} uid {os.geteuid()} gid {os.getegid()} \({pwd.getpwuid(os.geteuid()).pw_name}\) "
        rf"on {directory}/s \(raw\): pts/\d+: process \d+: cat; exit 4$"
    )
    router.wait_for_log(f"session 1: start: {about}")
    router.wait_for_log(
        rf"session 1: end: exit, exit status 4 after \d+\.\d{{3}} s, 5 bytes in, 10 bytes out; {about}"
    )
    for line in router.lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z fastpty-router\[\d+\] ", line)


def test_a_command_with_control_characters_stays_one_line_of_the_log(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "echo a\n\x1b[31mb; true")
    with Client(f"{directory}/s") as client:
        client.read_to_end()
    assert router.wait_for_log(r"process \d+: echo a\\x0a\\x1b\[31mb; true$")


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def test_a_full_log_does_not_stop_the_router(directory: Path) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([sys.executable, "-m", "fastpty.router", f"{directory}/s"], stderr=full)
    try:
        eventually(lambda: answers(f"{directory}/s"), "the router listens")
        with Client(f"{directory}/s") as client:
            client.send(b"exit\n")
            client.read_to_end()
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "nothing to listen on"),
        (["--no-such-flag", "/tmp/x"], 2, "unknown option --no-such-flag"),
        (["--chmod-socket=888", "/tmp/x"], 2, "'888'"),
        (["--chown-socket", "nobodyy", "/tmp/x"], 2, "no user 'nobodyy' here (did you mean 'nobody'?)"),
        (["--chown-socket", "nobody:nogrou", "/tmp/x"], 2, "no group 'nogrou' here (did you mean 'nogroup'?)"),
        (["/no/such/directory/socket"], 1, "/no/such/directory/socket"),
        (["/proc/socket"], 1, "/proc/socket"),
        (["/etc/passwd"], 2, "/etc/passwd is a file, not a socket"),
        (["--listen-raw", "/etc/passwd"], 1, "/etc/passwd"),
        (["0.0.0.0:0"], 2, "insecure-tcp"),
        ([":0"], 2, "insecure-tcp"),
        (["192.0.2.1:7", "--insecure-tcp"], 1, "192.0.2.1:7"),
        (["fd://77"], 1, "fd://77"),
        (["--ini", "/no/such.ini"], 2, "/no/such.ini"),
        (["--forkptyrouter-rows", "70000", "/tmp/x"], 2, "'70000'"),
    ],
)
def test_a_mistake_is_reported_in_one_line_with_a_status(arguments: list[str], status: int, words: str) -> None:
    ended = run(*arguments)
    assert words in ended.stderr
    assert ended.stderr.startswith("fastpty-router: ")
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == status
    assert ended.stdout == ""


def test_an_open_tcp_address_needs_to_be_insisted_on(start_router: Callable[..., Router]) -> None:
    router = start_router("0.0.0.0:0", "--insecure-tcp")
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.send(b"exit\n")
        client.read_to_end()


def test_help_fits_80_columns_and_version_is_printed() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    assert run("--version").stdout == f"fastpty-router {__version__}\n"


def test_as_process_1_it_reaps_orphans(directory: Path) -> None:
    """In a container no other process may reap orphans."""
    need_root()
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "fastpty.router", f"{directory}/s"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        read_until_ready(process.stderr)
        with Client(f"{directory}/s") as client:
            # A zombie keeps its process id.
            client.send(
                b"orphan=$( (sh -c 'echo $$; exec >&-; exit 3' &) ); while kill -0 $orphan; do :; done; echo go''ne\n"
            )
            client.read_until(b"gone\r\n")
    finally:
        (router,) = children(process.pid)
        os.kill(router, signal.SIGTERM)
        process.wait(30)
        process.stderr.close()
