"""Clients of a pty-uwsgi-socket: the terminal has the smallest of their windows, and they can send signals."""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from termios import TIOCGWINSZ

import pytest

from tests.support.harness import Client, eventually, fill, frame
from tests.support.peers import preload
from tests.support.shared_pty import Shared
from tests.support.tracing import traced

# Prints each line of its input, and its window when that changes.
WITNESS = """
import os, signal, sys
def show(*_):
    size = os.get_terminal_size()
    os.write(1, b"window %dx%d\\n" % (size.lines, size.columns))
signal.signal(signal.SIGWINCH, show)
show()
os.write(1, b"READY\\n")
while line := sys.stdin.readline():
    os.write(1, b"line " + line.encode())
"""


@pytest.fixture
def sized(share: Callable[..., Shared], directory: Path) -> Callable[..., tuple[Shared, str]]:
    """Starts a router with a shared terminal; returns it and the path of its pty-uwsgi-socket."""
    (directory / "witness.py").write_text(WITNESS)

    def start(
        *arguments: str, command: str = f"exec {sys.executable} {directory}/witness.py", **keywords: object
    ) -> tuple[Shared, str]:
        path = f"{directory}/uwsgi"
        return share("--pty-uwsgi-socket", path, *arguments, command=command, **keywords), path

    return start


def resize(client: Client, rows: int, columns: int) -> None:
    client.send(frame(100, rows) + frame(101, columns))


def window_of(program: int) -> tuple[int, int]:
    """The rows and columns of the terminal of a program."""
    with open(f"/proc/{program}/fd/0", "rb", buffering=0) as terminal:
        rows, columns, _, _ = struct.unpack("HHHH", ioctl(terminal, TIOCGWINSZ, bytes(8)))
    return rows, columns


def test_the_terminal_has_the_fewest_rows_and_columns_of_its_clients(
    sized: Callable[..., tuple[Shared, str]],
) -> None:
    """And grows when the smallest one leaves."""
    shared, path = sized()
    with Client(path) as one, shared.join() as watcher:
        watcher.read_until(b"window 24x80\r\n", b"READY\r\n")
        resize(one, 50, 100)
        watcher.read_until(b"window 50x100\r\n")
        with Client(path) as two:
            resize(two, 30, 200)
            watcher.read_until(b"window 30x100\r\n")
            resize(one, 50, 90)
            watcher.read_until(b"window 30x90\r\n")
        watcher.read_until(b"window 50x90\r\n")
        one.socket.close()
        watcher.read_until(b"window 24x80\r\n")


def test_the_window_grows_when_a_client_has_gone(sized: Callable[..., tuple[Shared, str]]) -> None:
    """One that closes its sending direction only still sees the terminal, so its window counts."""
    shared, path = sized()
    with Client(path) as one, shared.join() as watcher:
        resize(one, 20, 70)
        watcher.read_until(b"window 20x70\r\n")
        one.half_close()
        watcher.send(b"mark\n")
        watcher.read_until(b"line mark\r\n")
        assert window_of(shared.program) == (20, 70)
        one.socket.close()
        watcher.read_until(b"window 24x80\r\n")


# Reads nothing before its window has grown to 24 rows. Then reads more than a terminal holds.
LATE_READER = """
import os, signal, tty
tty.setraw(0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
os.write(1, b"READY")
grown = False
while not grown:
    signal.sigwait([signal.SIGWINCH])
    grown = os.get_terminal_size().lines == 24
left = 65536
while left > 0:
    left -= len(os.read(0, left))
os.write(1, b"READ")
"""


def test_the_window_grows_though_the_last_input_of_the_client_that_left_waits(
    sized: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    """For at most two seconds, see test_input_sent_just_before_leaving_arrives."""
    (directory / "late.py").write_text(LATE_READER)
    shared, path = sized(command=f"exec {sys.executable} {directory}/late.py")
    with Client(path) as one, shared.join() as other:
        other.read_until(b"READY")
        resize(one, 20, 70)
        eventually(lambda: window_of(shared.program) == (20, 70), "the window is set")
        fill(one, framed=True)
        one.socket.close()
        other.read_until(b"READ", b"READ")


# Reading from a client's socket fails while the file FAIL exists.
FAILING_READ = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
static int fails(int fd) {
    struct stat status;
    return access(FAIL, F_OK) == 0 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}
ssize_t read(int fd, void *data, size_t size) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = (ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    if (fails(fd)) { errno = ECONNRESET; return -1; }
    return real(fd, data, size);
}
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    static ssize_t (*real)(int, struct msghdr *, int);
    if (!real) real = (ssize_t (*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");
    if (flags & MSG_DONTWAIT && fails(fd)) { errno = ECONNRESET; return -1; }
    return real(fd, message, flags);
}
"""


def test_the_window_grows_when_the_connection_of_a_client_fails(
    sized: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    fail = directory / "fail"
    shared, path = sized(env=preload(directory, FAILING_READ, f'FAIL="{fail}"'))
    with Client(path) as one, shared.join() as watcher:
        resize(one, 20, 70)
        watcher.read_until(b"window 20x70\r\n")
        fail.touch()
        one.send(b"x")
        watcher.read_until(b"window 24x80\r\n")
        fail.unlink()


def test_a_client_that_sends_no_size_changes_none(sized: Callable[..., tuple[Shared, str]]) -> None:
    """Neither one of the raw protocol, nor one whose window is unknown (0)."""
    shared, path = sized("--rows", "33", "--cols", "44")
    with Client(path) as first, Client(path) as one, Client(path) as unknown, shared.join() as watcher:
        watcher.read_until(b"window 33x44\r\n", b"READY\r\n")
        resize(first, 0, 0)
        resize(unknown, 0, 0)
        resize(one, 50, 100)
        watcher.read_until(b"window 50x100\r\n")
        unknown.frame(0, payload=b"mark\n")
        watcher.read_until(b"line mark\r\n")
    assert watcher.seen.count(b"window") == 2


def test_a_fixed_size_stays(sized: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = sized("--pty-size", "40x120")
    with Client(path) as one, shared.join() as watcher:
        watcher.read_until(b"window 40x120\r\n", b"READY\r\n")
        resize(one, 10, 10)
        one.frame(0, payload=b"mark\n")
        watcher.read_until(b"line mark\r\n")
        assert watcher.seen.count(b"window") == 1
        assert window_of(shared.program) == (40, 120)


def test_the_next_program_starts_with_the_window_of_the_clients(
    sized: Callable[..., tuple[Shared, str]], tmp_path: Path
) -> None:
    """Its terminal never has another size, which a fast program would see."""
    shared, path = sized()
    with Client(path) as one:
        one.read_until(b"READY\r\n")
        resize(one, 50, 100)
        one.read_until(b"window 50x100\r\n")
        with traced(shared.router, tmp_path / "trace"):
            one.frame(signal.SIGKILL)
            one.read_until(b"window 50x100\r\nREADY\r\n")
    sizes = re.findall(r"TIOCSWINSZ, \{ws_row=(\d+), ws_col=(\d+)", (tmp_path / "trace").read_text())
    assert set(sizes) == {("50", "100")}


def test_clients_of_all_protocols_type_on_one_terminal(sized: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = sized()
    with Client(path) as framed, shared.join() as raw:
        for number in range(20):
            framed.frame(0, payload=b"framed %d\n" % number)
            raw.read_until(b"line framed %d\r\n" % number)
            raw.send(b"raw %d\n" % number)
            framed.read_until(b"line raw %d\r\n" % number)


def test_frames_may_arrive_byte_by_byte(sized: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = sized()
    with Client(path) as framed:
        framed.read_until(b"READY\r\n")
        for byte in frame(100, 31) + frame(0, payload=b"typed\n") + frame(101, 97) + frame(0, payload=b"again\n"):
            framed.send(bytes([byte]))
        framed.read_until(b"line again\r\n")
        eventually(lambda: window_of(shared.program) == (31, 97), "the window is set")


def test_a_signal_reaches_a_program_that_does_not_read(sized: Callable[..., tuple[Shared, str]]) -> None:
    """Though the terminal is full, another client waits for room in it, and window sizes come before the signal."""
    shared, path = sized(command="stty raw -echo -isig; printf READY; exec sleep 1000")
    with Client(path) as framed, shared.join() as raw:
        framed.read_until(b"READY")
        fill(raw, framed=False)
        framed.send(b"".join([frame(0, payload=b"x" * 100), frame(100, 30) * 40, frame(signal.SIGTERM)]))
        shared.router.wait_for_log("session .* end: exit, killed by SIGTERM")


def test_after_the_program_s_end_a_client_s_frames_are_understood(
    sized: Callable[..., tuple[Shared, str]], directory: Path
) -> None:
    """What waited for room is lost with the program. The frame that it came in goes on for the next one."""
    first = f"touch {directory}/second; printf READY; exec sleep 1000"
    command = f"stty raw -echo -isig; [ -e {directory}/second ] || {{ {first}; }}; printf READY; exec cat >/dev/null"
    shared, path = sized(command=command)
    with Client(path) as framed:
        framed.read_until(b"READY")
        sent = fill(framed, framed=True)
        os.kill(shared.program, signal.SIGKILL)
        rest = frame(0, payload=bytes(65_535))
        framed.send(rest[sent % len(rest) :])
        resize(framed, 31, 97)
        framed.read_until(b"READY")
        (_, second) = shared.router.wait_for_log(r"start: the shared terminal: \S+: process (\d+)", 2)
        eventually(lambda: window_of(int(second[1])) == (31, 97), "the window is set")


def test_frames_that_are_dropped_with_a_program_are_understood(sized: Callable[..., tuple[Shared, str]]) -> None:
    """A client's signal ends the program while its next frames wait. The last of them is half a frame."""
    shared, path = sized(command="stty raw -echo; printf READY; exec cat")
    with Client(path) as framed:
        framed.read_until(b"READY")
        more = frame(signal.SIGWINCH) * 12_000
        framed.send(frame(signal.SIGKILL) + more + frame(100, 31) + frame(0, payload=b"dropped")[:6])
        framed.read_until(b"READY")
        framed.send(b"opped" + frame(101, 97) + frame(0, payload=b"typed"))
        framed.read_until(b"typed")
        (_, second) = shared.router.wait_for_log(r"start: the shared terminal: \S+: process (\d+)", 2)
        eventually(lambda: window_of(int(second[1])) == (31, 97), "the window is set")


def test_a_client_that_does_not_read_blocks_nobody(sized: Callable[..., tuple[Shared, str]]) -> None:
    shared, path = sized(command="stty raw -echo; printf READY; exec cat")
    with Client(path) as stalled, Client(path) as framed, shared.join() as raw:
        framed.read_until(b"READY")
        raw.read_until(b"READY")
        resize(stalled, 30, 90)
        for number in range(300):
            text = b"%05d" % number * 1000
            framed.frame(0, payload=text)
            assert framed.read_exactly(len(text)) == text
            assert raw.read_exactly(len(text)) == text
