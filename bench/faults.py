"""Injects the same faults into fastpty and real uWSGI; a table: `python -m bench.faults` (as root, with uwsgi-core).

Each fault is done to a fresh router that has one session besides. What counts is whether that session, and a new one,
are served afterwards. docs/reliability.md holds a run's result.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 5.0
SERVERS = ("fastpty", "uWSGI")


class Server:
    """A router with a raw socket, whose sessions are shells."""

    def __init__(self, name: str, directory: str) -> None:
        self.path = f"{directory}/{name}"
        argv = (
            [sys.executable, "-m", "fastpty.router", self.path]
            if name == "fastpty"
            else ["uwsgi", "--plugins", "corerouter,forkptyrouter", "--forkptyrouter", self.path, "--master"]
        )
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.connect().close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.router = self._router()

    def _router(self) -> int:
        """The process that relays. In uWSGI it is a child of the master."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        routers = [pid for pid in listed if b"uwsgi" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return int(routers[0]) if routers else self.process.pid

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(self.path)
        return connection

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def answers(connection: socket.socket) -> bool:
    """True if the shell of this session runs a command."""
    with suppress(OSError):
        connection.sendall(b"echo $((6*7))00\n")
        seen = b""
        while b"4200\r\n" not in seen:
            data = connection.recv(65536)
            if not data:
                return False
            seen += data
        return True
    return False


def exhaust_descriptors(server: Server) -> list[socket.socket]:
    resource.prlimit(server.router, resource.RLIMIT_NOFILE, (40, 40))
    crowd = []
    for _ in range(30):
        with suppress(OSError):
            crowd.append(server.connect())
    time.sleep(1)
    return crowd


def exhaust_ptys(server: Server) -> list[socket.socket]:
    limit, reserve = Path("/proc/sys/kernel/pty/max"), Path("/proc/sys/kernel/pty/reserve")
    before = limit.read_text(), reserve.read_text()
    try:
        reserve.write_text("0")
        limit.write_text(Path("/proc/sys/kernel/pty/nr").read_text())
        refused = server.connect()
        time.sleep(1)
    finally:
        limit.write_text(before[0])
        reserve.write_text(before[1])
    return [refused]


def flood_a_deaf_program(server: Server) -> list[socket.socket]:
    victim = server.connect()
    victim.sendall(b"stty raw -echo; exec sleep 1000\n")
    time.sleep(0.5)
    victim.setblocking(False)
    for _ in range(20):
        with suppress(BlockingIOError):
            victim.send(bytes(65536))
        time.sleep(0.02)
    return [victim]


def full_duplex_flood(server: Server) -> list[socket.socket]:
    victim = server.connect()
    victim.sendall(b"stty raw -echo; exec cat\n")
    time.sleep(0.5)
    victim.setblocking(False)
    for _ in range(60):
        with suppress(BlockingIOError):
            victim.send(bytes(65536))
        time.sleep(0.01)
    return [victim]


def clients_that_never_read(server: Server) -> list[socket.socket]:
    crowd = [server.connect() for _ in range(64)]
    for client in crowd:
        client.sendall(b"exec cat /dev/zero\n")
    time.sleep(2)
    return crowd


def dropped_connections(server: Server) -> list[socket.socket]:
    for number in range(500):
        with suppress(OSError), server.connect() as client:
            if number % 2:
                client.sendall(b"echo\n")
    time.sleep(1)
    return []


FAULTS: dict[str, Callable[[Server], list[socket.socket]]] = {
    "descriptors exhausted": exhaust_descriptors,
    "ptys exhausted": exhaust_ptys,
    "a flood of input to a program that does not read": flood_a_deaf_program,
    "a full-duplex flood through `cat`, its client not reading": full_duplex_flood,
    "64 clients that never read": clients_that_never_read,
    "500 connections opened and dropped": dropped_connections,
}


def outcome(name: str, fault: Callable[[Server], list[socket.socket]]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        server = Server(name, directory)
        try:
            steady = server.connect()
            if not answers(steady):
                return "does not answer even before"
            crowd = fault(server)
            lives = answers(steady)
            for client in crowd:
                client.close()
            time.sleep(0.5)
            with suppress(OSError):
                if answers(server.connect()):
                    return "served on, new ones too" if lives else "**the session is lost**, new ones are served"
            return "served on, **no new one**" if lives else "**nobody is served**"
        finally:
            server.end()


def main() -> int:
    if shutil.which("uwsgi") is None or os.geteuid() != 0:
        print("needs root and uwsgi-core", file=sys.stderr)
        return 1
    print(f"| fault | {' | '.join(SERVERS)} |")
    print("|---|---|---|")
    for what, fault in FAULTS.items():
        print(f"| {what} | {' | '.join(outcome(name, fault) for name in SERVERS)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
