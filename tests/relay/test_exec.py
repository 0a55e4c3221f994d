"""exec: programs with three streams instead of a terminal, as a client of the extension sees them."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient, waiting_bytes
from tests.support.harness import Router, children, descriptors, eventually, process_gone, state

Starts = Callable[..., Router]
Executes = Callable[..., ExtensionClient]

MIB = 1 << 20


@pytest.fixture
def execute(start_router: Starts, directory: Path) -> Iterator[Executes]:
    """Asks a router, which the first call starts with `options`, for a program."""
    clients: list[ExtensionClient] = []
    path = str(directory / "socket")

    def start(*argv: str, options: tuple[str, ...] = (), **keywords: object) -> ExtensionClient:
        if not clients:
            start_router("--listen-raw", path, *options)
        clients.append(ExtensionClient(path))
        clients[-1].execute(*argv, **keywords)  # type: ignore[arg-type]
        return clients[-1]

    yield start
    for client in clients:
        client.sock.close()


def ended(client: ExtensionClient) -> list[int]:
    """The streams whose end the client was told, in order."""
    return [payload[0] for number, payload in client.messages if number == extension.STREAM_ENDED]


# Output


def test_output_and_errors_come_apart(execute: Executes) -> None:
    client = execute("sh", "-c", "echo out; echo err >&2; exit 3")
    status = client.status()
    assert (status.how, status.code, status.flags) == (extension.EXITED, 3, 0)
    assert (client.output, client.errors) == (b"out\n", b"err\n")
    assert {*ended(client)} - {extension.INPUT_STREAM} == {extension.OUTPUT_STREAM, extension.ERROR_STREAM}


def test_merged_output_keeps_its_order(execute: Executes) -> None:
    client = execute("sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done", merges=True)
    assert client.status().error_bytes == 0
    assert client.output == b"o1\ne1\no2\ne2\no3\ne3\n"
    assert {*ended(client)} - {extension.INPUT_STREAM} == {extension.OUTPUT_STREAM}


@pytest.mark.parametrize("splice", ["on", "off"])
def test_every_byte_passes_unchanged(splice: str, execute: Executes) -> None:
    """8 MiB of every byte, both streams at once."""
    block = bytes(range(256)) * 4096
    program = "import os; block = bytes(range(256)) * 4096\nfor _ in range(8): os.write(2, block); os.write(1, block)"
    client = execute("python3", "-c", program, options=("--splice", splice))
    client.status()
    assert (client.output, client.errors) == (8 * block, 8 * block)


def test_a_program_that_exits_at_once_loses_nothing(execute: Executes) -> None:
    for index in range(100):
        client = execute("sh", "-c", f"echo {index}; echo e{index} >&2; exit {index}")
        assert client.status().code == index
        assert (client.output, client.errors) == (b"%d\n" % index, b"e%d\n" % index)
        client.sock.close()


def test_one_stream_does_not_starve_the_other(execute: Executes) -> None:
    """One of them never pauses, and the client reads slowly: the other one still gets its turn."""
    client = execute("sh", "-c", "yes & sleep 0.2; seq 20000 >&2; kill $!")
    while b"\n20000\n" not in client.errors:
        assert client.read()
    assert client.status().code == 0
    assert client.errors == b"".join(b"%d\n" % number for number in range(1, 20_001))


@pytest.mark.parametrize("buffer", ["4K", "64K"])
@pytest.mark.parametrize("size", [1_000, 65_536])
def test_streams_that_are_both_full_share_the_connection(size: int, buffer: str, execute: Executes) -> None:
    """However much the client reads at once. With the small buffer the kernel takes a whole frame or nothing of it."""
    program = (
        "import fcntl, os\n"
        "for stream in 1, 2: fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 1 << 20)\n"
        "for stream in 1, 2: os.write(stream, bytes(1 << 20))"
    )
    client = execute("python3", "-c", program, options=("--session-buffer", buffer))
    leader = client.leader
    eventually(lambda: state(leader) == "Z", "the program has filled both pipes and ended")
    while len(client.output) + len(client.errors) < 1 << 20:
        assert client.read(size)
    assert abs(len(client.output) - len(client.errors)) < 200_000
    assert client.status().code == 0
    assert len(client.output) == len(client.errors) == 1 << 20


def test_a_message_comes_while_the_output_waits_for_a_client_that_reads_slowly(execute: Executes) -> None:
    client = execute("sh", "-c", "yes & read line; echo lives >&2; wait")
    client.read_until(extension.STARTED)
    has_typed = False
    while not client.errors and len(client.output) < 3_000_000:
        if not has_typed and len(client.output) > 300_000:
            has_typed = True
            client.type(b"\n")
        waiting_bytes(client.sock, 10_000)  # the client reads only when its socket is nearly full
        assert client.read(4000)
    client.send(signal.SIGKILL)
    assert client.errors == b"lives\n"


def test_a_client_that_reads_nothing_stops_the_program_only(execute: Executes) -> None:
    """A frame that has begun is completed first, so that the other stream's bytes never get into it."""
    client = execute("sh", "-c", "yes >&2 & head -c 3000000 /dev/zero; kill $!")
    client.read_until(extension.STARTED)
    waiting_bytes(client.sock, 10_000)
    assert execute("echo", "lives").status().code == 0
    assert client.status().code == 0
    assert client.output == bytes(3_000_000)
    assert client.errors.replace(b"y\n", b"") in (b"", b"y")


def test_the_streams_are_pipes_that_can_be_opened_again(execute: Executes) -> None:
    client = execute("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin; test -p /dev/stdin")
    client.type(b"in\n")
    client.send(extension.END_INPUT)
    assert client.status().code == 0
    assert (client.output, client.errors) == (b"out\nin\n", b"err\n")


def test_a_program_in_packet_mode_loses_nothing(execute: Executes) -> None:
    """With O_DIRECT a pipe gives one packet in a read, so a short read does not mean that it is empty."""
    program = (
        "import fcntl, os, time\n"
        "fcntl.fcntl(1, fcntl.F_SETFL, os.O_DIRECT)\n"
        "for number in range(3000): os.write(1, b'%d\\n' % number)\n"
        "time.sleep(30)"
    )
    client = execute("python3", "-c", program)
    client.read_output_until(b"\n2999\n")
    client.send(signal.SIGTERM)
    assert client.status().code == signal.SIGTERM


# Input


def test_input_and_its_end_reach_the_program(execute: Executes) -> None:
    client = execute("cat")
    client.type(b"hello")
    client.send(extension.END_INPUT)
    status = client.status()
    assert (client.output, status.input_bytes, status.dropped_bytes) == (b"hello", 5, 0)


def test_a_hundred_mebibytes_pass_both_ways(execute: Executes) -> None:
    """The credit of the input lets the client send only what there is room for."""
    client = execute("cat")
    window = client.welcome.input_window
    block = os.urandom(MIB)
    sent, received = hashlib.sha256(), hashlib.sha256()
    credit = [window]
    room = threading.Condition()

    def send() -> None:
        for _ in range(100):
            at = 0
            while at < len(block):
                with room:
                    room.wait_for(lambda: credit[0] > 0, 60)
                    size = min(credit[0], len(block) - at, 32768)
                    credit[0] -= size
                client.type(block[at : at + size])
                at += size
            sent.update(block)
        client.send(extension.END_INPUT)

    sender = threading.Thread(target=send)
    sender.start()
    size = 0
    while client.read():
        received.update(client.output)
        size, client.output = size + len(client.output), b""
        for number, payload in client.messages:
            if number == extension.CREDIT:
                with room:
                    credit[0] += int.from_bytes(payload, "little")
                    room.notify()
        client.messages = [message for message in client.messages if message[0] != extension.CREDIT]
    sender.join(60)
    assert size == 100 * MIB
    assert received.digest() == sent.digest()
    assert client.final is not None
    assert extension.Status(client.final[1]).output_bytes == size


def test_a_program_that_closes_its_input_gets_no_more(execute: Executes) -> None:
    client = execute("sh", "-c", "exec <&-; read line <&3 3<&0 2>/dev/null; sleep 0.1; echo on")
    while extension.INPUT_STREAM not in ended(client):
        assert client.read()
    client.type(bytes(1000))
    client.send(extension.END_INPUT)
    status = client.status()
    assert (client.output, status.input_bytes, status.dropped_bytes) == (b"on\n", 0, 1000)


def test_input_that_the_program_does_not_read_keeps_no_signal_back(execute: Executes) -> None:
    client = execute("sleep", "600")
    client.type(bytes(client.welcome.input_window))
    client.read_until(extension.STARTED)
    client.send(signal.SIGINT)
    status = client.status()
    assert (status.how, status.code) == (extension.SIGNALLED, signal.SIGINT)


def test_a_signal_reaches_the_whole_group(execute: Executes) -> None:
    client = execute("sh", "-c", "sleep 600 & sleep 601 & echo ready; wait; exit 7")
    client.read_output_until(b"ready")
    client.send(signal.SIGTERM)
    status = client.status()
    assert (status.how, status.code, status.flags) == (extension.SIGNALLED, signal.SIGTERM, 0)


# STOP


def test_stop_breaks_the_program_s_pipe(execute: Executes) -> None:
    client = execute("yes")
    client.read_output_until(b"y\n")
    client.send(extension.STOP, bytes([extension.OUTPUT_STREAM]))
    status = client.status()
    assert (status.how, status.code) == (extension.SIGNALLED, signal.SIGPIPE)


def test_stop_of_one_stream_leaves_the_other(execute: Executes) -> None:
    """It may come before the program runs."""
    client = execute("sh", "-c", "trap '' PIPE; echo lost >&2; echo kept")
    client.send(extension.STOP, bytes([extension.ERROR_STREAM]))
    assert client.status().code == 0
    assert (client.output, client.errors) == (b"kept\n", b"")


def test_stop_within_a_frame_completes_it(execute: Executes) -> None:
    client = execute("sh", "-c", "head -c 2000000 /dev/zero; seq 3000 >&2")
    client.read_until(extension.STARTED)
    waiting_bytes(client.sock, 10_000)
    client.send(extension.STOP, bytes([extension.OUTPUT_STREAM]))
    assert client.status().code == 0
    assert client.errors.endswith(b"3000\n")
    assert set(client.output) <= {0}


@pytest.mark.parametrize("payload", [b"", b"\0", b"\3", b"\1\1"])
def test_stop_must_name_an_output_stream(payload: bytes, execute: Executes) -> None:
    client = execute("cat")
    client.read_until(extension.STARTED)
    client.send(extension.STOP, payload)
    assert client.error().code == extension.PROTOCOL


def test_a_terminal_has_no_stream_to_stop(execute: Executes, directory: Path) -> None:
    execute("true").status()
    with ExtensionClient(f"{directory}/socket") as client:
        client.start(["cat"])
        client.read_until(extension.STARTED)
        client.send(extension.STOP, b"\1")
        assert client.error().code == extension.UNSUPPORTED


# The end


def test_a_background_job_does_not_hold_the_session(execute: Executes) -> None:
    client = execute("sh", "-c", "(sleep 0.2; echo late; sleep 600) & echo $!")
    status = client.status()
    assert (status.code, status.flags) == (0, extension.STILL_OPEN)
    job, late = client.output.split()
    assert late == b"late"
    assert not process_gone(int(job))
    os.kill(int(job), signal.SIGKILL)


def test_without_drain_time_what_is_there_still_comes(execute: Executes) -> None:
    client = execute("sh", "-c", "head -c 60000 /dev/zero; sleep 600 & echo $! >&2; exit 5", drain_ms=0)
    status = client.status()
    assert (status.code, status.flags) == (5, extension.STILL_OPEN)
    assert client.output == bytes(60_000)
    os.kill(int(client.errors), signal.SIGKILL)


def test_a_job_that_never_stops_writing_does_not_hold_the_session(execute: Executes) -> None:
    client = execute("sh", "-c", "yes & echo $! >&2", drain_ms=100)
    assert client.status().flags == extension.STILL_OPEN
    eventually(lambda: process_gone(int(client.errors)), "SIGPIPE has ended it")


def test_without_an_end_of_the_drain_time_the_session_waits(execute: Executes) -> None:
    client = execute("sh", "-c", "(sleep 2; echo late) & exit 4", drain_ms=None)
    status = client.status()
    assert (status.code, status.flags, client.output) == (4, 0, b"late\n")


def test_a_program_that_closes_its_output_and_lives_keeps_the_session(execute: Executes) -> None:
    client = execute("sh", "-c", "exec >&- 2>&-; sleep 1; exit 9")
    assert client.status().code == 9


def test_a_signal_while_a_job_is_waited_for_hits_only_the_session(execute: Executes) -> None:
    """The leader has exited and is not reaped: its number still means this session's group."""
    client = execute("sh", "-c", "sleep 600 & echo $!", drain_ms=None)
    client.read_output_until(b"\n")
    client.send(signal.SIGTERM)
    assert client.status().flags == 0
    eventually(lambda: process_gone(int(client.output)), "the job has ended")


# Limits


@pytest.mark.parametrize("options", [("--command", "/bin/cat"), ("--client-command", "no")])
def test_exec_is_refused_where_clients_choose_no_command(options: tuple[str, ...], execute: Executes) -> None:
    client = execute("cat", options=options)
    assert not client.welcome.capabilities & extension.CAN_STREAMS
    error = client.error()
    assert (error.code, error.phase) == (extension.REFUSED, extension.STARTING)


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\2\0\0\0\0", b"\0\0\0\0\0\0"])
def test_a_malformed_request_for_streams_is_refused(value: bytes, execute: Executes, directory: Path) -> None:
    execute("true").status()
    with ExtensionClient(f"{directory}/socket") as client:
        client.start(["cat"], more=[(extension.STREAMS_ITEM, value)])
        assert client.error().code == extension.PROTOCOL


def test_exec_without_a_command_is_refused(execute: Executes) -> None:
    assert execute().error().code == extension.PROTOCOL


def test_a_command_that_does_not_exist_is_an_error(execute: Executes) -> None:
    error = execute("no-such-command").error()
    assert (error.code, error.errno) == (extension.EXECUTE, 2)


@pytest.mark.parametrize("option", ["--idle-timeout", "--session-lifetime"])
def test_a_limit_ends_the_session_with_an_error(option: str, execute: Executes) -> None:
    client = execute("sleep", "600", options=(option, "1"))
    assert client.error().code == extension.LIMIT


def test_a_limit_ends_a_session_whose_streams_both_hold_output(execute: Executes) -> None:
    """What they hold comes first, although the client has read nothing until now."""
    client = execute("sh", "-c", "yes & yes >&2", options=("--session-lifetime", "1"))
    client.read_until(extension.STARTED)
    waiting_bytes(client.sock, 10_000)
    eventually(lambda: client.sock.recv(1, socket.MSG_PEEK) and has_ended(client.sock), "the router has ended it")
    assert client.error().code == extension.LIMIT
    assert execute("echo", "lives").status().code == 0


def has_ended(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_nothing_is_left_open(start_router: Starts, directory: Path) -> None:
    """Of 200 programs, of which 50 run at the same time."""
    router = start_router("--listen-raw", f"{directory}/socket")
    worker = router.pid
    before = {**descriptors(worker)}
    for _ in range(4):
        clients = [ExtensionClient(f"{directory}/socket") for _ in range(50)]
        for index, client in enumerate(clients):
            client.execute("sh", "-c", f"read line; echo $line >&2; head -c {index * 1000} /dev/zero")
        for client in clients:
            client.type(b"go\n")
        for index, client in enumerate(clients):
            assert client.status().code == 0
            assert (len(client.output), client.errors) == (index * 1000, b"go\n")
            client.sock.close()
    eventually(lambda: not children(worker), "all programs are reaped")
    # The pool keeps at most 32 pipes.
    eventually(lambda: len(descriptors(worker)) <= len(before) + 64, "the descriptors are closed")
