"""Differences between outside and a container: ids of users, and visible processes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.jail.subordinate import first_of_root
from tests.support.accounts import talk_as
from tests.support.containers import MAPPED, container
from tests.support.harness import Client, Router, run
from tests.support.peers import need_root
from tests.support.tls_harness import Authority

REFUSAL = (
    "in another user namespace users have other numbers than outside, so allow-user, allow-group, deny-user, "
    "deny-group and max-sessions-per-uid would apply to the wrong users: use chmod-socket and chown-socket\n"
)
DAEMON = 1


@pytest.mark.parametrize("rule", ["allow-user", "allow-group", "deny-user", "deny-group", "max-sessions-per-uid"])
def test_rules_about_users_are_refused_where_root_gets_other_ids(rule: str, directory: Path) -> None:
    """Uid 1879048193 would be uid 1 inside, and daemon 65534."""
    need_root()
    options = (f"--{rule}", "1", "--unshare", "user", f"{directory}/s")
    for ended in (run(*options), run("--check", *options)):
        assert (ended.returncode, ended.stderr) == (2, f"fastpty-router: {REFUSAL}")


def test_rules_about_users_hold_in_a_user_namespace_with_the_ids_of_outside(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/s"
    directory.chmod(0o711)
    options = ("--chmod-socket=666", "--unshare", "user", "--uid", "nobody", "--allow-user", "daemon")
    start_router(*options, "--forkptyrouter-command", "echo IN", path)
    assert talk_as(path, DAEMON, DAEMON) == "IN\r\n"
    assert "is not allowed to connect" in talk_as(path, first_of_root("/etc/subuid") + DAEMON, DAEMON)


@pytest.mark.parametrize("how", ["setns", "setns-pid"])
def test_rules_about_users_are_refused_in_a_container_with_other_ids(how: str, directory: Path) -> None:
    need_root()
    with container("mount", mapped=True) as pid:
        place = str(pid) if how == "setns-pid" else f"/proc/{pid}/ns"
        ended = run(f"--{how}", place, "--deny-user", "daemon", f"{directory}/s")
    assert (ended.returncode, ended.stderr) == (2, f"fastpty-router: {REFUSAL}")


def test_no_certificate_stands_for_a_user_in_a_container_with_other_ids(
    directory: Path, authority: Authority
) -> None:
    need_root()
    options = ("127.0.0.1:0", *authority.options("server"), "--tls-user", "alice=daemon", "--run-as", "peer")
    with container("mount", mapped=True) as pid:
        ended = run("--setns-pid", str(pid), *options)
    assert ended.returncode == 2
    assert "a certificate of tls-user would stand for another user: remove tls-user" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_client_without_an_id_in_the_container_is_refused(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """Such a client has uid 65534 there, which is an account of the container."""
    need_root()
    directory.chmod(0o711)
    etc = directory / "etc"
    etc.mkdir()
    for name, text in (("passwd", "x:x:{}:{}::/:/bin/sh\n"), ("group", "")):
        (etc / name).write_text("".join(text.format(uid, uid) for uid in (0, DAEMON, 65534)))
    # Root of the container makes them anew, as its own.
    commands = (f"mount -t tmpfs none {directory}", f"mkdir {etc}", *_copies(etc), f"mount --bind {etc} /etc")
    # And terminals: those of outside may belong to a group that has no number in here.
    commands += (
        "mount -t devpts -o newinstance,ptmxmode=666 none /dev/pts",
        "test -L /dev/ptmx || mount --bind /dev/pts/ptmx /dev/ptmx",
    )
    path = f"{directory}/s"
    with container("mount", mapped=True, commands=commands) as pid:
        options = ("--run-as", "peer", "--chmod-socket=666", "--forkptyrouter-command", "id -u")
        start_router("--setns-pid", str(pid), *options, path)
        assert talk_as(path, MAPPED + DAEMON, MAPPED + DAEMON) == f"{DAEMON}\r\n"
        assert talk_as(path, DAEMON, DAEMON) == (
            "fastpty: refused: your uid is not mapped in the user namespace of this router\r\n"
        )


def _copies(etc: Path) -> list[str]:
    return [f"cat > {etc}/{name} <<'END'\n{(etc / name).read_text()}END" for name in ("passwd", "group")]


def test_a_container_cannot_see_the_router_s_arguments(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    with container("mount", "pid", commands=("mount -t proc proc /proc",)) as pid:
        path = f"{directory}/s"
        router = start_router("--setns-pid", str(pid), "--env", "SECRET=of-the-host", path)
        with Client(path) as client:
            client.send(b"cat /proc/*/cmdline | tr '\\0' '\\n'; exit\n")
            said = client.read_to_end()
        assert b"fastpty-router" in said
        assert b"of-the-host" not in said
        assert b"of-the-host" in Path(f"/proc/{router.process.pid}/cmdline").read_bytes()
        assert router.end() == 0


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            "--setns-pid=self",
            "setns-pid={self}: this process is in no container: its namespaces are the router's own",
        ),
        ("--setns=/etc/passwd", "setns=/etc/passwd: this file is not a namespace"),
        ("--setns=/etc", "setns=/etc: there are no namespaces there: give /proc/PID/ns, or use setns-pid"),
    ],
)
def test_check_reports_what_cannot_be_entered(asked: str, why: str, directory: Path) -> None:
    need_root()
    here = str(os.getpid())
    options = (asked.replace("=self", f"={here}"), f"{directory}/s")
    line = f"fastpty-router: {why.replace('{self}', here)}\n"
    start, check = run(*options), run("--check", *options)
    assert (start.returncode, start.stderr) == (1, line)
    assert (check.returncode, check.stderr) == (2, line)


def test_a_reload_refuses_rules_about_users_where_root_has_other_ids(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    directory.chmod(0o755)
    file = directory / "x.ini"
    text = f"[uwsgi]\nforkpty-router = {directory}/s\nunshare = user\n"
    file.write_text(text)
    file.chmod(0o644)
    router = start_router(str(file))
    file.write_text(f"{text}max-sessions-per-uid = 1\n")
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log(f"reload refused, keeping the old configuration: {re.escape(REFUSAL.strip())}")
