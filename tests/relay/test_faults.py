"""Faults of the machine on a real router: it reports each in one line and goes on serving the other sessions."""

from __future__ import annotations

import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.probes import channel_probe
from tests.support.control_groups import control_group
from tests.support.harness import PATIENCE_SECONDS, RAW_CAT, Client, Router, children, eventually, frame
from tests.support.peers import need_control_group, need_root, preload

# Opened by each protocol's router and dropped at random points of the protocol: over ten thousand for the three
# protocols. The seed is part of the test's name, so a failure can be repeated.
DROPPED_CONNECTIONS = 3400


def echoes(client: Client, framed: bool, text: bytes = b"still here") -> None:
    """Checks that a session that runs RAW_CAT echoes."""
    client.send(frame(0, payload=text) if framed else text)
    assert client.read_exactly(len(text)) == text


def random_wire(dice: random.Random) -> bytes:
    """What a client may have sent when it broke off: frames and a part of one. None stops its own program."""
    wire = bytearray()
    for _ in range(dice.randrange(4)):
        kind = dice.choice([0, 0, 1, 2, 28, 64, 65, 100, 101, 255])
        payload = dice.randbytes(dice.randrange(300)) if kind == 0 else b""
        wire += frame(kind, dice.randrange(65_536) if kind != 0 else 0, payload)
    return bytes(wire[: dice.randrange(len(wire) + 1)])


@pytest.mark.parametrize("seed", [1])
def test_ten_thousand_connections_dropped_at_any_point_leave_nothing_behind(
    serve: Callable[..., Service], seed: int
) -> None:
    service = serve(command=RAW_CAT)
    dice = random.Random(seed)
    with service.connect() as steady:
        steady.read_until(b"READY")
        left = DROPPED_CONNECTIONS
        while left:
            with ExitStack() as crowd:
                clients = [crowd.enter_context(service.connect()) for _ in range(min(left, dice.randrange(1, 40)))]
                left -= len(clients)
                for client in clients:
                    drop_somewhere(client, dice)
            echoes(steady, service.framed)
    service.router.wait_for_log("session .*: end: ", DROPPED_CONNECTIONS + 1)
    service.wait_until_idle()


def drop_somewhere(client: Client, dice: random.Random) -> None:
    """Plays a session up to a random point: connected, sent something, half-closed, or read something."""
    point = dice.randrange(4)
    with suppress(ConnectionError):
        if point >= 1:
            client.send(random_wire(dice))
        if point >= 2:
            client.half_close()
        if point == 3:
            client.socket.recv(dice.randrange(1, 100))


def test_a_client_that_sends_a_byte_at_a_time_is_served_and_delays_nobody(serve: Callable[..., Service]) -> None:
    """Each byte arrives alone. A frame that is incomplete for long delays nobody."""
    service = serve(command=RAW_CAT)
    text = b"slow but sure"
    with service.connect() as slow, service.connect() as other:
        slow.read_until(b"READY")
        other.read_until(b"READY")
        for byte in frame(0, payload=text) if service.framed else text:
            slow.send(bytes([byte]))
            echoes(other, service.framed, b"k")
        assert slow.read_exactly(len(text)) == text
    service.wait_until_idle()


def test_sixty_four_clients_that_never_read_delay_nobody(serve: Callable[..., Service], directory: Path) -> None:
    service = serve(command=f"[ -e {directory}/flood ] && exec cat /dev/zero; {RAW_CAT}")
    with ExitStack() as crowd:
        normal = [crowd.enter_context(service.connect()) for _ in range(4)]
        for client in normal:
            client.read_until(b"READY")
        (directory / "flood").touch()
        stalled = [crowd.enter_context(service.connect()) for _ in range(64)]
        for client in stalled:
            client.wait_for_output()
        for _ in range(25):
            for client in normal:
                echoes(client, service.framed, b"k")
        (directory / "flood").unlink()
        with service.connect() as newcomer:
            newcomer.read_until(b"READY")
            echoes(newcomer, service.framed)
    service.wait_until_idle()


def test_sixty_four_floods_to_programs_that_do_not_read_delay_nobody(
    serve: Callable[..., Service], directory: Path
) -> None:
    service = serve(
        command=f"[ -e {directory}/deaf ] && {{ stty raw -echo; printf DEAF; exec sleep 1000; }}; {RAW_CAT}"
    )
    wire = frame(0, payload=bytes(65_535)) if service.framed else bytes(65_535)
    with ExitStack() as crowd:
        normal = [crowd.enter_context(service.connect()) for _ in range(4)]
        for client in normal:
            client.read_until(b"READY")
        (directory / "deaf").touch()
        floods = [crowd.enter_context(service.connect()) for _ in range(64)]
        for client in floods:
            client.read_until(b"DEAF")
            client.socket.setblocking(False)
        sent = dict.fromkeys(floods, 0)
        for _ in range(25):
            for client in floods:
                with suppress(BlockingIOError):
                    sent[client] += client.socket.send(wire[sent[client] % len(wire) :])
            for client in normal:
                echoes(client, service.framed, b"k")
    service.wait_until_idle()


def test_the_router_recovers_from_exhausted_descriptors(serve: Callable[..., Service]) -> None:
    """Five crowds of clients, each larger than the limit of descriptors. After each the router serves as before."""
    service = serve(command=RAW_CAT)
    with service.connect() as steady:
        steady.read_until(b"READY")
        before = resource.prlimit(service.router.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.router.pid, resource.RLIMIT_NOFILE, (40, before[1]))
        for _ in range(5):
            with ExitStack() as crowd:
                firsts = [crowd.enter_context(service.connect()).socket.recv(9) for _ in range(20)]
                assert b"fastpty: " in firsts
                assert b"READY" in firsts
                echoes(steady, service.framed)
            eventually(lambda: len(children(service.router.pid)) == 1, "the crowd is gone")
        resource.prlimit(service.router.pid, resource.RLIMIT_NOFILE, before)
        echoes(steady, service.framed)
    assert "too many" in service.router.log.lower() or "no descriptor" in service.router.log
    service.wait_until_idle()


def memory_limit(router: Router, more_bytes: int | None) -> None:
    """Limits the router's address space to its current size plus `more_bytes`; None removes the limit."""
    limit = resource.RLIM_INFINITY
    if more_bytes is not None:
        status = Path(f"/proc/{router.pid}/status").read_text()
        limit = (int(re.findall(r"VmSize:\s+(\d+)", status)[0]) << 10) + more_bytes
    resource.prlimit(router.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def test_starts_without_memory_are_refused_with_a_line_and_other_sessions_go_on(
    serve: Callable[..., Service],
) -> None:
    service = serve(command=RAW_CAT)
    with service.connect() as steady:
        steady.read_until(b"READY")
        memory_limit(service.router, 0)
        for _ in range(100):
            with service.connect() as client:
                answer = client.socket.recv(100)
                assert answer.startswith((b"READY", b"fastpty: "))
        echoes(steady, service.framed)
        memory_limit(service.router, None)
        with service.connect() as newcomer:
            newcomer.read_until(b"READY")
            echoes(newcomer, service.framed)
    service.wait_until_idle()


def goes_on(client: Client, framed: bool) -> bool:
    """Tells a session that still echoes from one that was ended, with a notice to its client or without one."""
    client.socket.settimeout(PATIENCE_SECONDS)
    with suppress(ConnectionError):
        client.send(frame(0, payload=b"?") if framed else b"?")
        while more := client.socket.recv(100):
            if b"?" in more:
                return True
    return False


def test_floods_without_memory_end_some_sessions_and_the_others_lose_nothing(serve: Callable[..., Service]) -> None:
    """Each flood needs a buffer in both directions. Sessions that hold one and wait for another must end.

    The log names the sessions that were ended.
    """
    service = serve(command=RAW_CAT)
    data = bytes(range(256)) * 512
    wire = frame(0, payload=data[:32_768]) * 4 if service.framed else data
    with service.connect() as steady, ExitStack() as crowd:
        steady.read_until(b"READY")
        clients = [crowd.enter_context(service.connect()) for _ in range(48)]
        for client in clients:
            client.read_until(b"READY")
            client.socket.setblocking(False)
        memory_limit(service.router, 1 << 20)
        deadline = time.monotonic() + PATIENCE_SECONDS
        sent, echoed, cut = dict.fromkeys(clients, 0), {client: bytearray() for client in clients}, set[Client]()
        while busy := [client for client in clients if client not in cut and len(echoed[client]) < len(data)]:
            assert time.monotonic() < deadline, f"{len(busy)} sessions neither go on nor end"
            select.select([client.socket for client in busy], [], [], 0.01)
            for client in busy:
                with suppress(BlockingIOError, BrokenPipeError):
                    sent[client] += client.socket.send(wire[sent[client] :])
                with suppress(BlockingIOError):
                    more = client.socket.recv(65_536)
                    echoed[client] += more
                    if not more:
                        cut.add(client)
        assert all(echoed[client] == data for client in clients if client not in cut)
        assert len(cut) < len(clients)
        echoes(steady, service.framed)
        memory_limit(service.router, None)
        cut |= {client for client in clients if client not in cut and not goes_on(client, service.framed)}
    service.wait_until_idle()
    ends = service.router.wait_for_log("session .* end: ", len(clients) + 1)
    assert sum("end: out of memory" in end.string for end in ends) == len(cut)


def test_a_failed_fork_is_reported_and_other_sessions_go_on(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """RLIMIT_NPROC of a router that is not root allows its two processes and two programs."""
    need_root()
    router = start_router(
        f"{directory}/s", "--uid", "4242", "--gid", "4242", "--forkptyrouter-command", "/bin/cat",
        first=partial(resource.setrlimit, resource.RLIMIT_NPROC, (4, 4)),
    )  # fmt: skip
    with Client(f"{directory}/s") as first:
        with Client(f"{directory}/s") as second:
            for client in (first, second):
                client.send(b"ready?\n")
                client.read_until(b"ready?\r\nready?\r\n")
            with Client(f"{directory}/s") as third:
                assert third.read_to_end() == b"fastpty: cannot start a process: Resource temporarily unavailable\r\n"
            router.wait_for_log("session 3: refused .*: Resource temporarily unavailable")
        router.wait_for_log("session 2: end: ")
        for client in (first, Client(f"{directory}/s")):
            client.send(b"still here\n")
            client.read_until(b"still here\r\nstill here\r\n")
            client.socket.close()


@pytest.fixture
def pids_group() -> Iterator[Path]:
    with control_group(need_control_group("pids")) as group:
        yield group


def test_a_full_control_group_is_reported_and_other_sessions_go_on(
    start_router: Callable[..., Router], directory: Path, pids_group: Path
) -> None:
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT)
    (pids_group / "cgroup.procs").write_text(str(router.pid))
    with Client(f"{directory}/s") as first:
        first.read_until(b"READY")
        (pids_group / "pids.max").write_text((pids_group / "pids.current").read_text())
        with Client(f"{directory}/s") as second:
            assert second.read_to_end().startswith(b"fastpty: cannot start a process: Resource temporarily")
        echoes(first, False)
        (pids_group / "pids.max").write_text("max")
        with Client(f"{directory}/s") as third:
            third.read_until(b"READY")
    router.end()


CLOCK_SHIM = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* CLOCK_REALTIME is wrong by the modification time of the file JUMP. The other clocks are right. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    struct stat jump;
    if (clock == CLOCK_REALTIME && stat(JUMP, &jump) == 0)
        now->tv_sec += jump.st_mtime;
    return result;
}
"""


@pytest.mark.parametrize("seconds", [10 * 365 * 86_400, -5 * 365 * 86_400])
def test_a_clock_that_jumps_ends_no_session_and_keeps_none(
    start_router: Callable[..., Router], directory: Path, seconds: int
) -> None:
    """Deadlines use CLOCK_MONOTONIC: when CLOCK_REALTIME jumps, no session ends early and idle sessions still end."""
    path, jump = f"{directory}/s", directory / "jump"
    shim = preload(directory, CLOCK_SHIM, f'JUMP="{jump}"')
    router = start_router(path, "--forkptyrouter-timeout", "4", "--forkptyrouter-command", RAW_CAT, env=shim)
    with Client(path) as idle, Client(path) as quiet, Client(path) as client:
        for one in (idle, quiet, client):
            one.read_until(b"READY")
        started = router.wait_for_log(r"^(\d{4}).* session 1: start")[0]
        (directory / "coming").touch()
        os.utime(directory / "coming", (seconds, seconds))
        (directory / "coming").rename(jump)
        for _ in range(20):
            echoes(client, False)
        echoes(quiet, False)
        with Client(path) as newcomer:
            newcomer.read_until(b"READY")
            shown = router.wait_for_log(r"^(\d{4}).* session 4: start")[0]
            assert abs(int(shown[1]) - int(started[1]) - seconds / 365 / 86_400) <= 1, (
                "the shim moves the log's clock"
            )
            for number, one in ((1, idle), (4, newcomer)):
                assert one.read_to_end().endswith(b"idle for too long\r\n")
                ended = router.wait_for_log(rf"session {number}: end: idle, .* after (\d+\.\d+) s")[0]
                assert 4 <= float(ended[1]) < 60


def test_a_checked_build_reports_a_buffer_that_is_returned_twice() -> None:
    """A failed assertion of the C part writes a line. The start_router fixture fails the test that finds it."""
    code = "from tests.probes import channel_probe; channel_probe.give_back_what_was_not_lent()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if channel_probe.IS_CHECKED:
        assert done.returncode == -signal.SIGABRT
        assert "internal error: not so: a buffer comes back once" in done.stderr
    else:
        assert done.returncode == 0
