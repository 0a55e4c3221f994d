"""The contestants behind one interface: a Peer opens connections to new sessions of one command.

fastpty and uWSGI speak raw and uwsgi, socat raw; Bare, the limit, is the command on a pty that the harness opens.
"""

from __future__ import annotations

import atexit
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from bench._load import drain

HERE = Path(__file__).resolve().parent
PROGRAM = str(HERE / "ptyload")
SHELL = "/bin/sh"
START_SECONDS = 10.0
PATIENCE_SECONDS = 20  # how long a session may print nothing


class MissingPeerError(Exception):
    """This machine does not have the contestant."""


class SessionEndedError(Exception):
    """The router ended a session that should go on."""


class Connection:
    """A client's end of a session, or the master of a bare pty."""

    def __init__(self, fd: int, framed: bool = False):
        self.fd = fd
        self.framed = framed
        self.pid = 0  # of the program; set by ready()

    def send(self, data: bytes) -> None:
        if self.framed:
            data = struct.pack("<BHB", 0, len(data), 0) + data
        while data:
            data = data[os.write(self.fd, data) :]

    def ready(self) -> Connection:
        """Waits until bench/ptyload.c reads its order."""
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self.fd, 1)
            if not byte:
                raise SessionEndedError(f"before it was ready: {bytes(line)!r}")
            line += byte
        self.pid = int(line.split()[-1])
        return self

    def order(self, text: str) -> Connection:
        self.send(text.encode() + b"\n")
        return self

    def skip(self, count: int) -> None:
        """Reads and drops `count` bytes."""
        if drain(self.fd, count) < count:
            raise SessionEndedError(f"before it had given {count} bytes")

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Peer:
    """One contestant. `name` is what the reports call it."""

    name: str

    def connect(self) -> Connection:
        raise NotImplementedError

    def session(self, order: str) -> Connection:
        """Opens a session and waits until its program runs."""
        return self.connect().ready().order(order)

    def router_pids(self) -> list[int]:
        """The processes that relay, without the programs on the ptys."""
        return []

    def settle(self) -> None:
        """Waits until the programs of earlier sessions have ended and their router has noticed.

        uWSGI drops at once a session that begins while another ends.
        """

    def restart(self) -> None:
        """Replaces the router by a new one, whose memory has not grown yet."""

    def end(self) -> None:
        """Ends every process that was started."""


class Server:
    """A router's process and its descendants."""

    def __init__(self, argv: list[str], sockets: list[Path], log: Path, cwd: Path | None = None):
        self._argv, self._sockets, self._log, self._cwd = argv, sockets, log, cwd
        self.start()

    def start(self) -> None:
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._cwd, process_group=0
            )
        atexit.register(self.end)  # also when the run is interrupted
        deadline = time.monotonic() + START_SECONDS
        while not all(_answers(path) for path in self._sockets):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{self._argv[0]} does not listen:\n{self._log.read_text()}")
            time.sleep(0.02)

    def router_pids(self) -> list[int]:
        return self._alive(relaying=True)

    def program_pids(self) -> list[int]:
        return self._alive(relaying=False)

    def _alive(self, relaying: bool) -> list[int]:
        """The processes with the router's name, or all others. Without zombies, which uWSGI leaves."""
        name = command_name(self.process.pid)
        alive = [pid for pid in descendants(self.process.pid) if not is_zombie(pid)]
        return [pid for pid in alive if (command_name(pid) == name) == relaying]

    def end(self) -> None:
        atexit.unregister(self.end)
        for pid in reversed(descendants(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        for path in self._sockets:
            while _answers(path):  # a child of the router that is about to end may still listen
                time.sleep(0.01)
            path.unlink(missing_ok=True)


class SocketPeer(Peer):
    """A contestant behind a unix socket. Several may share a server."""

    def __init__(self, name: str, server: Server, path: Path, framed: bool = False):
        self.name = name
        self.server = server
        self.path = str(path)
        self.framed = framed

    def connect(self) -> Connection:
        with socket.socket(socket.AF_UNIX) as client:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                client.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", PATIENCE_SECONDS, 0))
            client.connect(self.path)
            return Connection(client.detach(), self.framed)

    def router_pids(self) -> list[int]:
        return self.server.router_pids()

    def settle(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.server.program_pids():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: programs outlive their sessions")
            time.sleep(0.01)
        time.sleep(0.01)

    def restart(self) -> None:
        self.server.end()
        self.server.start()

    def end(self) -> None:
        self.server.end()


class BareConnection(Connection):
    """A pty master and the program on its terminal. Closing the master ends the program."""

    def __init__(self, fd: int, pid: int):
        super().__init__(fd)
        self.pid = pid

    def close(self) -> None:
        super().close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Bare(Peer):
    """A bare pty without a router: the limit of what a router can reach."""

    name = "bare"

    def __init__(self, command: str):
        self.command = command

    def connect(self) -> Connection:
        """Starts with posix_spawn(3), which uses vfork: the cheapest start."""
        master, slave = pty.openpty()
        files: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)]
        files += [(os.POSIX_SPAWN_DUP2, 0, target) for target in (1, 2)]
        pid = os.posix_spawn(self.command, [self.command], os.environ, file_actions=files, setsid=True)
        os.close(slave)
        return BareConnection(master, pid)


def fastpty(folder: Path, command: str, name: str = "fastpty", splice: str = "on", tree: Path = HERE.parent,
            processes: int = 1) -> list[Peer]:  # fmt: skip
    """Peers for fastpty's raw and uwsgi socket. `tree` is the checkout to run, to compare two versions."""
    argv = [sys.executable, "-m", "fastpty.router", "--splice", splice, "--forkptyrouter-command", command]
    if processes > 1:
        argv += ["--forkptyrouter-processes", str(processes)]
    paths = _paths(folder, name)
    argv += ["--forkpty-router", str(paths[0]), "--forkpty-urouter", str(paths[1])]
    return _pair(name, Server(argv, paths, paths[0].with_suffix(".log"), cwd=tree), paths)


def uwsgi(folder: Path, command: str, name: str = "uWSGI", processes: int = 1) -> list[Peer]:
    """Debian's uwsgi-core with its forkptyrouter plugin; without its timeout, as fastpty."""
    _need("uwsgi")
    paths = _paths(folder, name)
    ini = paths[0].with_suffix(".ini")
    ini.write_text(
        "[uwsgi]\nmaster = true\nplugins = corerouter,forkptyrouter\n"
        f"forkpty-router = {paths[0]}\nforkpty-urouter = {paths[1]}\n"
        f"forkptyrouter-command = {command}\nforkptyrouter-processes = {processes}\n"
        "forkptyrouter-timeout = 100000\nlisten = 100\n"
    )
    return _pair(name, Server(["uwsgi", "--ini", str(ini)], paths, ini.with_suffix(".log")), paths)


def socat(folder: Path, command: str, name: str = "socat") -> list[Peer]:
    """socat: one process per session, with transfers of 64 KiB instead of its default of 8 KiB."""
    _need("socat")
    path = _paths(folder, name)[0]
    addresses = [f"UNIX-LISTEN:{path},fork,backlog=100", f"EXEC:{command},pty,setsid,ctty,stderr"]
    server = Server(["socat", "-b65536", *addresses], [path], path.with_suffix(".log"))
    return [SocketPeer(name, server, path)]


def descendants(pid: int) -> list[int]:
    """The process and its descendants, parents first."""
    found = [pid]
    for parent in found:
        try:
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except OSError:
            continue
    return found


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _paths(folder: Path, name: str) -> list[Path]:
    stem = re.sub(r"\W+", "-", name)
    return [folder / f"{stem}.raw", folder / f"{stem}.uwsgi"]


def _pair(name: str, server: Server, paths: list[Path]) -> list[Peer]:
    return [SocketPeer(name, server, paths[0]), SocketPeer(f"{name} (uwsgi)", server, paths[1], framed=True)]


def _answers(path: Path) -> bool:
    """True if a socket listens here, by the kernel's list: connecting would start a session."""
    listening = 0x00010000
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == str(path):
            return bool(int(fields[3], 16) & listening)
    return False


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise MissingPeerError(f"{tool} is not installed")
