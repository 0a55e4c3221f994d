"""Programs and clients that make system calls of the router block for ever: other sessions do not notice."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import connected_as, talk_as
from tests.support.first_steps import limit_files
from tests.support.harness import RAW_CAT, Client, Router, children, descriptors, eventually, run, state
from tests.support.peers import need_root
from tests.support.stuck import GID, OTHER_UID, UID, Stuck

SO_PASSRIGHTS = 83


def echoes(client: Client, text: bytes) -> None:
    client.frame(0, payload=text)
    assert client.read_exactly(len(text)) == text


def test_errands_work_under_a_low_limit_of_descriptors(start_router: Callable[..., Router], directory: Path) -> None:
    """A background job keeps the terminal open, so another process closes the router's end of it."""
    command = "tty; (trap '' HUP; exec sleep 1000) & exit"
    router = start_router(f"{directory}/s", "--forkptyrouter-command", command, first=limit_files(100))
    with Client(f"{directory}/s") as client:
        terminal = client.read_to_end().decode().strip()
    router.wait_for_log("session 1: end: exit")
    eventually(lambda: not os.path.exists(terminal), "the terminal is closed")
    assert router.end() == 0


@pytest.mark.parametrize("what", ["write", "size", "settings"])
def test_a_program_that_blocks_its_terminal_in_the_kernel_delays_nobody_else(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path, what: str
) -> None:
    stuck = Stuck(start_router, directory, stuck_files, what)
    with stuck.cat() as other, stuck.stuck("page") as client:
        if what == "size":
            client.frame(100, 40)
        elif what == "settings":
            client.half_close()
        echoes(other, b"while its client is there")
        client.socket.close()
        for _ in range(100):
            echoes(other, b"after its client has left")
    assert stuck.router.end() == 0


def test_blocked_terminals_do_not_keep_others_open(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    """Each blocks a process, and the log says how many there are."""
    stuck = Stuck(start_router, directory, stuck_files, "write")
    with stuck.stuck("one"), stuck.stuck("two"):
        pass
    with stuck.cat():
        pass
    stuck.router.wait_for_log("2 processes wait to close terminals")
    stuck.router.wait_for_log("session 3: end: client left")
    assert stuck.router.end() == 0


def asleep(parent: int) -> list[int]:
    return [pid for pid in children(parent) if state(pid) == "S"]


def test_a_user_who_blocks_many_terminals_keeps_no_terminal_of_others_open(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    stuck = Stuck(start_router, directory, stuck_files, "write")
    for number in range(20):
        stuck.stuck(f"page{number}").socket.close()
    stuck.router.wait_for_log(f"uid {UID}: too many terminals of its ended sessions cannot be closed yet")
    with stuck.cat(OTHER_UID) as client:
        client.frame(0, payload=b"x")
        client.read_until(b"x")
        eventually(lambda: len(asleep(stuck.router.pid)) == 1, "it waits for input, and the others are stuck")
        terminal = os.readlink(f"/proc/{asleep(stuck.router.pid)[0]}/fd/0")
    eventually(lambda: not os.path.exists(terminal), "the other terminal is gone")
    assert stuck.router.end() == 0


def test_a_session_keeps_its_place_until_its_terminal_is_closed(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path, fuse: subprocess.Popen[bytes]
) -> None:
    """Otherwise a user could block any number of terminals, one after the other."""
    stuck = Stuck(start_router, directory, stuck_files, "apart", "--max-sessions-per-uid", "1")
    stuck.stuck("page").socket.close()
    stuck.router.wait_for_log("session 1: end: client left")
    assert "the limit of 1 session for your user is reached" in talk_as(stuck.path, UID, GID)
    with stuck.cat(OTHER_UID):
        pass
    fuse.kill()
    eventually(stuck.gives_a_session, "its place is free again")
    assert stuck.router.end() == 0


def unsent() -> tuple[socket.socket, socket.socket]:
    """A TCP connection whose last close blocks: SO_LINGER, with data that the other end does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    ours.setblocking(False)
    try:
        while True:
            ours.send(bytes(65536))
    except BlockingIOError:
        ours.setblocking(True)
    return ours, theirs


def pass_and_leave(client: Client) -> socket.socket:
    """Sends a descriptor whose last close blocks, if the socket accepts descriptors; returns the other end.

    The router must be stopped, or the close here could be the last one.
    """
    ours, theirs = unsent()
    try:
        socket.send_fds(client.socket, [b"typed"], [ours.fileno()])
    except PermissionError:
        client.send(b"typed")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ours.close()
    return theirs


@pytest.mark.parametrize("how", ["read", "unread", "refused", "at the statistics"])
def test_the_router_does_not_wait_for_the_close_of_a_passed_descriptor(
    start_router: Callable[..., Router], directory: Path, kernel: dict[str, str], how: str
) -> None:
    rules: tuple[str, ...] = ()
    if how == "refused":
        need_root()
        rules = ("--deny-user", "daemon", "--chmod-socket=666")
    router = start_router(
        f"{directory}/s", "--forkptyrouter-stats", f"{directory}/stats", "--stop-timeout", "1", *rules,
        "--forkptyrouter-command", RAW_CAT, env=kernel, sockets=2,
    )  # fmt: skip
    where = f"{directory}/stats" if how == "at the statistics" else f"{directory}/s"
    processes = (router.process.pid, router.pid)
    with Client(f"{directory}/s") as other:
        other.read_until(b"READY")
        early = Client(where) if how == "read" else None
        if early:
            early.read_until(b"READY")
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        with early or Client(connected_as(where, UID, GID) if how == "refused" else where) as client:
            left = pass_and_leave(client)
            if how != "unread":
                for pid in processes:
                    os.kill(pid, signal.SIGCONT)
                client.read_until({"read": b"typed", "refused": b"refused"}.get(how, b"active_sessions"))
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        for text in (b"before", b"after"):
            other.send(text)
            assert other.read_exactly(len(text)) == text
        with Client(f"{directory}/stats") as statistics:
            assert b"active_sessions" in statistics.read_to_end()
    assert router.end() == 0
    left.close()


def test_another_user_cannot_block_the_supervisor_through_the_control_socket(
    start_router: Callable[..., Router], directory: Path, kernel: dict[str, str]
) -> None:
    """By a descriptor whose close blocks, in a message that nobody reads."""
    need_root()
    router = start_router(f"{directory}/s", "--pidfile", f"{directory}/pid", env=kernel)
    ((name, kind),) = [found for found in listening_sockets(router.process.pid) if b"fastpty-control" in found[0]]
    os.kill(router.process.pid, signal.SIGSTOP)
    with Client(connected_as("@" + name[1:].decode(), UID, GID, kind)) as client:
        left = pass_and_leave(client)
    os.kill(router.process.pid, signal.SIGCONT)
    reloaded = run("--reload", f"{directory}/pid")
    assert (reloaded.returncode, reloaded.stdout) == (0, "reloaded\n")
    assert router.end() == 0
    left.close()


def test_a_client_that_passes_its_own_socket_to_itself_has_left(
    start_router: Callable[..., Router], directory: Path, kernel: dict[str, str]
) -> None:
    """On an older kernel the router receives and closes the passed socket, so the connection ends."""
    router = start_router(f"{directory}/s", "--forkptyrouter-command", RAW_CAT, env=kernel)
    with Client(f"{directory}/s") as client:
        client.read_until(b"READY")
        try:
            socket.send_fds(client.socket, [b"x"], [client.socket.fileno()])
        except PermissionError:
            client.send(b"x")
        client.read_exactly(1)
    router.wait_for_log("session 1: end: client left")


def listening_sockets(pid: int) -> list[tuple[bytes, int]]:
    """Names and types of the Unix sockets on which a process listens."""
    held = {what for what in descriptors(pid).values() if what.startswith("socket:")}
    found = []
    for line in Path("/proc/net/unix").read_bytes().splitlines()[1:]:
        _, _, _, flags, kind, _, inode, *path = line.split(None, 7)
        if f"socket:[{int(inode)}]" in held and int(flags, 16) & 0x10000:
            name = path[0]
            found.append((b"\0" + name[1:] if name.startswith(b"@") else name, int(kind, 16)))
    return found


def test_no_socket_of_the_router_takes_descriptors(start_router: Callable[..., Router], directory: Path) -> None:
    """If the kernel can refuse them: Linux 6.16. A router that closed one of them could block."""
    router = start_router(
        *("--listen-raw", f"{directory}/s", "--listen-uwsgi", f"{directory}/u", "--pty-socket", f"{directory}/p"),
        *("--stats", f"{directory}/stats", "--pidfile", f"{directory}/pid"),
        sockets=4,
    )
    with socket.socket(socket.AF_UNIX) as can_refuse:
        try:
            can_refuse.getsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS)
        except OSError:
            return
    found = listening_sockets(router.process.pid)
    assert len(found) == 5  # and the control socket
    for name, kind in found:
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(name)
            with pytest.raises((PermissionError, BrokenPipeError)) as error:
                socket.send_fds(client, [b"x"], [0])
            assert error.type is PermissionError


def terminals_held_by_keepers() -> int:
    """The most descriptors of one terminal's master that an errand process has."""
    most = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text() == "fastpty-errands\n":
                most = max(most, sum("ptmx" in what for what in descriptors(int(entry.name)).values()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return most


def test_window_sizes_that_cannot_be_set_do_not_fill_the_keeper(
    start_router: Callable[..., Router], directory: Path, stuck_files: Path
) -> None:
    """Only the newest size of a terminal waits."""
    stuck = Stuck(start_router, directory, stuck_files, "size")
    with stuck.stuck("page") as client, stuck.cat(OTHER_UID) as other:
        for rows in range(1, 401):
            client.send(struct.pack("<BHB", 0, rows, 100) + struct.pack("<BHB", 0, 0, 65))
        echoes(other, b"the sizes are parsed by now, or soon")
        eventually(lambda: terminals_held_by_keepers() > 0, "a size waits")
        eventually(lambda: terminals_held_by_keepers() < 40, "the newer sizes have replaced the older ones")
    assert stuck.router.end() == 0
