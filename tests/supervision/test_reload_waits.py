"""A reload delays nobody while it reads, and changes nothing if its new workers cannot start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Client, Router, children, eventually, process_gone
from tests.support.peers import preload
from tests.support.reloads import configured, echoes, greeted, reload

# A router with shorter deadlines.
IMPATIENT = (
    "-c",
    "import fastpty.configuration.reload_child, sys\n"
    "import fastpty.supervision.forked_worker as f, fastpty.supervision.reload as r\n"
    "r.READ_SECONDS = f.READY_SECONDS = 0.5\n"
    "from fastpty.router import main\n"
    "sys.exit(main())\n",
)


class SlowReading:
    """A router whose configuration runs a command, which can be made to hang."""

    def __init__(self, start_router: Callable[..., Router], directory: Path, *lines: str, **keywords: object) -> None:
        self.path = f"{directory}/s"
        self._command, self._running = directory / "command", directory / "running"
        self._command.write_text("echo fine\n")
        self.ini = directory / "r.ini"
        self._lines = (f"env = X=@(exec://. {self._command})", *lines)
        self.router = start_router(configured(self.ini, self.path, *self._lines), **keywords)

    def be_slow(self) -> None:
        self._command.write_text(f"echo $$ > {self._running}; sleep 1000; true\n")

    def be_quick(self) -> None:
        self._command.write_text("echo fine\n")

    def configure(self, word: str) -> None:
        configured(self.ini, self.path, *self._lines, word=word)

    def reload(self) -> list[int]:
        """Sends SIGHUP, and returns the processes of the command once they run."""
        self.router.process.send_signal(signal.SIGHUP)
        eventually(lambda: self._running.exists() and self._running.read_text().endswith("\n"), "the command runs")
        shell = int(self._running.read_text())
        eventually(lambda: children(shell), "it has begun to take its time")
        return [shell, *children(shell)]


def test_a_router_goes_on_while_a_reload_reads_its_configuration(
    start_router: Callable[..., Router], directory: Path
) -> None:
    statistics = f"{directory}/stats"
    slow = SlowReading(start_router, directory, f"forkptyrouter-stats-server = {statistics}", sockets=2)
    (worker,) = slow.router.workers
    slow.be_slow()
    reading = slow.reload()
    os.kill(worker, signal.SIGKILL)
    slow.router.wait_for_log(f"worker {worker} has ended .killed by SIGKILL.; another one starts")
    with greeted(slow.path, "old") as client:
        echoes(client)
        with Client(statistics) as asked:
            assert json.loads(asked.read_to_end())["active_sessions"] == 1
    assert slow.router.end() == 0
    eventually(lambda: all(process_gone(pid) for pid in reading), "what the reload has started ends with the router")


def test_a_configuration_that_cannot_be_read_in_time_is_refused(
    start_router: Callable[..., Router], directory: Path
) -> None:
    slow = SlowReading(start_router, directory, program=IMPATIENT)
    slow.be_slow()
    reading = slow.reload()
    slow.router.wait_for_log("reload refused, keeping the old configuration: the new one was not read within 0.5 s")
    eventually(lambda: all(process_gone(pid) for pid in reading), "what reads it is killed")
    with greeted(slow.path, "old") as client:
        echoes(client)
    slow.be_quick()
    slow.configure("new")
    reload(slow.router)
    greeted(slow.path, "new").socket.close()


def test_a_reload_that_is_asked_for_during_another_follows_it(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """The first one may have read files that have changed since."""
    slow = SlowReading(start_router, directory)
    slow.be_slow()
    _, sleeping = slow.reload()
    slow.be_quick()
    slow.configure("new")
    slow.router.process.send_signal(signal.SIGHUP)
    slow.router.process.send_signal(signal.SIGUSR1)
    slow.router.wait_for_log("statistics: 1 workers")  # so the signals have been taken
    os.kill(sleeping, signal.SIGKILL)
    slow.router.wait_for_log(r"\] reloaded", 2)
    greeted(slow.path, "new").socket.close()


REPORTS_NAME_LOOKUPS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    FILE *file = fopen(ASKED, "a");
    fprintf(file, "%d\n", getpid());
    fclose(file);
    return real(name, service, hints, found);
}
"""


def test_the_supervisor_does_not_look_up_host_names_of_a_reload(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """A name server may be slow."""
    path, asked = f"{directory}/s", directory / "asked"
    shim = preload(directory, REPORTS_NAME_LOOKUPS, f'ASKED="{asked}"')
    router = start_router(configured(directory / "r.ini", path), env=shim)
    configured(directory / "r.ini", path, "forkpty-router = localhost:0", word="new")
    reload(router)
    router.wait_for_log(r"listening on localhost:\d+ ")
    assert asked.read_text()
    assert str(router.process.pid) not in asked.read_text().split()


# A worker, which has a process group of its own, ends or hangs when it makes its epoll instance.
FAILING_WORKER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
int epoll_create1(int flags)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "epoll_create1");
    int is_worker = getpgrp() == getpid();
    if (is_worker && access(DIRECTORY "/ends", F_OK) == 0)
        _exit(3);
    while (is_worker && access(DIRECTORY "/hangs", F_OK) == 0) {
        close(open(DIRECTORY "/hanging", O_CREAT, 0600));
        usleep(5000);
    }
    return real(flags);
}
"""


class FaultyWorkers:
    """A router, and files that make new workers end or hang before they are ready."""

    def __init__(self, start_router: Callable[..., Router], directory: Path) -> None:
        self.path, self.new_path = f"{directory}/s", f"{directory}/t"
        self.ends, self.hangs, self._hanging = directory / "ends", directory / "hangs", directory / "hanging"
        self.ini = directory / "r.ini"
        self.environment = preload(directory, FAILING_WORKER, f'DIRECTORY="{directory}"')
        self._start = start_router

    def start(self, *lines: str, **keywords: object) -> Router:
        self._lines = lines
        return self._start(configured(self.ini, self.path, *lines), env=self.environment, **keywords)

    def wait_until_one_hangs(self) -> None:
        eventually(self._hanging.exists, "a new worker hangs before it is ready")

    def change(self) -> None:
        configured(self.ini, self.path, f"forkpty-router = {self.new_path}", *self._lines, word="new")


@pytest.fixture
def faulty(start_router: Callable[..., Router], directory: Path) -> FaultyWorkers:
    return FaultyWorkers(start_router, directory)


@pytest.mark.parametrize("options", [(), ("forkptyrouter-processes = 2",)])
def test_a_reload_with_which_no_worker_can_start_is_refused(faulty: FaultyWorkers, options: tuple[str, ...]) -> None:
    router = faulty.start(*options)
    router.wait_for_log(r"\] ready$", 1 + len(options))  # the option asks for a second worker
    before = router.workers
    with greeted(faulty.path, "old") as old:
        faulty.change()
        faulty.ends.touch()
        router.process.send_signal(signal.SIGHUP)
        router.wait_for_log(
            "reload refused, keeping the old .*: no worker could start with the new one .exit status 3."
        )
        eventually(lambda: router.workers == before, "only the workers of before are left")
        assert not Path(faulty.new_path).exists()
        greeted(faulty.path, "old").socket.close()
        echoes(old)
        faulty.ends.unlink()
        reload(router)
        greeted(faulty.new_path, "new").socket.close()
        echoes(old)


def test_a_reload_whose_worker_hangs_before_it_is_ready_is_refused(faulty: FaultyWorkers) -> None:
    router = faulty.start(program=IMPATIENT)
    before = router.workers
    faulty.change()
    faulty.hangs.touch()
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log(r"worker \d+ is not ready after 0.5 s: killed")
    router.wait_for_log("reload refused, keeping the old configuration: no worker could start")
    eventually(lambda: router.workers == before, "only the workers of before are left")
    greeted(faulty.path, "old").socket.close()


def test_the_old_workers_accept_until_a_new_one_is_ready(faulty: FaultyWorkers) -> None:
    router = faulty.start()
    faulty.change()
    faulty.hangs.touch()
    router.process.send_signal(signal.SIGHUP)
    faulty.wait_until_one_hangs()
    for _ in range(3):
        greeted(faulty.path, "old").socket.close()
    faulty.hangs.unlink()
    router.wait_for_log(r"\] reloaded")
    greeted(faulty.path, "new").socket.close()


def test_a_router_without_workers_tries_the_new_configuration_with_one(faulty: FaultyWorkers) -> None:
    """Otherwise only a connection would show that the new configuration does not work."""
    router = faulty.start("forkptyrouter-cheap = true")
    faulty.change()
    faulty.ends.touch()
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reload refused, keeping the old configuration: no worker could start")
    faulty.ends.unlink()
    reload(router)
    eventually(lambda: router.workers == [], "the one that was tried has ended")
    greeted(faulty.new_path, "new").socket.close()


def test_a_second_stop_ends_a_router_whose_new_worker_hangs(faulty: FaultyWorkers) -> None:
    router = faulty.start()
    faulty.change()
    faulty.hangs.touch()
    router.process.send_signal(signal.SIGHUP)
    faulty.wait_until_one_hangs()
    router.process.send_signal(signal.SIGTERM)
    router.wait_for_log("SIGTERM: stopping")
    assert router.end() == 0
    assert not Path(faulty.path).exists()
    assert not Path(faulty.new_path).exists()


@pytest.mark.parametrize("background", [False, True])
def test_a_router_whose_first_workers_cannot_start_ends_and_says_so(
    faulty: FaultyWorkers, directory: Path, background: bool
) -> None:
    faulty.ends.touch()
    options = ["--daemonize", f"{directory}/log"] if background else []
    ended = subprocess.run(
        [sys.executable, "-m", "fastpty.router", configured(faulty.ini, faulty.path), *options],
        env={**os.environ, **faulty.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith("fastpty-router: no worker could start (exit status 3)\n")
    assert not Path(faulty.path).exists()
