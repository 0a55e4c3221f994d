"""What the router changes in its own process at the start, in spite of a hostile environment."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.gateways import tls_front
from fastpty.listening.bind import listen
from fastpty.net.address import TcpAddress
from tests.support.harness import Client, Router, descriptors, eventually
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, connected

START = "import os, sys; [os.close(fd) for fd in map(int, sys.argv[1])]; os.execv(sys.argv[2], sys.argv[2:])"


@pytest.mark.parametrize("jail", [(), ("--chroot", "/")], ids=["here", "chroot"])
@pytest.mark.parametrize("closed", ["0", "2", "02", "012"])
def test_no_socket_of_the_router_takes_the_place_of_a_closed_standard_descriptor(
    closed: str, jail: tuple[str, ...], directory: Path
) -> None:
    if jail:
        need_root()
    path = f"{directory}/s"
    argv = [sys.executable, "-c", START, closed, sys.executable, "-m", "fastpty.router"]
    options = ["--logto", f"{directory}/log", "--forkptyrouter-command", "echo IN"]
    with subprocess.Popen([*argv, *jail, *options, path]) as router:
        try:
            eventually(lambda: "ready" in _text(directory / "log"), "ready")
            with Client(path) as client:
                assert client.read_to_end() == b"IN\r\n"
            held = descriptors(router.pid)
            assert not any(held[fd].startswith(("socket:", "/memfd:", "anon_inode:")) for fd in (0, 1, 2))
        finally:
            router.terminate()
    assert router.returncode == 0


def _text(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def test_the_socket_behind_tls_is_not_made_in_a_directory_of_another_user(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of TMPDIR can replace the router's directory with one that contains links."""
    need_root()
    victim = directory / "victim"
    victim.touch(0o600)

    def replaced(prefix: str) -> str:
        made = directory / f"{prefix}x"
        made.mkdir(0o700)
        os.chown(made, 1, 1)
        return str(made)

    monkeypatch.setattr(tempfile, "mkdtemp", replaced)
    [outside] = listen(TcpAddress("127.0.0.1", 0))
    with pytest.raises(OSError, match="another user has replaced"):
        tls_front.front_for(outside, 1, negotiates=True)
    outside.close()
    assert sorted(os.listdir(directory)) == ["victim"]


SOURCE_GONE = """
import os, sys
from fastpty import log
from fastpty.configuration import command_line
from fastpty.jail import imports
path = sys.argv[1]
with open(path, "w") as file:
    file.write("def fail():\\n    raise ValueError('secret line')\\n")
sys.path.insert(0, os.path.dirname(path))
import failing
config, *_ = command_line.configure([sys.argv[2]])
imports.stop(config)
with open(path, "w") as file:
    file.write("# line\\n    pass  # of somebody else\\n")
log.start([])
try:
    failing.fail()
except ValueError:
    log.logger.exception("logged")
failing.fail()
"""


def test_a_traceback_reads_no_source_in_a_foreign_root(directory: Path) -> None:
    """Source files there may be somebody else's, and a FIFO would block the router."""
    argv = [sys.executable, "-B", "-c", SOURCE_GONE, f"{directory}/failing.py", f"{directory}/s"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert ended.stderr.count("ValueError: secret line") == 2
    assert "logged" in ended.stderr
    assert "of somebody else" not in ended.stderr


def test_another_user_cannot_take_the_names_of_connections_behind_tls(
    tls_router: Callable[..., tuple[Router, int]], authority: Authority
) -> None:
    """A user who binds such a name first would keep the client out that should get it."""
    _, port = tls_router("--forkptyrouter-command", "echo IN; exec cat")
    unguessable = set()
    for _ in range(2):
        with connected(authority, port) as connection:
            assert connection.recv(2) == b"IN"
            own_port = connection.getsockname()[1]
            [name] = re.findall(rf"@(\S+) - - 127\.0\.0\.1 port {own_port} ", Path("/proc/net/unix").read_text())
            unguessable.add(re.fullmatch(r"[0-9a-f]{32}", name) and name)
    assert len(unguessable - {None}) == 2
