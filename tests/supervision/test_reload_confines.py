"""A reload cannot change the options that confine sessions or decide who gets one."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import talk_as
from tests.support.harness import Client, Router
from tests.support.jails import binds, said, small_root
from tests.support.peers import need_root
from tests.support.reloads import configured, greeted, reload
from tests.support.tls_harness import Authority

NOBODY = 65534


def refused(router: Router) -> str:
    """Reloads, and returns why that was refused."""
    router.process.send_signal(signal.SIGHUP)
    return router.wait_for_log("reload refused, keeping the old configuration: (.*)")[0][1]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ([], ["uid = daemon"], "gid, uid"),
        ([], ["chroot = /"], "chroot"),
        ([], ["unshare = net"], "unshare"),
        ([], ["cap = kill"], "cap"),
        ([], ["exec-as-root = true"], "hooks"),
        (["exec-asap = true"], [], "hooks"),
        (["umask = 077"], ["umask = 022"], "umask"),
        ([], ["run-as = peer"], "run-as"),
        ([], ["session-cgroup = own"], "session-cgroup"),
        ([], ["allow-tls-name = alice"], "allow-tls-name"),
    ],
)
def test_a_reload_cannot_change_options_that_confine(
    start_router: Callable[..., Router], directory: Path, before: list[str], after: list[str], names: str
) -> None:
    path, another = f"{directory}/s", f"{directory}/t"
    router = start_router(configured(directory / "r.ini", path, *before))
    configured(directory / "r.ini", path, *after, f"forkpty-router = {another}", word="new")
    assert refused(router) == f"a reload cannot change {names}: restart the router"
    assert not Path(another).exists()
    greeted(path, "old").socket.close()


def test_unchanged_hooks_do_not_prevent_a_reload(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    hooks = ("exec-asap = true", "hook-pre-jail = exec:true")
    router = start_router(configured(directory / "r.ini", path, *hooks))
    configured(directory / "r.ini", path, *hooks, word="new")
    reload(router)
    greeted(path, "new").socket.close()
    assert "has changed" not in router.log


def test_a_reload_cannot_drop_run_as(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path, shared = f"{directory}/s", f"{directory}/shared"
    router = start_router(configured(directory / "r.ini", path, "run-as = peer", "chmod-socket = 666"))
    lines = (f"pty-socket = {shared}", "chmod-socket = 666", f"uid = {NOBODY}", f"gid = {NOBODY}")
    configured(directory / "r.ini", path, *lines, word="new")
    assert refused(router) == "a reload cannot change gid, run-as, uid: restart the router"
    assert not Path(shared).exists()
    assert "old" in talk_as(path, NOBODY, NOBODY, text="\x04")


def test_a_reload_does_not_turn_tls_into_plain_tcp(
    start_router: Callable[..., Router], directory: Path, authority: Authority
) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    options = authority.options("server")
    lines = [f"{name.removeprefix('--')} = {value}" for name, value in zip(options[::2], options[1::2], strict=True)]
    configured(directory / "r.ini", path, "forkpty-router = 127.0.0.1:0", *lines, word="new")
    assert refused(router) == "a reload cannot change tls-ca, tls-cert, tls-key: restart the router"
    assert "listening on 127.0.0.1" not in router.log


def test_a_reload_adds_no_plain_tcp_address_beside_tls(
    start_router: Callable[..., Router], directory: Path, authority: Authority
) -> None:
    """An inherited socket may be a TCP socket."""
    options = authority.options("server")
    lines = [f"{name.removeprefix('--')} = {value}" for name, value in zip(options[::2], options[1::2], strict=True)]
    lines.append("forkpty-router = 127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        number = inherited.fileno()
        ini = configured(directory / "r.ini", f"{directory}/s", *lines)
        router = start_router(ini, sockets=2, pass_fds=[number])
        for address in ("127.0.0.2:0", f"fd://{number}"):
            configured(directory / "r.ini", f"{directory}/s", *lines, f"forkpty-router = {address}")
            router.process.send_signal(signal.SIGHUP)
            router.wait_for_log(f"reload refused.*: {address}: an address for TLS can be added by a restart only")


def test_a_reload_refuses_what_a_start_refuses(start_router: Callable[..., Router], directory: Path) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    for line, words in (
        ("forkpty-router = 0.0.0.0:0", "0.0.0.0:0 is open to the network"),
        ("forkpty-router = 127.0.0.1:0\nallow-user = root", "127.0.0.1:0 would admit nobody"),
    ):
        configured(directory / "r.ini", path, *line.splitlines(), word="new")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for_log(f"reload refused, keeping the old configuration: {words}")
    greeted(path, "old").socket.close()


def test_a_reload_applies_the_configured_mode_to_a_socket_file_that_stays(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """If the old mode of the file stayed, the rules of the new configuration would not match it."""
    path, another = f"{directory}/s", f"{directory}/t"
    router = start_router(configured(directory / "r.ini", path, "chmod-socket = 666", "allow-user = root"))
    configured(directory / "r.ini", path, "chmod-socket = 600", word="new")
    assert refused(router) == f"a reload cannot change chmod-socket of {path}, which stays open: restart the router"
    if os.geteuid() == 0:
        assert "is not allowed to connect" in talk_as(path, NOBODY, NOBODY)
    configured(directory / "r.ini", another, "chmod-socket = 600", word="new")
    reload(router)
    greeted(another, "new").socket.close()
    assert (os.stat(another).st_mode & 0o777, os.path.exists(path)) == (0o600, False)


def test_options_that_need_a_restart_stay_and_cause_a_warning(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/s"
    router = start_router(configured(directory / "r.ini", path))
    lines = (f"pidfile = {directory}/pid", "max-startups = 5", "listen = 7")
    configured(directory / "r.ini", path, *lines, word="new")
    reload(router)
    router.wait_for_log("pidfile has changed: restart the router to apply it")
    router.wait_for_log("max-startups has changed: restart the router to apply it")
    router.wait_for_log("backlog has changed: it applies to new sockets only")
    assert not (directory / "pid").exists()
    greeted(path, "new").socket.close()


def test_a_reload_reads_no_file_in_another_root(
    start_router: Callable[..., Router], directory: Path, tmp_path: Path
) -> None:
    need_root()
    path, root, note = f"{directory}/s", tmp_path / "root", "note"
    small_root(root)
    ini = directory / "r.ini"
    ini.write_text(f"[uwsgi]\nforkpty-router = {path}\nchroot = {root}\n")
    inside = root / ini.relative_to("/")
    inside.parent.mkdir(parents=True)
    inside.write_text(f"{ini.read_text()}env = X=@(exec://echo > /{note})\n")
    router = start_router("--unshare", "mount", *binds(root), str(ini))
    assert "the jail has another root" in refused(router)
    assert not (root / note).exists()
    assert said(path, "echo still here") == ["still", "here"]


def test_a_reload_works_in_new_namespaces_without_another_root(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    lines = ("unshare = pid,fs,uts,ipc",)
    router = start_router(configured(directory / "r.ini", path, *lines))
    configured(directory / "r.ini", path, *lines, word="new")
    reload(router)
    with Client(path) as client:
        client.read_until(b"new\r\n")
