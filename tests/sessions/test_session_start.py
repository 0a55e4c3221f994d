"""The start of a session: what its program finds, and what a client gets if the program cannot start."""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.support.first_steps import limit_files
from tests.support.harness import PROMPT, RAW_CAT, Client, Router, children, descriptors, eventually
from tests.support.peers import need, need_root, preload
from tests.support.programs import broken_program


def ask(router_path: str, *commands: str) -> str:
    """The output of a shell for some commands, as one text."""
    with Client(router_path) as client:
        client.send(f"stty -echo; PS1=; echo BE''GIN; {'; '.join(commands)}; echo EN''D; exit\n".encode())
        client.read_until(b"BEGIN\r\n", b"END\r\n")
        text = client.read_to_end().split(b"BEGIN\r\n")[-1].split(b"END\r\n")[0]
    return text.decode().replace("\r\n", "\n")


def test_the_terminal_is_controlling_sane_and_utf8(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    start_router(path)
    said = ask(path, "cut -d ' ' -f 1,6 /proc/$$/stat", "tty", "stty size", "stty echo; stty -a")
    process, session, terminal, rest = said.split(None, 3)
    assert session == process
    assert terminal.startswith("/dev/pts/")
    assert rest.startswith("24 80\n")
    assert {"icanon", "echo", "isig", "icrnl", "ixon", "opost", "onlcr", "iutf8"} <= set(rest.split())


def test_the_window_is_as_configured(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-rows", "43", "--forkptyrouter-cols", "132")
    assert ask(f"{directory}/s", "stty size") == "43 132\n"


@pytest.mark.parametrize("before", [0, 40])
def test_the_program_has_descriptors_0_1_2_and_no_others(
    start_router: Callable[..., Router], directory: Path, before: int
) -> None:
    """Even if the router has listeners, other sessions and their clients open. uWSGI leaks these to its shells."""
    path = f"{directory}/s"
    router = start_router(
        path, "--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", "/bin/cat", sockets=2
    )
    with ExitStack() as many, Client(path) as other, Client(path) as client:
        for one in (*(many.enter_context(Client(path)) for _ in range(before)), other, client):
            one.send(b"ready?\n")
            one.read_until(b"ready?\r\nready?\r\n")
        for pid in children(router.pid):
            assert sorted(descriptors(pid)) == [0, 1, 2]
            assert all(what.startswith("/dev/pts/") for what in descriptors(pid).values())


def test_a_start_with_many_open_descriptors_copies_none_of_them() -> None:
    """The child gets only the first part of the table. A failure is reported, and no descriptor is left."""
    code = """
import os
from fastpty._spawn import Command, Spawner, reserve
reserve()
spawner = Spawner((1024, 1024))
many = [os.eventfd(0) for _ in range(500)]
before = os.listdir("/proc/self/fd")
for program in (b"/bin/true", b"/no/such/program", b"/bin/true"):
    try:
        master, pid, pidfd = spawner.spawn(Command([program], []), (24, 80, 0, 0))
    except OSError as error:
        print(error.strerror)
        continue
    os.waitpid(pid, 0)
    try:
        os.read(master, 1)
    except OSError as error:
        print(error.strerror)  # the slave side is closed everywhere
    os.close(master)
    os.close(pidfd)
assert os.listdir("/proc/self/fd") == before
"""
    argv = [need("strace"), "-f", "-e", "trace=clone,close_range", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Input/output error", "cannot execute /no/such/program: No such file or directory", "Input/output error",
    ]  # fmt: skip
    assert done.stderr.count("CLOSE_RANGE_UNSHARE) = 0") == 3


def test_signals_are_default_and_unblocked() -> None:
    """Whatever the router itself ignores or blocks. uWSGI's programs inherit six ignored signals."""
    code = """
import os, signal
from fastpty._spawn import Command, Spawner
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGINT])
# Not through a shell, which would change some of it.
argv = [b"/bin/grep", b"-E", b"^Sig(Blk|Ign):", b"/proc/self/status"]
master, pid, _ = Spawner((1024, 1024)).spawn(Command(argv, []), (24, 80, 0, 0))
os.waitpid(pid, 0)
print(os.read(master, 4096).decode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_a_descriptor_that_the_router_inherited_stays_with_it(
    start_router: Callable[..., Router], directory: Path
) -> None:
    with open("/etc/hostname") as inherited:
        router = start_router(f"{directory}/s", "--forkptyrouter-command", "/bin/cat", pass_fds=[inherited.fileno()])
        assert "/etc/hostname" in descriptors(router.pid).values()
        with Client(f"{directory}/s") as client:
            client.send(b"ready?\n")
            client.read_until(b"ready?\r\nready?\r\n")
            (program,) = children(router.pid)
            assert sorted(descriptors(program)) == [0, 1, 2]


def test_term_has_a_default_and_the_router_s_own_wins(
    start_router: Callable[..., Router], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    start_router(f"{directory}/unset")
    monkeypatch.setenv("TERM", "screen")
    start_router(f"{directory}/set")
    start_router(f"{directory}/configured", "--env", "TERM=vt100")
    terms = [ask(f"{directory}/{name}", "echo $TERM") for name in ("unset", "set", "configured")]
    assert terms == ["xterm-256color\n", "screen\n", "vt100\n"]


def test_environment_and_directory_are_as_configured(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    start_router(path, "--env", "A=b c", "--unenv", "HOME", "--chdir", "/usr")
    assert ask(path, 'echo "$A,${HOME-none}"', "pwd") == "b c,none\n/usr\n"


def test_a_command_without_a_blank_is_executed_directly(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", "/bin/cat")
    with Client(f"{directory}/s") as client:
        client.send(b"x\n")
        client.read_until(b"x\r\nx\r\n")
        (pid,) = children(router.pid)
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/bin/cat\0"


def test_a_command_with_a_blank_goes_through_the_shell(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", "echo $0 $((40 + 2))")
    with Client(f"{directory}/s") as client:
        assert client.read_to_end() == b"/bin/sh 42\r\n"


@pytest.mark.parametrize(
    ("interpreter", "reason"),
    [("/no/such/shell", b"No such file or directory"), ("/etc/passwd", b"Permission denied")],
)
def test_the_client_and_the_log_get_a_line_about_a_command_that_cannot_run(
    serve: Callable[..., Service], directory: Path, interpreter: str, reason: bytes
) -> None:
    command = broken_program(directory, interpreter)
    service = serve(command=command)
    with service.connect() as client:
        client.send(b"\0\x18\0\x64\0\x50\0\x65")  # unread bytes from the client must not break the end
        assert client.read_to_end() == b"fastpty: cannot execute " + command.encode() + b": " + reason + b"\r\n"
    service.router.wait_for_log(f"session 1: refused .*{command}: {reason.decode()}")
    service.wait_until_idle()


def test_a_directory_that_went_away_is_named(start_router: Callable[..., Router], directory: Path) -> None:
    gone = directory / "gone"
    gone.mkdir()
    router = start_router(f"{directory}/s", "--chdir", str(gone), "--forkptyrouter-command", "/bin/pwd")
    gone.rmdir()
    with Client(f"{directory}/s") as client:
        assert client.read_to_end()
    router.wait_for_log("session 1: end: exit")


def test_the_program_gets_the_file_limit_that_the_router_was_given(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The router raises its own limit. Programs that use select(2) or close all descriptors need the usual one."""
    start_router(f"{directory}/s", first=limit_files(256, 4096))
    assert ask(f"{directory}/s", "ulimit -Sn", "ulimit -Hn") == "256\n4096\n"


def test_a_client_that_finds_no_descriptor_gets_a_line_and_others_go_on(serve: Callable[..., Service]) -> None:
    """uWSGI ends here, with all sessions."""
    service = serve()
    resource.prlimit(service.router.pid, resource.RLIMIT_NOFILE, (40, 40))
    clients = [service.connect() for _ in range(24)]
    refused, served = [], []
    for client in clients:
        client.socket.settimeout(30)
        first = client.socket.recv(200)
        (refused if first.startswith(b"fastpty: ") else served).append(client)
    assert refused
    assert served
    for client in refused:
        assert client.read_to_end() == b""
        client.socket.close()
    say(served[0], service.framed, b"echo alive''\n")
    served[0].read_until(b"alive\r\n")
    for client in served:
        client.socket.close()
    service.wait_until_idle()
    with service.connect() as client:
        say(client, service.framed, b"echo again''\n")
        client.read_until(b"again\r\n")


def test_clients_that_find_no_descriptor_get_their_line_at_once(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The router serves them one by one with a spare descriptor."""
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/s") as steady:
        steady.read_until(b"READY")
        before = resource.prlimit(router.pid, resource.RLIMIT_NOFILE)
        lowest_free = min(set(range(before[0])) - set(descriptors(router.pid)))
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        for _ in range(3):
            with Client(f"{directory}/s") as client:
                assert client.read_to_end().startswith(b"fastpty: the router has no descriptor left")
        steady.send(b"still here")
        assert steady.read_exactly(10) == b"still here"
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, before)
        with Client(f"{directory}/s") as client:
            client.read_until(b"READY")


def say(client: Client, framed: bool, text: bytes) -> None:
    client.send(b"\0" + len(text).to_bytes(2, "little") + b"\0" + text if framed else text)


@pytest.mark.whole_machine
def test_a_client_that_finds_no_pty_gets_a_line_and_others_go_on(serve: Callable[..., Service]) -> None:
    service = serve()
    limit = Path("/proc/sys/kernel/pty/max")
    reserve = Path("/proc/sys/kernel/pty/reserve")
    need_root()
    before = limit.read_text(), reserve.read_text()
    with service.connect() as first:
        first.read_until(PROMPT)
        in_use = int(Path("/proc/sys/kernel/pty/nr").read_text())
        try:
            reserve.write_text("0")
            limit.write_text(str(in_use))
            with service.connect() as second:
                assert second.read_to_end().startswith(b"fastpty: cannot open a pseudo-terminal: No space left")
        finally:
            limit.write_text(before[0])
            reserve.write_text(before[1])
        say(first, service.framed, b"echo alive''\n")
        first.read_until(b"alive\r\n")
    service.wait_until_idle()


def test_a_client_gets_a_line_if_no_process_can_be_started(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    router = start_router(f"{directory}/s", "--uid=nobody", "--gid=nogroup")
    limit = [need("prlimit"), f"--pid={router.pid}", "--nproc=0:0"]
    subprocess.run(limit, user="nobody", group="nogroup", extra_groups=[], check=True)
    with Client(f"{directory}/s") as client:
        assert client.read_to_end().startswith(b"fastpty: cannot start a process: Resource temporarily unavailable")


def test_a_burst_of_starts_all_get_their_prompt(serve: Callable[..., Service]) -> None:
    service = serve()
    clients = [service.connect() for _ in range(64)]
    for client in clients:
        client.read_until(PROMPT)
    for client in clients:
        client.socket.close()
    service.wait_until_idle()


def test_the_log_names_the_client_that_connected(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)
        router.wait_for_log(
            rf"^\S+Z fastpty-router\[{router.pid}\] session 1: start: pid {os.getpid()} uid {os.getuid()} "
            rf"gid {os.getgid()} \({pwd.getpwuid(os.getuid()).pw_name}\) on {directory}/s \(raw\): "
            r"pts/\d+: process \d+: /bin/sh$"
        )


def test_a_session_closes_what_it_opened(serve: Callable[..., Service]) -> None:
    service = serve()
    for _ in range(20):
        with service.connect() as client:
            client.read_until(PROMPT)
    service.wait_until_idle()
    eventually(
        lambda: not [what for what in descriptors(service.router.pid).values() if "ptmx" in what], "no pty is left"
    )


def test_accepting_goes_on_after_a_pause_when_not_even_the_spare_descriptor_helps(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A pause of 100 ms: without it the waiting connection would wake the router again at once."""
    router = start_router(f"{directory}/s")
    before = resource.prlimit(router.pid, resource.RLIMIT_NOFILE)
    failed = "a client was not accepted: Too many open files"
    began = time.monotonic()
    resource.prlimit(router.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    with Client(f"{directory}/s") as client:
        router.wait_for_log(failed, 2)
        resource.prlimit(router.pid, resource.RLIMIT_NOFILE, before)
        client.read_until(PROMPT)
        assert router.log.count(failed) <= 1 + (time.monotonic() - began) / 0.1


SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's limit of watches (epoll(7), max_user_watches), reached at a terminal or at a leader. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    char link[64], what[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    readlink(link, what, sizeof what - 1);
    if (operation == EPOLL_CTL_ADD && strstr(what, FULL_AT)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}
"""


@pytest.mark.parametrize("full_at", ["ptmx", "pidfd"])
def test_a_session_that_epoll_refuses_gets_a_line_and_leaves_nothing(
    start_router: Callable[..., Router], directory: Path, full_at: str
) -> None:
    router = start_router(f"{directory}/s", env=preload(directory, SHIM, f'FULL_AT="{full_at}"'))
    with Client(f"{directory}/s") as client:
        assert b"the kernel's limit of epoll watches is reached" in client.read_to_end()
    router.wait_for_log("a client was not accepted: No space left")
    router.wait_for_log("session 1: end: client left, killed by SIGKILL")
    eventually(lambda: children(router.pid) == [], "no child is left")
