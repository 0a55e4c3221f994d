"""Socket files: a second start does not disturb the running router, and files are removed at the end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fastpty.listening import bind as listening
from fastpty.listening import removal
from fastpty.net.address import UnixAddress
from tests.support.harness import Client, Router, descriptors, eventually, process_gone, processes, run, state
from tests.support.peers import need_root

MALLORY = 54_009


def test_a_second_start_opens_no_session_in_the_running_router(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router(path, "--max-sessions", "1", "--forkptyrouter-command", "echo IN")
    ended = run(path)
    assert ended.stderr == (
        f"fastpty-router: another router is listening on {path}: stop it, or choose another path\n"
    )
    assert ended.returncode == 1
    with Client(path) as client:
        assert client.read_to_end() == b"IN\r\n"
    router.wait_for_log("session 1: end")
    router.end()
    assert "session 2" not in router.log


def test_a_socket_that_is_bound_and_does_not_listen_yet_is_alive(directory: Path) -> None:
    path = f"{directory}/s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        with pytest.raises(listening.AddressInUseError):
            listening.listen(UnixAddress(path))


def test_a_datagram_socket_is_alive_too(directory: Path) -> None:
    path = f"{directory}/s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(listening.AddressInUseError):
            listening.listen(UnixAddress(path))


@pytest.mark.parametrize(
    "jail",
    [
        ("--uid", str(MALLORY), "--gid", str(MALLORY)),
        ("--unshare", "mount"),
        ("--unshare", "user"),
        ("--chroot", "/"),
    ],
)
def test_a_socket_file_that_the_router_cannot_remove_is_removed_at_its_end(
    start_router: Callable[..., Router], directory: Path, jail: tuple[str, ...]
) -> None:
    """The router's account may not write to the directory, or cannot see it."""
    need_root()
    paths = [f"{directory}/s", f"{directory}/t"]
    router = start_router(*(f"--listen-raw={path}" for path in paths), *jail, sockets=2)
    assert router.end() == 0
    assert os.listdir(directory) == []
    assert "cannot remove" not in router.log


def removers(router: Router) -> list[int]:
    """The processes that hold a pidfd of the router."""
    found = []
    for pid, _ in processes():
        place = Path(f"/proc/{pid}/fdinfo")
        try:
            texts = [(place / name).read_text() for name in os.listdir(place)]
        except OSError:  # it has ended, or is another user's
            continue
        if any(f"Pid:\t{router.process.pid}\n" in text for text in texts):
            found.append(pid)
    return found


def test_the_process_that_removes_socket_files_ends_with_a_killed_router(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    router = start_router(f"{directory}/s", "--uid", str(MALLORY), "--gid", str(MALLORY))
    (remover,) = removers(router)
    eventually(
        lambda: not any(target.startswith("pipe:") for target in descriptors(remover).values()),
        "it has closed its copies of the router's pipes",
    )
    os.kill(remover, signal.SIGTERM)  # as a service manager does to all processes
    with Client(f"{directory}/s") as client:  # the worker lives on, with copies of the router's descriptors
        client.read_until(b"$ ")
        router.kill_supervisor()
        eventually(lambda: process_gone(remover), "it ends")


def test_a_file_that_has_replaced_the_socket_is_not_removed(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    router = start_router(f"{directory}/s", "--uid", str(MALLORY), "--gid", str(MALLORY))
    (directory / "s").unlink()
    (directory / "s").write_text("another's")
    assert router.end() == 0
    assert (directory / "s").read_text() == "another's"


def test_a_replaced_parent_directory_leads_to_no_removal_of_another_file(directory: Path) -> None:
    """The new directory holds a hard link of the socket, which would otherwise be removed."""
    need_root()
    (directory / "one").mkdir()
    path = directory / "one" / "s"
    (listener,) = listening.listen(UnixAddress(str(path)))
    remover = removal.Remover([listener])
    (directory / "one").rename(directory / "two")
    (directory / "one").mkdir()
    os.link(directory / "two" / "s", path)
    listener.close(remover.remove)
    assert path.exists()
    assert not (directory / "two" / "s").exists()


def own_processes() -> set[int]:
    """The processes with the command line of this one: its forks, too."""
    own = Path("/proc/self/cmdline").read_bytes()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cmdline").read_bytes() == own:
                found.add(int(entry.name))
    return found


def test_a_late_answer_about_one_file_is_not_taken_for_the_next_one_s(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_ANSWER_SECONDS", 0.2)
    listeners = []
    for name in ("one", "two"):
        (directory / name).mkdir()
        listeners += listening.listen(UnixAddress(str(directory / name / "s")))
    (directory / "two").rename(directory / "gone")
    before = own_processes()
    remover = removal.Remover(listeners)
    (process,) = own_processes() - before
    os.kill(process, signal.SIGSTOP)
    eventually(lambda: state(process) == "T", "the process is stopped")
    with pytest.raises(TimeoutError):
        remover.remove(listeners[0])
    os.kill(process, signal.SIGCONT)
    monkeypatch.setattr(removal, "_ANSWER_SECONDS", 30.0)
    with pytest.raises(OSError, match="its directory is gone"):
        remover.remove(listeners[1])
    assert not (directory / "one" / "s").exists()


def test_a_socket_file_that_a_reload_drops_is_removed(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    file = directory / "x.ini"
    text = f"[uwsgi]\nuid = {MALLORY}\ngid = {MALLORY}\nforkpty-router = {directory}/s\n"
    file.write_text(f"{text}forkpty-router = {directory}/t\n")
    file.chmod(0o644)
    router = start_router(str(file), sockets=2)
    file.write_text(text)
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reloaded; command: ")
    eventually(lambda: sorted(os.listdir(directory)) == ["s", "x.ini"], "the other is gone")
    router.end()
    assert os.listdir(directory) == ["x.ini"]
