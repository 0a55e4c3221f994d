"""What the client loads. Each module costs time at every start; bench/test_client_start.py measures it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import receive_all, scripted_router
from tests.support.extension_peer import ExtensionPeer, playing

# Of these `socket` takes as long to load as Python takes to start, `dataclasses` longer.
SLOW = {
    "argparse",
    "contextlib",
    "dataclasses",
    "enum",
    "inspect",
    "re",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "typing",
}

COMMAND_LINE = {
    "fastpty",
    "fastpty.__main__",
    "fastpty.cli",
    "fastpty.client",
    "fastpty.client.arguments",
    "fastpty.errors",
    "fastpty.system",
    "fastpty.system.standard_descriptors",
}
CONNECT = COMMAND_LINE | {
    "fastpty.client.connect",
    "fastpty.client.legacy",
    "fastpty.client.link",
    "fastpty.client.negotiation",
    "fastpty.client.outgoing",
    "fastpty.client.peer",
    "fastpty.client.ready",
    "fastpty.client.streams",
    "fastpty.client.terminal",
    "fastpty.client.wanted",
    "fastpty.net",
    "fastpty.net.address",
    "fastpty.system.credentials",
    "fastpty.wire",
    "fastpty.wire.extension",
    "fastpty.wire.uwsgi",
}
EXTENSION = {"fastpty.client.report", "fastpty.client.request", "fastpty.client.session"}
ATTACHED = CONNECT | {
    "fastpty.client.attach",
    "fastpty.client.escape",
    "fastpty.client.modes",
    "fastpty.client.output",
}
EXEC = (
    CONNECT
    | EXTENSION
    | {
        "fastpty.client.exec_input",
        "fastpty.client.exec_loop",
        "fastpty.client.exec_session",
        "fastpty.client.execute",
    }
)


def loaded(*arguments: str) -> set[str]:
    """The modules that the client loads, without those that Python loads at its start anyway."""
    code = "import sys; from fastpty.__main__ import client; sys.exit(client())"
    # -S: an editable installation is found by a module that loads others.
    command = [sys.executable, "-S", "-X", "importtime", "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60)
    return set(re.findall(r"^import time:.*\| +([\w.]+)$", ended.stderr, re.M))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--version"], COMMAND_LINE),
        (["connect", "/nowhere/s"], ATTACHED),
        (["connect", "--help"], CONNECT | {"fastpty.client.help"}),
    ],
)
def test_the_client_loads_no_more_than_it_needs(arguments: list[str], wanted: set[str]) -> None:
    found = loaded(*arguments)
    assert {name for name in found if name.startswith("fastpty")} == wanted
    assert found & SLOW == set()


def test_a_whole_session_with_an_older_router_loads_no_slow_module(tmp_path: Path) -> None:
    def part(peer: socket.socket) -> None:
        peer.sendall(b"output\n")
        receive_all(peer)

    with scripted_router(tmp_path) as router, router.playing(part):
        found = loaded("connect", "-n", router.address)
    assert {name for name in found if name.startswith("fastpty")} == ATTACHED
    assert found & SLOW == set()


@pytest.mark.parametrize(("command", "wanted"), [("connect", ATTACHED | EXTENSION), ("exec", EXEC)])
def test_a_whole_session_over_the_extension_loads_no_slow_module(
    tmp_path: Path, command: str, wanted: set[str]
) -> None:
    def part(peer: ExtensionPeer) -> None:
        peer.begin()
        peer.output(b"output\n")
        peer.end()

    with scripted_router(tmp_path) as router, playing(router, part):
        found = loaded(command, "-n", "-e", "A=1", router.address, "--", "ls")
    assert {name for name in found if name.startswith("fastpty")} == wanted
    assert found & SLOW == set()
