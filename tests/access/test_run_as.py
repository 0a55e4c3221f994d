"""`run-as peer`: sessions run as their client's user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fastpty.system import linux
from tests.jail.test_jail import NO_SETUID_FIXUP, PR_SET_SECUREBITS
from tests.support.accounts import Login, make_account, peer_router, remove_account, talk_as
from tests.support.harness import Client, Router, eventually
from tests.support.peers import changed_syscall, need, need_root, preload
from tests.support.programs import broken_program

SHOW = (
    "echo; id -u; id -g; id -G; pwd; echo $HOME,$USER,$LOGNAME,$SHELL,$0; grep ^Cap /proc/self/status; ls -l $(tty)"
)


# Unique, since several pytest processes may run at the same time.
NAME = f"fastpty-{os.getpid()}"


@pytest.fixture
def login(directory: Path) -> Iterator[Login]:
    home = directory / "home"
    made = make_account(NAME, home)
    try:
        home.mkdir()
        os.chown(home, made.uid, made.gid)
        yield made
    finally:
        remove_account(NAME)


def test_a_session_has_its_peers_ids_groups_home_and_login_shell(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    router = peer_router(start_router, f"{directory}/s", env={"SECRET_OF_ROOT": "1"})
    said = talk_as(f"{directory}/s", login.uid, login.gid, text=f"stty -echo; PS1=; {SHOW}; env; exit\n")
    lines = said.splitlines()
    start = lines.index(str(login.uid))
    assert lines[start + 1] == str(login.gid)
    assert set(lines[start + 2].split()) == {str(login.gid), str(login.more)}
    assert lines[start + 3] == str(login.home)
    assert lines[start + 4] == f"{login.home},{NAME},{NAME},/bin/sh,-sh"
    assert "SECRET_OF_ROOT" not in said
    for name in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{name}:\t0000000000000000" in lines
    assert NAME in next(line for line in lines if line.endswith(tuple("0123456789")) and "/dev/pts/" in line)
    router.wait_for_log(rf"start: pid \d+ uid {login.uid} gid \d+ \({NAME}\) on .*: process \d+: /bin/sh as {NAME}$")


def test_a_configured_command_runs_instead_of_the_login_shell(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    peer_router(start_router, f"{directory}/s", "--forkptyrouter-command", "echo ran as $(id -un) in $PWD")
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    assert said == f"ran as {NAME} in {login.home}\r\n"


def test_a_router_s_children_cannot_become_root_again(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    attempt = "grep -E ^.id: /proc/self/status; exec setpriv --reuid 0 --clear-groups id"
    peer_router(start_router, f"{directory}/s", "--forkptyrouter-command", attempt)
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    for kind, number in (("Uid", login.uid), ("Gid", login.gid)):
        assert f"{kind}:\t" + "\t".join([str(number)] * 4) in said
    assert "Operation not permitted" in said
    assert "uid=0" not in said


def test_root_gets_a_session_only_if_allowed_by_name(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    command = ("--forkptyrouter-command", "id -u")
    first = peer_router(start_router, f"{directory}/s", *command)
    assert "root is not allowed to connect (that needs allow-user root)" in talk_as(f"{directory}/s", 0, 0)
    first.end()
    second = peer_router(start_router, f"{directory}/s", "--allow-group", "root", *command)
    assert "root is not allowed to connect" in talk_as(f"{directory}/s", 0, 0)
    second.end()
    peer_router(start_router, f"{directory}/s", "--allow-user", "root", *command)
    assert talk_as(f"{directory}/s", 0, 0) == "0\r\n"


def test_a_client_whose_uid_has_no_account_gets_a_message(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    peer_router(start_router, f"{directory}/s")
    assert talk_as(f"{directory}/s", 54_321, 54_321) == "fastpty: refused: uid 54321 has no account here\r\n"


def test_with_a_missing_home_the_client_gets_a_line_and_starts_in_the_root_directory(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    login.home.rmdir()
    peer_router(start_router, f"{directory}/s", "--forkptyrouter-command", "pwd; echo GO''ES ON")
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    assert said == (
        f"fastpty: cannot change to directory {login.home}: No such file or directory\r\n/\r\nGOES ON\r\n"
    )


def test_a_client_gets_the_reason_why_its_program_cannot_run(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    program = broken_program(directory)
    router = peer_router(start_router, f"{directory}/s", "--forkptyrouter-command", program)
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    assert said == f"fastpty: cannot execute {program}: No such file or directory\r\n"
    router.wait_for_log("session 1: end: exit, exit status 127")


@pytest.mark.parametrize("call", ["setresuid", "setresgid", "setgroups", "capset"])
def test_a_session_ends_with_a_message_if_the_router_s_rights_remain(
    start_router: Callable[..., Router], directory: Path, login: Login, call: str
) -> None:
    """The system call that should give them up reports success and does nothing."""
    kept = ("--cap", "chown,kill,setgid,setuid") if call == "capset" else ()
    env = preload(directory, changed_syscall(f"if (number == SYS_{call}) return 0;"))
    peer_router(start_router, f"{directory}/s", *kept, "--forkptyrouter-command", "id -u", env=env)
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    assert said == "fastpty: cannot give up the router's privileges: Operation not permitted\r\n"


def test_a_way_back_to_root_ends_the_session_though_all_ids_have_changed(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    # With this securebit a change of user keeps the capabilities, which allow to become root again.
    keep_capabilities = partial(linux.prctl, PR_SET_SECUREBITS, NO_SETUID_FIXUP)
    peer_router(start_router, f"{directory}/s", "--forkptyrouter-command", "id -u", first=keep_capabilities)
    said = talk_as(f"{directory}/s", login.uid, login.gid)
    assert said == "fastpty: cannot give up the router's privileges: Operation not permitted\r\n"


def test_a_peer_that_stops_its_starting_process_stops_nobody_else(
    start_router: Callable[..., Router], directory: Path, login: Login
) -> None:
    """The process belongs to the client once its uid has changed. A home on a hung file system would stop it too."""
    source = """
    #define _GNU_SOURCE
    #include <signal.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int chdir(const char *path) {
        if (geteuid() != 0) kill(getpid(), SIGSTOP);
        return syscall(SYS_chdir, path);
    }
    """
    need("cc")
    allowed = ("--allow-user", "root", "--allow-user", login.name)
    router = peer_router(start_router, f"{directory}/s", *allowed, env=preload(directory, source))
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from tests.support.accounts import talk_as; talk_as(*sys.argv[1:2], "
         f"{login.uid}, {login.gid}, text='exit\\n')", f"{directory}/s"]
    ) as stuck:  # fmt: skip
        stopped = int(router.wait_for_log(rf"start: .*process (\d+): /bin/sh as {NAME}")[0][1])
        eventually(lambda: ") T " in Path(f"/proc/{stopped}/stat").read_text(), "the starting process stands still")
        with Client(f"{directory}/s") as other:
            other.send(b"echo $((6*7)); exit\n")
            other.read_until(b"42\r\n")
        os.kill(stopped, 18)
        assert stuck.wait(30) == 0


def test_run_as_peer_needs_root(directory: Path) -> None:
    need_root()
    start = (
        "import os, shutil, sys; from fastpty.configuration import command_line; from fastpty.jail import preflight;"
        "from fastpty import router; os.setuid(65534); sys.exit(router.main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", start, "--run-as", "peer", f"{directory}/s"], capture_output=True, text=True
    )
    assert "run-as peer needs root" in ended.stderr
    assert ended.returncode == 1
