"""Entering the jail: each test forks a child that enters it and inspects the child.

The user and group are numbers without an account, or accounts that every Debian has.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastpty.configuration.build import build
from fastpty.configuration.config import Config
from fastpty.configuration.language.setting import Setting
from fastpty.errors import FastptyError

# All of them are loaded now: a child that becomes nobody may be unable to read their files.
from fastpty.jail import join, namespaces, steps, terminals  # noqa: F401
from tests.support.jails import in_child
from tests.support.peers import need, need_root

NOBODY = 65534
PR_SET_SECUREBITS = 28
NO_SETUID_FIXUP = 1 << 2


def wanted(*settings: tuple[str, str]) -> Config:
    given = [Setting("forkpty-router", "/tmp/x.socket"), *(Setting(name, value) for name, value in settings)]
    return build(given)[0]


def status(*fields: str) -> dict[str, str]:
    """Returns fields of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {field: values[field].strip() for field in fields}


def entered(config: Config, look: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> Any:
    """Enters the jail and returns what `look` returns there. Not for a pid namespace, where another process runs it."""

    def act() -> Any:
        before()
        seen: list[Any] = []
        steps.prepare(config)
        steps.run_inside(config, lambda _: seen.append(look()))
        return seen[0]

    return in_child(act)


def become_nobody() -> None:
    os.setgroups([NOBODY])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def test_a_new_uts_namespace_has_its_own_host_name_and_the_host_keeps_its() -> None:
    need_root()
    need("hostname")
    before = socket.gethostname()
    config = wanted(("unshare", "uts"), ("exec-as-root", "hostname iaminajail"), ("uid", "daemon"))
    assert entered(config, socket.gethostname) == "iaminajail"
    assert socket.gethostname() == before


@pytest.mark.parametrize("name", ["uts", "ipc", "net", "mount", "cgroup"])
def test_each_namespace_is_a_new_one(name: str) -> None:
    need_root()
    link = f"/proc/self/ns/{'mnt' if name == 'mount' else name}"
    assert entered(wanted(("unshare", name)), lambda: os.readlink(link)) != os.readlink(link)


def test_mounts_made_in_the_jail_do_not_show_outside(tmp_path: Path) -> None:
    need_root()
    inside = tmp_path / "inside"
    inside.mkdir()
    # The directory is a shared mount, as / is under systemd: without care, what is mounted below it spreads.
    assert os.system(f"mount --bind {tmp_path} {tmp_path} && mount --make-shared {tmp_path}") == 0
    try:
        config = wanted(("unshare", "fs"), ("exec-as-root", f"mount -t tmpfs none {inside}"))
        assert entered(config, lambda: os.path.ismount(inside)) is True
        assert not os.path.ismount(inside)
    finally:
        os.system(f"umount -R {tmp_path}")


def test_all_ids_and_groups_are_the_users_and_no_capability_is_left() -> None:
    need_root()
    user = pwd.getpwnam("daemon")
    groups = os.getgrouplist("daemon", user.pw_gid)
    found = entered(
        wanted(("uid", "daemon")),
        lambda: status("Uid", "Gid", "Groups", "CapEff", "CapPrm"),
        before=lambda: os.setgroups([0, 4, 27]),
    )
    assert found["Uid"].split() == [str(user.pw_uid)] * 4
    assert found["Gid"].split() == [str(user.pw_gid)] * 4
    assert sorted(map(int, found["Groups"].split())) == sorted(groups)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0


def test_a_user_without_an_account_gets_no_group_but_the_one_given() -> None:
    need_root()
    found = entered(wanted(("uid", "3999999"), ("gid", "3999998")), lambda: status("Uid", "Gid", "Groups"))
    assert found["Uid"].split() == ["3999999"] * 4
    assert found["Gid"].split() == ["3999998"] * 4
    assert found["Groups"] == "3999998"


def test_a_group_alone_changes_the_groups_and_not_the_user() -> None:
    need_root()
    found = entered(
        wanted(("gid", "3999998")),
        lambda: status("Uid", "Gid", "Groups"),
        before=lambda: os.setgroups([0, 4]),
    )
    assert (found["Uid"].split()[0], found["Gid"].split()[2], found["Groups"]) == ("0", "3999998", "3999998")


def test_root_cannot_be_regained() -> None:
    need_root()

    def try_all() -> list[str]:
        done = []
        for name, arguments in (
            ("setuid", (0,)),
            ("seteuid", (0,)),
            ("setresuid", (0, 0, 0)),
            ("setgid", (0,)),
        ):
            try:
                getattr(os, name)(*arguments)
                done.append(name)
            except PermissionError:
                pass
        return done

    assert entered(wanted(("uid", "daemon")), try_all) == []


def test_root_that_could_be_regained_ends_the_start() -> None:
    need_root()

    def keep_capabilities() -> None:
        # With this securebit a change of user leaves the capabilities, and with them the way back.
        assert ctypes.CDLL(None).prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) == 0

    with pytest.raises(FastptyError, match=r"privileges are not gone: setuid\(0\) still works"):
        entered(wanted(("uid", "daemon")), lambda: None, before=keep_capabilities)


@pytest.mark.parametrize("step", ["setresuid", "setresgid", "setgroups"])
def test_a_step_without_effect_ends_the_start(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    # As if the C library's call had lied: the ids are read back, not believed.
    monkeypatch.setattr(os, step, lambda *_: None)
    config = wanted(("uid", "daemon"))
    with pytest.raises(FastptyError, match="the kernel reports other"):
        entered(config, lambda: None)


def test_commands_run_as_root_in_their_order_in_the_namespace_before_privileges_are_dropped(
    tmp_path: Path,
) -> None:
    need_root()
    note = tmp_path / "note"
    config = wanted(
        ("unshare", "uts"),
        ("exec-as-root", f"id -u >> {note}; readlink /proc/self/ns/uts >> {note}"),
        ("exec-as-root", f"echo $GREETING >> {note}"),
        ("env", "GREETING=hello"),
        ("uid", "daemon"),
    )
    namespace = entered(config, lambda: os.readlink("/proc/self/ns/uts"))
    assert note.read_text().split() == ["0", namespace, "hello"]


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("exit 3", "failed with exit status 3"),
        ("nosuchcommand 2>/dev/null", "failed with exit status 127"),
        ("kill -TERM $$", r"was killed by signal 15 \(Terminated\)"),
    ],
)
def test_a_command_that_fails_stops_the_start_and_is_named(command: str, end: str, tmp_path: Path) -> None:
    need_root()
    after = tmp_path / "after"
    config = wanted(("exec-as-root", command), ("exec-as-root", f"touch {after}"))
    with pytest.raises(FastptyError, match=f"^exec-as-root .*{end}$") as caught:
        entered(config, lambda: None)
    assert command in str(caught.value)
    assert not after.exists()


def test_a_command_gets_empty_input_default_signals_and_no_other_descriptor(tmp_path: Path) -> None:
    need_root()
    note = tmp_path / "note"
    secret = os.memfd_create("secret", 0)  # inheritable, as a careless descriptor is

    def before() -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, b"not for the command")
        os.close(write_end)
        os.dup2(read_end, 0)
        os.close(read_end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    command = f"{{ wc -c; ls /proc/self/fd | wc -l; grep -E 'Sig(Ign|Blk)' /proc/self/status; }} > {note}"
    try:
        entered(wanted(("exec-as-root", command)), lambda: None, before=before)
    finally:
        os.close(secret)
    # 0, 1 (the pipe), 2 and the directory that ls reads
    *counts, _, blocked, _, ignored = note.read_text().split()
    assert counts == ["0", "4"]
    # 32 and 33 belong to the C library, and what a parent has made of them cannot be undone through it.
    assert int(blocked, 16) == int(ignored, 16) & ~(3 << 31) == 0


def test_the_working_directory_is_entered_as_the_user(tmp_path: Path) -> None:
    need_root()
    assert entered(wanted(("chdir", "/usr")), os.getcwd) == "/usr"
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(FastptyError, match=f"chdir: cannot enter {closed}: Permission denied"):
        entered(wanted(("chdir", str(closed)), ("uid", "daemon")), lambda: None)
    with pytest.raises(FastptyError, match="No such file"):
        entered(wanted(("chdir", "/nonexistent")), lambda: None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ([("unshare", "uts,ipc")], "unshare=uts,ipc needs CAP_SYS_ADMIN: start as root"),
        ([("exec-as-root", "true")], "exec-as-root needs root"),
        ([("uid", "0"), ("gid", "0")], "uid 0 needs root"),
        ([("uid", "daemon")], "needs root"),
        ([("gid", "daemon")], "needs root"),
    ],
)
def test_without_root_what_needs_it_is_an_error(settings: list[tuple[str, str]], reason: str) -> None:
    need_root()
    with pytest.raises(FastptyError, match=reason):
        entered(wanted(*settings), lambda: None, before=become_nobody)


def test_without_root_the_own_user_and_group_may_be_named() -> None:
    need_root()
    config = wanted(("uid", str(NOBODY)), ("gid", str(NOBODY)))
    assert entered(config, os.getuid, before=become_nobody) == NOBODY


def test_without_options_the_jail_changes_nothing() -> None:
    fields = ("Uid", "Gid", "Groups", "CapEff")
    assert entered(wanted(), lambda: status(*fields)) == status(*fields)
