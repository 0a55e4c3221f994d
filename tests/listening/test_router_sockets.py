"""The sockets of a running router: their modes, owners and names, and what a second router does to them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.harness import (
    PROMPT,
    Client,
    Router,
    run,
)
from tests.support.peers import need_root


def test_a_socket_file_is_private_to_its_owner(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s")
    assert stat.S_IMODE(os.stat(f"{directory}/s").st_mode) == 0o600


@pytest.mark.parametrize(("flag", "mode"), [("--chmod-socket", 0o666), ("--chmod-socket=660", 0o660)])
def test_chmod_socket_sets_the_mode(
    start_router: Callable[..., Router], directory: Path, flag: str, mode: int
) -> None:
    start_router(flag, f"{directory}/s")
    assert stat.S_IMODE(os.stat(f"{directory}/s").st_mode) == mode


def test_a_socket_file_belongs_to_the_user_that_the_router_becomes(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    start_router(f"{directory}/s", "--uid", "nobody", "--gid", "nogroup")
    found = os.stat(f"{directory}/s")
    assert (found.st_uid, found.st_gid) == (65_534, 65_534)


def test_chown_socket_is_applied(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    start_router(f"{directory}/s", "--chown-socket", "daemon:adm")
    found = os.stat(f"{directory}/s")
    assert (found.st_uid, found.st_gid) == (1, 4)


def test_an_abstract_name_is_reachable_in_both_spellings(start_router: Callable[..., Router]) -> None:
    name = f"fastpty-test-{os.getpid()}"
    start_router(f"@{name}")
    for spelling in (f"\0{name}", f"\0{name}\0"):
        with Client(spelling) as client:
            client.read_until(PROMPT)


def test_an_inherited_descriptor_is_listened_on(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/s")
        os.chmod(f"{directory}/s", 0o600)  # a umask of 002 would make it writable by a group, which a router refuses
        listener.listen()
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-m", "fastpty.router", f"fd://{listener.fileno()}"],
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(f"{directory}/s") as client:
                client.send(b"echo $((6*7)); exit\n")
                client.read_until(b"42\r\n")
        finally:
            process.terminate()
            assert process.wait(30) == 0
    assert Path(f"{directory}/s").exists()  # it belongs to another program


def test_a_stale_socket_file_is_replaced(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s")
    router.end(signal.SIGKILL)
    assert Path(f"{directory}/s").exists()
    start_router(f"{directory}/s")
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


def test_a_live_socket_is_not_stolen(start_router: Callable[..., Router], directory: Path) -> None:
    start_router(f"{directory}/s")
    second = run(f"{directory}/s")
    assert second.returncode == 1
    assert second.stderr == f"fastpty-router: another router is listening on {directory}/s\n" or (
        f"another router is listening on {directory}/s" in second.stderr and second.stderr.count("\n") == 1
    )
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


def test_a_socket_file_that_another_program_has_replaced_is_not_removed(
    start_router: Callable[..., Router], directory: Path
) -> None:
    first = start_router(f"{directory}/s")
    os.unlink(f"{directory}/s")
    start_router(f"{directory}/s")
    assert first.end() == 0
    with Client(f"{directory}/s") as client:
        client.read_until(PROMPT)


def test_a_tcp_address_open_to_the_network_is_served_with_insecure_tcp(start_router: Callable[..., Router]) -> None:
    router = start_router("0.0.0.0:0", "--insecure-tcp")
    port = int(router.wait_for_log(r"listening on .*:(\d+) ")[0][1])
    with Client(("127.0.0.1", port)) as client:
        client.send(b"exit\n")
        client.read_to_end()
