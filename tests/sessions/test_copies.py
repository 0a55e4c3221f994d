"""Copies at the router: which files a copy can read and write, and which account it runs as."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty._spawn import Command
from fastpty.configuration.build import build
from fastpty.configuration.entered import Entered
from fastpty.configuration.language.setting import Setting
from fastpty.copying.receiver import receive
from fastpty.sessions import copies, requests
from fastpty.sessions.program import Program
from fastpty.system import linux
from fastpty.system.records import replace
from fastpty.wire import extension
from tests import ROOT
from tests.support.accounts import Login, connected_as, make_account, peer_router, remove_account
from tests.support.containers import container, mask
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, children, eventually
from tests.support.jails import NOBODY, in_child
from tests.support.peers import need_root

Starts = Callable[..., Router]

_KILL = 5  # linux/capability.h: CAP_KILL


def begin(client: ExtensionClient, direction: int, *paths: str) -> ExtensionClient:
    """Asks for a copy."""
    streams = extension.STREAMS_ITEM, extension.streams(merges=False, drain_ms=0)
    client.start(paths, window=None, more=[streams, (extension.COPY_ITEM, bytes((direction,)))])
    return client


def taken(output: bytes, directory: Path) -> bool:
    """Writes the files in the output of a copy to a directory. Returns True if all arrived."""
    file = directory.parent / "records"
    file.write_bytes(output)
    source = os.open(file, os.O_RDONLY)
    try:
        return receive(source, os.fsencode(directory), print, into_directory=True)
    finally:
        os.close(source)


def test_a_root_without_any_program_is_enough(start_router: Starts, directory: Path, tmp_path: Path) -> None:
    """No shell, no tar, no Python, no /proc."""
    need_root()
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").touch(0o755)  # no program; the router wants a command that exists
    (root / "dev").mkdir()
    (root / "data").write_text("in the root")
    mounts = [f"--hook-post-jail=mount:none {root} {root} bind", f"--mount-post-jail=none /dev {root}/dev bind,rec"]
    start_router(f"{directory}/s", "--unshare", "mount", *mounts, "--chroot", str(root))
    with begin(ExtensionClient(f"{directory}/s"), extension.SENDS, "/data") as client:
        assert client.status().code == 0
    (tmp_path / "here").mkdir()
    assert taken(client.output, tmp_path / "here")
    assert (tmp_path / "here" / "data").read_text() == "in the root"


def test_the_log_names_the_paths(start_router: Starts, directory: Path) -> None:
    router = start_router(f"{directory}/s")
    with begin(ExtensionClient(f"{directory}/s"), extension.SENDS, f"{directory}/s", "/no such") as client:
        assert client.status().code == 1
    router.wait_for_log(rf"start: .*: exec: process \d+: cp {directory}/s '/no such'")


@pytest.mark.parametrize(
    ("direction", "paths", "streams"),
    [(0, ["a"], True), (9, ["a"], True), (2, ["a", "b"], True), (3, [], True), (1, [], True), (1, ["a"], False)],
)
def test_a_malformed_request_is_an_error(
    start_router: Starts, directory: Path, direction: int, paths: list[str], streams: bool
) -> None:
    start_router(f"{directory}/s")
    items = [(extension.STREAMS_ITEM, extension.streams(merges=False, drain_ms=0))] if streams else []
    with ExtensionClient(f"{directory}/s") as client:
        client.start(paths, window=None, more=[*items, (extension.COPY_ITEM, bytes((direction,)))])
        assert client.error().code == extension.PROTOCOL


GARBAGE = """
import gc, os, socket, sys
from fastpty.sessions import copies
from fastpty.wire import extension

class Garbage:
    def __init__(self):
        self.this, self.file = self, socket.socket()

def send(paths, out, report):
    files = [os.open(".", os.O_RDONLY) for _ in range(30)]
    gc.collect()
    return [os.fstat(file) for file in files]

gc.disable()
garbage = [Garbage() for _ in range(30)]
os.closerange(3, 100)
del garbage
copies.send = send
sys.exit(copies.run(extension.SENDS, []))
"""


def test_garbage_of_the_worker_closes_no_file_of_a_copy() -> None:
    """The worker's descriptors are closed, and their numbers used again."""
    subprocess.run([sys.executable, "-c", GARBAGE], cwd=ROOT, check=True)


# Accounts


@pytest.fixture
def login(directory: Path) -> Iterator[Login]:
    home = directory / "home"
    home.mkdir()
    login = make_account("fpty-copies", home)
    os.chown(home, login.uid, login.gid)
    yield login
    remove_account("fpty-copies")


def connected(path: str, login: Login) -> ExtensionClient:
    client = ExtensionClient(connected_as(path, login.uid, login.gid))
    client.sock.settimeout(30)
    return client


def test_a_copy_runs_as_the_client_and_begins_in_its_home(
    start_router: Starts, directory: Path, login: Login
) -> None:
    peer_router(start_router, f"--fpty-router={directory}/s")
    secret = directory / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    (login.home / "own").write_text("own")
    (login.home / "own").chmod(0o644)
    with begin(connected(f"{directory}/s", login), extension.SENDS, "own", str(secret)) as client:
        assert client.status().code == 1
    assert b"root's" not in client.output
    assert b"own" in client.output
    assert b"secret: not sent: Permission denied" in client.output


def test_a_restricted_shell_gets_no_copy(start_router: Starts, directory: Path) -> None:
    home = directory / "home"
    home.mkdir()
    login = make_account("fpty-rcopies", home, "/bin/rbash")
    try:
        peer_router(start_router, f"--fpty-router={directory}/s")
        with begin(connected(f"{directory}/s", login), extension.SENDS, "/etc/hostname") as client:
            final = client.read_to_end() or client.final
        assert final is not None
        assert final[0] == extension.ERROR
        assert client.output == b""
    finally:
        remove_account("fpty-rcopies")


def test_a_container_with_a_label_of_its_own_has_no_copies() -> None:
    """The label is that of the programs that are executed, and a copy executes none."""
    streams = (extension.STREAMS_ITEM, extension.streams(merges=False, drain_ms=0))
    items = [(extension.ARGUMENT, b"/etc/hostname"), streams, (extension.COPY_ITEM, bytes((extension.SENDS,)))]
    request = requests.parse(extension.items(items))
    program = Program("a shell", Command([b"/bin/sh"], []))
    config = build([Setting("listen-raw", "/tmp/unused")])[0]
    granting = requests.Requests(config)
    assert granting.capabilities & extension.CAN_COPY
    assert granting.grant(request, program).complete is not None
    granting = requests.Requests(replace(config, entered=Entered(has_pid_namespace=False, relabels=True)))
    assert not granting.capabilities & extension.CAN_COPY
    with pytest.raises(requests.RequestError, match="only programs get the container's label"):
        granting.grant(request, program)


def capabilities_after(prepare: Callable[[], None]) -> list[int]:
    """The effective, permitted and inheritable capabilities of a process of a copy, as masks."""
    need_root()

    def act() -> list[int]:
        prepare()
        copies._leave_capabilities()
        return [*linux.capget()]

    found: list[int] = in_child(act)
    return found


def test_a_copy_of_an_ordinary_user_has_only_the_capabilities_that_a_program_would_have() -> None:
    """execve(2) takes those that are not ambient, but a copy executes nothing."""

    def become_nobody() -> None:
        linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _, permitted, _ = linux.capget()
        linux.capset(permitted, permitted, 1 << _KILL)
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_RAISE, _KILL)

    assert capabilities_after(become_nobody) == [1 << _KILL] * 3


def test_a_copy_of_root_has_only_the_capabilities_that_a_program_would_have() -> None:
    def drop() -> None:
        _, permitted, _ = linux.capget()
        linux.capset(permitted, permitted, 0)
        linux.prctl(linux.PR_CAPBSET_DROP, _KILL)

    assert not capabilities_after(drop)[1] & 1 << _KILL


def test_the_process_of_a_copy_keeps_no_descriptor_of_the_worker(start_router: Starts, directory: Path) -> None:
    """Those of other sessions and of the sockets are closed before it touches a file."""
    router = start_router(f"{directory}/s")
    with ExtensionClient(f"{directory}/s") as other:
        other.start()
        other.read_until(extension.STARTED)
        with begin(ExtensionClient(f"{directory}/s"), extension.RECEIVES, f"{directory}/target") as client:
            pid = client.leader
            assert pid in children(router.pid)
            eventually(lambda: os.path.exists(f"/proc/{pid}/fd/3"), "it has opened the target's directory")
            files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
            assert sorted(file.partition(":")[0] for file in files) == [str(directory), *["pipe"] * 3]
            os.kill(pid, signal.SIGTERM)
            client.read_to_end()


# Containers


@pytest.mark.parametrize("name", ["environ", "maps", "auxv", "fd", "."])
def test_a_copy_tells_nothing_about_the_router_s_process(start_router: Starts, directory: Path, name: str) -> None:
    """A process may always read about itself, and that of a copy is a copy of the worker."""
    need_root()
    directory.chmod(0o1777)
    with container("mount", bounding=mask("dac_override")) as pid:
        router = start_router("--setns-pid", str(pid), f"{directory}/s", env={"SECRET": "the host's"})
        with begin(ExtensionClient(f"{directory}/s"), extension.SENDS, f"/proc/self/{name}") as client:
            assert client.status().code == 1
        assert b"what is in /proc cannot be copied" in client.output
        assert len(client.output) < 200
        assert router.end() == 0
