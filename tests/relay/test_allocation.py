"""The data path makes no Python object: the interpreter's count of allocated blocks stays the same."""

from __future__ import annotations

import subprocess
import sys

FRAMES = 1_000_000

# The relay counts its blocks at each SIGUSR1. The client, a process of its own, sends the signals.
WORKER = r"""
import os, signal, socket, sys
from fastpty._relay import Relay
from fastpty._spawn import Command, Spawner
from fastpty.relay.upcalls import Terminal

FRAMES = int(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0fastpty-allocation-%d" % os.getpid())
listener.listen()
counts = []

class Handler:
    def session_wanted(self, number, listener, fd, peer):
        command = b"stty raw -echo; printf READY; head -c %d | wc -c; printf DONE" % FRAMES
        program = Command([b"/bin/sh", b"-c", command], [b"PATH=/usr/bin:/bin"])
        return Terminal(*Spawner((1024, 1024)).spawn(program, (24, 80, 0, 0)), 24, 80, None)
    def caught_up(self):
        pass
    def terminal_closes_later(self, number):
        pass
    def session_ended(self, *what):
        lent = relay.counters()
        print(lent["buffers_lent"], lent["pipes_lent"])
        relay.stop()
    def signalled(self, number):
        counts.append(sys.getallocatedblocks())
        if len(counts) == 3:
            print(*counts)

def client(router):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("\0fastpty-allocation-%d" % router)
    def until(text):
        seen = b""
        while text not in seen:
            seen += connection.recv(4096) or sys.exit("the session ended early")
        return seen
    until(b"READY")
    for _ in range(2):
        os.kill(router, signal.SIGUSR1)
        signal.sigtimedwait([], 0.1)  # two pending signals would arrive as one
    piece = b"\0\1\0\0x" * 1000
    for _ in range(FRAMES // 1000):
        connection.sendall(piece)
    assert str(FRAMES).encode() in until(b"DONE")
    os.kill(router, signal.SIGUSR1)
    signal.sigtimedwait([], 0.1)
    connection.close()
    os._exit(0)

relay = Relay(Handler())
relay.listen(listener.fileno(), framed=True)
relay.watch_signals([signal.SIGUSR1])
router = os.getpid()
if os.fork() == 0:
    client(router)
relay.run()
"""


def test_a_million_frames_allocate_no_python_objects() -> None:
    done = subprocess.run([sys.executable, "-c", WORKER, str(FRAMES)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    _, before, after, *lent = (int(word) for word in done.stdout.split())
    # The list of counts grows by a few integers. An object for each frame or read would add thousands.
    assert abs(after - before) < 20
    assert lent == [0, 0]
