"""Relaying through a real router on real ptys: every byte arrives, in both directions, whatever the other side does."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Service
from tests.support.harness import (
    RAW_CAT,
    Client,
    Router,
    children,
    eventually,
    fill,
    frame,
    process_gone,
    wait_until_quiet,
)

FIRST_UNKNOWN_MODIFIER2 = 102


def cut(data: bytes, dice: random.Random) -> list[bytes]:
    """`data` in pieces of random sizes, from 1 byte to 300,000."""
    pieces = []
    while data:
        size = dice.choice([1, 2, 5, 64, 1000, 4096, 65_536, 300_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def as_frames(data: bytes, dice: random.Random) -> bytes:
    """`data` as stdin frames of random sizes up to the largest, with empty and unknown frames between them."""
    wire = bytearray()
    while data:
        payload = data[: dice.choice([1, 3, 64, 4092, 4093, 65_535])]
        data = data[len(payload) :]
        wire += frame(0, payload=payload)
        if dice.random() < 0.1:
            wire += frame(0)
            wire += frame(dice.randrange(FIRST_UNKNOWN_MODIFIER2, 256), size=dice.randrange(65_536))
    return bytes(wire)


@pytest.mark.parametrize("size", [1, 2, 4095, 4096, 4097, 65_536, 1 << 20, 8 << 20])
def test_every_byte_comes_back_from_a_raw_cat(serve: Callable[..., Service], size: int) -> None:
    service = serve(command=RAW_CAT)
    dice = random.Random(size)
    data = dice.randbytes(size)
    wire = as_frames(data, dice) if service.framed else data
    with service.connect() as client:
        client.read_until(b"READY")
        sender = threading.Thread(target=lambda: [client.send(piece) for piece in cut(wire, dice)])
        sender.start()
        echoed = client.read_exactly(size)
        sender.join()
    assert hashlib.sha256(echoed).digest() == hashlib.sha256(data).digest()
    service.wait_until_idle()


def test_every_byte_comes_back_through_the_smallest_buffers(serve: Callable[..., Service]) -> None:
    service = serve("--session-buffer", "4K", command=RAW_CAT)
    dice = random.Random(4096)
    data = dice.randbytes(1 << 20)
    wire = as_frames(data, dice) if service.framed else data
    with service.connect() as client:
        client.read_until(b"READY")
        sender = threading.Thread(target=client.send, args=(wire,))
        sender.start()
        assert client.read_exactly(len(data)) == data
        sender.join()


def test_frames_that_arrive_byte_by_byte_take_effect(start_router: Callable[..., Router], directory: Path) -> None:
    start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/u") as client:
        client.read_until(b"READY")
        for byte in frame(0, payload=b"one") + frame(200, size=7) + frame(0) + frame(0, payload=b"two"):
            client.send(bytes([byte]))
        assert client.read_exactly(6) == b"onetwo"


def test_a_hundred_frames_in_one_write_arrive_in_order(start_router: Callable[..., Router], directory: Path) -> None:
    start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/u") as client:
        client.read_until(b"READY")
        client.send(b"".join(frame(0, payload=b"%03d." % number) for number in range(100)))
        assert client.read_exactly(400) == b"".join(b"%03d." % number for number in range(100))


def test_a_window_change_takes_effect_before_the_stdin_behind_it_in_the_same_write(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router("--forkpty-urouter", f"{directory}/u")
    with Client(f"{directory}/u") as client:
        command = frame(0, payload=b"stty size; stty -echo; echo done\n")
        client.send(frame(100, 43) + frame(101, 132) + command)
        client.read_until(b"43 132\r\n", b"done\r\n")
        client.send(frame(100, 50) + frame(0, payload=b"stty size\n"))
        client.read_until(b"50 132\r\n")


@pytest.mark.parametrize("edge", [0, 65_535])
def test_extreme_window_sizes_are_accepted(start_router: Callable[..., Router], directory: Path, edge: int) -> None:
    start_router("--forkpty-urouter", f"{directory}/u")
    with Client(f"{directory}/u") as client:
        client.send(frame(100, edge) + frame(101, edge) + frame(0, payload=b"stty size\n"))
        client.read_until(b"%d %d\r\n" % (edge, edge))


@pytest.mark.parametrize(("number", "name"), [(1, "HUP"), (2, "INT"), (10, "USR1"), (15, "TERM"), (34, "RTMIN")])
def test_a_signal_reaches_the_foreground_program(
    start_router: Callable[..., Router], directory: Path, number: int, name: str
) -> None:
    """uWSGI signals the shell only."""
    start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", "/bin/bash")
    with Client(f"{directory}/u") as client:
        program = f"bash -c 'trap \"echo GOT {name}; exit\" {name}; echo READY''; while :; do read -t 1; done'"
        client.send(frame(0, payload=f"trap : HUP TERM; {program}\n".encode()))
        client.read_until(b"READY\r\n")
        client.send(frame(number))
        client.read_until(b"GOT " + name.encode())


@pytest.mark.parametrize("number", [1, 15, 9])
def test_hup_term_and_kill_reach_the_leader_behind_a_foreground_program(
    start_router: Callable[..., Router], directory: Path, number: int
) -> None:
    # With job control the second sh has a process group of its own, and the foreground. It can die before the leader
    # gets the signal, which then interrupts `read`.
    job = "sh -c 'echo READY; exec sleep 1000'"
    command = f"set -m; trap 'echo LEADER; exit 7' TERM HUP; {job}; read line"
    router = start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", command)
    with Client(f"{directory}/u") as client:
        client.read_until(b"READY\r\n")
        client.send(frame(number))
        said = client.read_to_end()
    ends = "killed by SIGKILL" if number == 9 else "exit status 7"
    router.wait_for_log(f"session 1: end: .*{ends}")
    assert (b"LEADER" in said) == (number != 9)


def test_a_signal_overtakes_stdin_that_the_program_does_not_read(
    start_router: Callable[..., Router], directory: Path
) -> None:
    router = start_router(
        "--forkpty-urouter",
        f"{directory}/u",
        "--forkptyrouter-command",
        "stty raw -echo; printf READY; exec sleep 1000",
    )
    with Client(f"{directory}/u") as client:
        client.read_until(b"READY")
        client.send(frame(0, payload=bytes(30_000)) + frame(15))
        client.read_to_end()
    router.wait_for_log("session 1: end: .*killed by SIGTERM")


def test_unknown_frames_are_ignored_and_counted(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", RAW_CAT)
    with Client(f"{directory}/u") as client:
        client.read_until(b"READY")
        for modifier2 in (65, 99, 102, 255):
            client.send(frame(modifier2, size=7))
        client.send(b"\x07\x03\x00\x00abc")
        assert client.read_exactly(3) == b"abc"
    router.wait_for_log("session 1: end: .*, 4 unknown frames")


def test_garbage_on_a_uwsgi_socket_does_not_affect_other_sessions(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router("--forkpty-urouter", f"{directory}/u", "--forkptyrouter-command", RAW_CAT)
    dice = random.Random(7)
    with Client(f"{directory}/u") as good:
        good.read_until(b"READY")
        for _ in range(50):
            with Client(f"{directory}/u") as bad:
                bad.read_until(b"READY")
                bad.send(dice.randbytes(dice.randrange(1, 5000)))
        good.send(frame(0, payload=b"still here"))
        assert good.read_exactly(10) == b"still here"


def test_a_client_that_leaves_within_a_frame_leaves_nothing_behind(serve: Callable[..., Service]) -> None:
    service = serve(command=RAW_CAT)
    for announced, sent in ((100, 50), (100, 0), (65_535, 40_000)):
        with service.connect() as client:
            client.read_until(b"READY")
            client.send(frame(0, payload=bytes(announced))[: 4 + sent])
    service.wait_until_idle()


def test_a_program_that_reads_nothing_stops_only_its_own_client(
    serve: Callable[..., Service], directory: Path
) -> None:
    service = serve(
        command=f"[ -e {directory}/first ] && {{ {RAW_CAT}; }}; touch {directory}/first;"
        " stty raw -echo; printf FULL; exec sleep 1000"
    )
    with service.connect() as stuck:
        stuck.read_until(b"FULL")
        assert fill(stuck, service.framed) < 4 << 20
        with service.connect() as other:
            other.read_until(b"READY")
            other.send(frame(0, payload=b"quick") if service.framed else b"quick")
            assert other.read_exactly(5) == b"quick"
    service.wait_until_idle()


def test_a_stalled_client_does_not_delay_others(serve: Callable[..., Service], directory: Path) -> None:
    service = serve(
        command=f"[ -e {directory}/first ] && {{ {RAW_CAT}; }}; touch {directory}/first; exec cat /dev/zero"
    )
    with service.connect() as stalled:
        stalled.wait_for_output()
        with service.connect() as other:
            other.read_until(b"READY")
            for _ in range(100):
                other.send(frame(0, payload=b"k") if service.framed else b"k")
                assert other.read_exactly(1) == b"k"
    service.wait_until_idle()


def memory_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise AssertionError("no Private_Dirty")


def test_clients_that_do_not_read_use_bounded_memory(serve: Callable[..., Service]) -> None:
    service = serve(command="cat /dev/zero")
    with service.connect() as first:
        first.wait_for_output()
        wait_until_quiet(service.router.pid)
        before = memory_kib(service.router.pid)
        stalled = [service.connect() for _ in range(20)]
        for client in stalled:
            client.wait_for_output()
        wait_until_quiet(service.router.pid)
        assert memory_kib(service.router.pid) - before < 20 * 80
        for client in stalled:
            client.socket.close()
    service.wait_until_idle()
    service.router.wait_for_log("session .* end: ", 21)


def test_input_goes_on_while_the_client_does_not_read(serve: Callable[..., Service]) -> None:
    """^C interrupts a program whose output the client does not read. In uWSGI each direction waits for the other."""
    service = serve(command="/bin/sh -c 'exec cat /dev/zero'")
    with service.connect() as client:
        client.wait_for_output()
        wait_until_quiet(service.router.pid)
        client.send(frame(0, payload=b"\x03") if service.framed else b"\x03")
        rest = client.read_to_end()
    service.router.wait_for_log("session 1: end: exit, killed by SIGINT")
    # 20 KiB in the socket, 32 KiB in the router and at most another piece. Linux's default send buffer holds over 150.
    assert len(rest) < 120_000, "a client on a slow link waits long after ^C"


def test_a_slow_tcp_client_reads_little_more_after_an_interrupt(start_router: Callable[..., Router]) -> None:
    """By default Linux lets the send buffer grow to megabytes, which the client would have to read after ^C.

    The client's receive buffer counts too, so it has a fixed size. The client reads 0.2 MB; without a limit, 4 MB.
    """
    router = start_router("127.0.0.1:0", "--forkptyrouter-command", "/bin/sh -c 'exec cat /dev/zero'")
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.connect(("127.0.0.1", port))
    with Client(slow) as client:
        client.read_exactly(8 << 20)
        wait_until_quiet(router.pid)
        (program,) = children(router.pid)
        client.send(b"\x03")
        eventually(lambda: process_gone(program), "the program is interrupted")
        rest = client.read_to_end()
    router.wait_for_log("session 1: end: exit, killed by SIGINT")
    assert len(rest) < 1 << 20


def test_a_client_that_leaves_is_noticed_while_reading_from_it_is_paused(serve: Callable[..., Service]) -> None:
    service = serve(command="stty raw -echo; printf FULL; exec sleep 1000")
    with service.connect() as stuck:
        stuck.read_until(b"FULL")
        fill(stuck, service.framed)
    service.router.wait_for_log("session 1: end: client left, killed by SIGHUP")
    service.wait_until_idle()


def test_full_duplex_floods_never_wedge(serve: Callable[..., Service]) -> None:
    """Program and client both write and read without end. uWSGI stops serving all sessions then."""
    service = serve(command=RAW_CAT)
    amount = 4 << 20
    data = os.urandom(amount)
    wire = as_frames(data, random.Random(3)) if service.framed else data
    clients = [service.connect() for _ in range(4)]
    for client in clients:
        client.read_until(b"READY")
    senders = [threading.Thread(target=client.send, args=(wire,)) for client in clients]
    for sender in senders:
        sender.start()
    for client in clients:
        assert client.read_exactly(amount) == data
    for sender, client in zip(senders, clients, strict=True):
        sender.join()
        client.socket.close()
    service.wait_until_idle()
