"""A program closes its terminal while its client reads no output, and opens it again: no input is lost.

login(1) and agetty(8) ignore SIGHUP, hang their terminal up with vhangup(2) and open it again. Without a client that
reads, the router sees only from a refused write that the terminal is closed. No event says that it is open again.
"""

from __future__ import annotations

import fcntl
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.wire import extension
from tests.conftest import Service
from tests.support.extension_client import ExtensionClient, ask_for_pieces
from tests.support.harness import Router, eventually, frame
from tests.support.peers import need_root

# Fills the terminal with output, closes it, and opens it again when the test says so. Then reads two words.
PROGRAM = """
import ctypes, os, select, signal, sys, termios, time, tty
from pathlib import Path

directory, way = Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGHUP, signal.SIG_IGN)
name = os.ttyname(0)
tty.setraw(0)
os.set_blocking(1, False)
while select.select([], [1], [], 0.5)[1]:
    os.write(1, b"x" * 1024)
if way == "vhangup":
    assert ctypes.CDLL(None).vhangup() == 0
os.closerange(0, 3)
(directory / "closed").touch()
while not (directory / "open").exists():
    time.sleep(0.01)
terminal = os.open(name, os.O_RDWR)
tty.setraw(terminal, termios.TCSANOW)
for word in (b"while closed", b"after that"):
    read = b""
    while read != word:
        read += os.read(terminal, len(word) - len(read))
    (directory / word.decode()).touch()
os.write(terminal, b"LAST")
os.read(terminal, 1)
"""


# Writes a piece of output for each line end. After a `c` it closes the terminal, and opens it again when the test says
# so. Then reads a word.
WRITES_PIECES = """
import os, signal, sys, termios, time, tty
from pathlib import Path

directory = Path(sys.argv[1])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
name = os.ttyname(0)
tty.setraw(0)
os.write(1, b"x" * 1000)
while os.read(0, 1) != b"c":
    os.write(1, b"x" * 1000)
os.closerange(0, 3)
(directory / "closed").touch()
while not (directory / "open").exists():
    time.sleep(0.01)
terminal = os.open(name, os.O_RDWR)
tty.setraw(terminal, termios.TCSANOW)
read = b""
while read != b"while closed":
    read += os.read(terminal, 100)
(directory / "read").touch()
"""


@pytest.fixture(params=["close", "vhangup"])
def command(request: pytest.FixtureRequest, directory: Path) -> str:
    if request.param == "vhangup":
        need_root()
    program = directory / "program.py"
    program.write_text(PROGRAM)
    return f"exec {sys.executable} {program} {directory} {request.param}"


def type_while_closed(send: Callable[[bytes], None], unread: Callable[[], int], directory: Path) -> None:
    """Types one word while the terminal is closed and one when it is open again; reads no output."""
    eventually((directory / "closed").exists, "the program has closed its terminal")
    send(b"while closed")
    eventually(lambda: unread() == 0, "the router has read the input")
    (directory / "open").touch()
    eventually((directory / "while closed").exists, "the program has read what was typed while it was closed")
    send(b"after that")
    eventually((directory / "after that").exists, "the program has read what was typed after that")


def unread_bytes(descriptor: int) -> int:
    """How many bytes the client has sent and the router has not read (SIOCOUTQ, unix(7))."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])


def test_input_typed_while_the_terminal_is_closed_arrives_although_the_client_reads_no_output(
    serve: Callable[..., Service], directory: Path, command: str
) -> None:
    service = serve(command=command)
    with service.connect() as client:

        def send(text: bytes) -> None:
            client.send(frame(0, payload=text) if service.framed else text)

        type_while_closed(send, lambda: unread_bytes(client.socket.fileno()), directory)
        client.read_until(b"LAST")
        send(b"\n")
    service.router.wait_for_log("session 1: end: ")


def test_a_client_of_the_extension_hears_that_all_its_input_was_taken(
    start_router: Callable[..., Router], directory: Path, command: str
) -> None:
    start_router(f"{directory}/s", "--forkptyrouter-command", command)
    with ExtensionClient(f"{directory}/s") as client:
        client.start()
        client.read_until(extension.STARTED)
        type_while_closed(client.type, lambda: unread_bytes(client.sock.fileno()), directory)
        client.type(b"\n")
        status = client.status()
    assert client.output.endswith(b"LAST")
    assert (status.input_bytes, status.dropped_bytes) == (len("while closedafter that\n"), 0)


def test_input_waits_for_a_closed_terminal_although_the_router_has_read_all_output_and_cannot_send_it(
    start_router: Callable[..., Router], directory: Path
) -> None:
    program = directory / "program.py"
    program.write_text(WRITES_PIECES)
    start_router(f"{directory}/s", "--forkptyrouter-command", f"exec {sys.executable} {program} {directory}")
    with ExtensionClient(f"{directory}/s") as client:
        client.start()
        client.read_until(extension.STARTED)
        assert ask_for_pieces(client, 1000) < 1000
        client.type(b"c")
        eventually((directory / "closed").exists, "the program has closed its terminal")
        client.type(b"while closed")
        eventually(lambda: unread_bytes(client.sock.fileno()) == 0, "the router has read the input")
        (directory / "open").touch()
        eventually((directory / "read").exists, "the program has read what was typed while its terminal was closed")
        assert client.status().code == 0


def test_a_program_that_closes_its_terminal_for_good_gets_no_input_and_its_session_ends_when_the_client_has_read(
    serve: Callable[..., Service], directory: Path, command: str
) -> None:
    service = serve("--stop-timeout", "0.2", command=command)
    with service.connect() as client:
        eventually((directory / "closed").exists, "the program has closed its terminal")
        client.send(frame(0, payload=b"typed") if service.framed else b"typed")
        eventually(lambda: unread_bytes(client.socket.fileno()) == 0, "the router has read the input")
        assert set(client.read_to_end()) == set(b"x")
    service.router.wait_for_log("session 1: end: exit, killed by SIGKILL")
