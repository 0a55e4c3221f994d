"""Signals during the start, sent at chosen system calls: a stop leaves nothing behind, a reload waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Router, children, eventually, process_gone, processes
from tests.support.peers import need, need_root
from tests.support.tls_harness import Authority

# System calls that change something outside the process.
CHANGING = {"bind", "listen", "chmod", "fchmod", "fchmodat", "rename", "renameat", "renameat2", "unlink", "unlinkat"}
CHANGING |= {"mkdirat", "clone", "clone3", "vfork", "unshare", "signalfd4"}
EVERY_NTH_OTHER = 25  # one in 25 of the other calls

TRACED = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


class Start:
    """A router that makes a socket, a pid file and processes at its start, in a directory of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.socket, self.pid_file = directory / "s", directory / "pid"
        self.options = (str(self.socket), "--pidfile", str(self.pid_file), "--vacuum", *options)
        self.routers: list[Router] = []

    def run(self, *tracing: str, options: tuple[str, ...] = ()) -> Router:
        """Starts it, under strace if there are options for strace."""
        argv = [need("strace"), "-D", *tracing, sys.executable, "-m", "fastpty.router"] if tracing else []
        program = ("-c", TRACED, *argv) if tracing else ("-m", "fastpty.router")
        self.routers.append(Router(*self.options, *options, program=program, first=os.setsid))
        return self.routers[-1]

    def expect_nothing_left(self, router: Router) -> None:
        assert "Traceback" not in router.log
        assert not self.socket.exists(), router.log
        assert not self.pid_file.exists(), router.log
        eventually(lambda: of_session(router.process.pid) == [], "no process is left")


def of_session(leader: int) -> list[int]:
    ours = [pid for pid, fields in processes() if fields[3] == str(leader) and fields[0] != "Z"]
    return [pid for pid in ours if "strace" not in name_of(pid)]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "strace"


@pytest.fixture
def start(directory: Path, authority: Authority) -> Iterator[Callable[..., Start]]:
    made: list[Start] = []

    def make(*options: str) -> Start:
        made.append(Start(directory, *options))
        return made[-1]

    yield make
    for each in made:
        for router in each.routers:
            router.destroy()


def calls_of_the_start(start: Start, directory: Path) -> list[tuple[str, int]]:
    """The system calls from signals.hold() to the supervisor's first poll: name, and count of that name."""
    trace = directory / "trace"
    router = start.run("-o", str(trace)).wait_until_listening()
    assert router.end() == 0, router.log
    calls = re.findall(r"^(\w+)\((.*)$", trace.read_text(), re.M)
    begin = next(n for n, (name, rest) in enumerate(calls) if name == "rt_sigprocmask" and "TERM" in rest)
    end = next(n for n, (name, _) in enumerate(calls) if n > begin and name in ("epoll_wait", "epoll_pwait"))
    counts: dict[str, int] = {}
    found, others = [], 0
    for index, (name, _) in enumerate(calls[: end + 1]):
        counts[name] = counts.get(name, 0) + 1
        if index > begin:
            others += name not in CHANGING
            if name in CHANGING or others % EVERY_NTH_OTHER == 0:
                found.append((name, counts[name]))
    return found


@pytest.mark.timeout(300)
def test_a_stop_at_any_moment_of_the_start_leaves_nothing_behind(
    start: Callable[..., Start], directory: Path, authority: Authority
) -> None:
    options = ["--forkpty-router", "127.0.0.1:0", *authority.options("server"), "--exec-as-user", "true"]
    starting = start(*options)
    tried = calls_of_the_start(starting, directory)
    assert [name for name, _ in tried].count("bind") >= 3  # the socket file, the port, and what is behind TLS
    for name, number in tried:
        router = stopped_at(starting, directory / "injected", name, number)
        assert router.process.wait(PATIENCE_SECONDS) == 0, f"{name} {number}: {router.log}"
        starting.expect_nothing_left(router)


def stopped_at(start: Start, trace: Path, name: str, number: int) -> Router:
    """A router that is sent SIGTERM at this call, or when it is ready if it makes fewer calls this time.

    The number varies: the search for a uid for the TLS process reads a file of every process on the machine.
    """
    router = start.run("-o", str(trace), "-e", f"trace={name}", "-e", f"inject={name}:signal=TERM:when={number}")
    eventually(lambda: router.process.poll() is not None or "ready" in router.log, "it ends or is ready")
    if router.process.poll() is None and "SIGTERM" not in trace.read_text():
        router.process.terminate()
    return router


def test_a_signal_that_is_no_stop_waits_at_any_moment_of_the_start(
    start: Callable[..., Start], directory: Path
) -> None:
    """Only SIGUSR1 is tried: the router takes a SIGHUP that strace injects for one of the kernel, and stops."""
    starting = start("--exec-as-user", "true")
    tried = calls_of_the_start(starting, directory)
    for name, number in [moment for moment in tried if moment[0] in CHANGING]:
        router = starting.run("-o", os.devnull, "-e", f"inject={name}:signal=USR1:when={number}")
        router.wait_for_log(r"statistics: 1 workers")
        assert router.end() == 0, f"{name} {number}: {router.log}"
        starting.expect_nothing_left(router)


SLEEPS = "echo $$ > {0}/hook.new; mv {0}/hook.new {0}/hook; sleep 1000; true"


def wait_for_hook(directory: Path) -> list[int]:
    """The processes of a hook that sleeps."""
    eventually((directory / "hook").exists, "the hook runs")
    shell = int((directory / "hook").read_text())
    eventually(lambda: children(shell), "the hook sleeps")
    return [shell, *children(shell)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("phase", ["asap", "pre-jail", "as-user"])
def test_a_stop_ends_the_hook_that_the_start_waits_for(
    start: Callable[..., Start], directory: Path, phase: str, number: int
) -> None:
    starting = start(f"--exec-{phase}", SLEEPS.format(directory))
    router = starting.run()
    hook = wait_for_hook(directory)
    assert starting.pid_file.exists() == (phase != "asap")
    assert router.end(number) == 0
    assert all(process_gone(pid) for pid in hook)
    starting.expect_nothing_left(router)


def test_a_stop_ends_a_hook_in_a_pid_namespace(start: Callable[..., Start], directory: Path) -> None:
    need_root()
    starting = start("--unshare", "pid", "--exec-as-root", f"echo > {directory}/hook; sleep 1000; true")
    router = starting.run()
    eventually((directory / "hook").exists, "the hook runs")
    assert router.end() == 0
    starting.expect_nothing_left(router)


@pytest.mark.parametrize(
    "options",
    [
        ("--wait-for-file", "{0}/never"),
        ("--hook-as-user", "wait_for_file:{0}/never"),
        ("--hook-as-user", "write:{0}/fifo text"),
    ],
)
def test_a_stop_ends_a_start_that_waits(
    start: Callable[..., Start], directory: Path, options: tuple[str, str]
) -> None:
    os.mkfifo(directory / "fifo")
    starting = start(options[0], options[1].format(directory))
    router = starting.run()
    eventually(starting.pid_file.exists, "it has a pid file")
    assert router.end() == 0
    router.wait_for_log("SIGTERM: stopped before it was ready")
    starting.expect_nothing_left(router)


def test_a_reload_waits_for_the_end_of_the_start(start: Callable[..., Start], directory: Path) -> None:
    starting = start("--wait-for-file", f"{directory}/awaited")
    router = starting.run()
    eventually(starting.pid_file.exists, "it has a pid file")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        router.process.send_signal(number)
    (directory / "awaited").touch()
    router.wait_for_log(r"\] reloaded")
    router.wait_for_log("statistics: ")
    assert router.end() == 0


def test_the_starter_of_a_router_in_the_background_learns_that_it_was_stopped(directory: Path) -> None:
    options = ["--pidfile", f"{directory}/pid", "--vacuum", "--daemonize", f"{directory}/log"]
    starter = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fastpty.router",
            f"{directory}/s",
            *options,
            "--exec-as-user",
            SLEEPS.format(directory),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    hook = wait_for_hook(directory)
    os.kill(int((directory / "pid").read_text()), signal.SIGTERM)
    _, message = starter.communicate(timeout=PATIENCE_SECONDS)
    assert (starter.returncode, message) == (1, "fastpty-router: stopped by SIGTERM before it was ready\n")
    eventually(lambda: all(process_gone(pid) for pid in hook), "the hook has ended")
    eventually(lambda: not (directory / "s").exists(), "the socket is removed")


COMMAND = "import sys; from fastpty.__main__ import {}; sys.exit({}())"


@pytest.mark.parametrize(("command", "argument"), [("router", "--help"), ("client", "--help")])
def test_an_interrupt_while_modules_are_loaded_is_no_traceback(directory: Path, command: str, argument: str) -> None:
    """Until the first module of fastpty is loaded, Python itself handles the signal."""
    argv = [sys.executable, "-c", COMMAND.format(command, command), argument]
    trace = directory / "trace"
    subprocess.run([need("strace"), "-o", trace, "-e", "trace=openat", *argv], check=True, capture_output=True)
    opened = [line for line in trace.read_text().splitlines() if line.startswith("openat(")]
    begin = max(n for n, line in enumerate(opened) if "/fastpty/" in line and "/__main__." in line) + 1
    assert len(opened) - begin > 5
    for number in range(begin + 1, len(opened), max(2, (len(opened) - begin) // 20)):
        injected = ["-o", os.devnull, "-e", f"inject=openat:signal=INT:when={number}"]
        ended = subprocess.run([need("strace"), *injected, *argv], capture_output=True, text=True, check=False)
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode == -signal.SIGINT
