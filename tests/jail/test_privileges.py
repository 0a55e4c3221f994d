"""Capabilities, groups, umask, directory and process names of router and sessions, read from /proc outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fastpty.system import linux
from fastpty.system.names import CAPABILITIES
from tests.jail.test_jail import entered, status, wanted
from tests.support.first_steps import drop_capability
from tests.support.harness import Client, Router, children
from tests.support.peers import need_root

Start = Callable[..., Router]
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def of(pid: int, *fields: str) -> list[str]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [lines[field].strip() for field in fields]


def session_of(router: Router, path: str) -> tuple[Client, int]:
    """A client, and the pid of its shell as seen from here."""
    client = Client(path)
    client.send(b"echo UP-\n")
    client.read_until(b"-\r\n")
    pid = router.pid
    while found := children(pid):
        (pid,) = found
    return client, pid


@pytest.mark.parametrize(
    "user", [("--uid", "daemon"), ("--uid", "0"), (), ("--unshare", "user,pid", "--uid", "games")]
)
def test_router_and_sessions_have_exactly_the_requested_capabilities(
    user: tuple[str, ...], start_router: Start, directory: Path
) -> None:
    need_root()
    path = str(directory / "socket")
    router = start_router(*user, "--cap", "net_raw,CAP_KILL", path)
    client, shell = session_of(router, path)
    with client:
        mask = f"{1 << CAPABILITIES['net_raw'] | 1 << CAPABILITIES['kill']:016x}"
        assert of(shell, *SETS) == [mask] * 5
        parent = int(of(shell, "PPid")[0])
        assert of(parent, *SETS) == [mask] * 5


def test_the_names_of_capabilities_are_the_kernels() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last == len(CAPABILITIES) - 1
    assert (CAPABILITIES["chown"], CAPABILITIES["sys_admin"], CAPABILITIES["checkpoint_restore"]) == (0, 21, 40)


def test_no_program_of_the_jail_can_gain_a_capability_that_was_not_kept(start_router: Start, directory: Path) -> None:
    need_root()
    path = str(directory / "socket")
    router = start_router(
        "--cap", "kill", path
    )  # still root: what it executes would get all that is in the bounding set
    with Client(path) as client:
        client.send(f"touch {path}-file && chown daemon {path}-file || echo REFU''SED\n".encode())
        client.read_until(b"REFUSED")
    assert router.end() == 0


def test_a_capability_that_the_router_lacks_is_an_error(tmp_path: Path) -> None:
    need_root()
    path = str(tmp_path / "socket")
    router = Router("--cap", "kill,sys_boot", path, first=partial(drop_capability, "sys_boot"))
    assert router.process.wait(30) == 1
    router.end()
    assert "cap: sys_boot cannot be kept, since this process does not have it" in router.log


def test_capabilities_other_than_requested_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    monkeypatch.setattr(linux, "capset", lambda *_: None)  # as if the kernel had done nothing
    with pytest.raises(Exception, match=r"cap: the capabilities cannot be set|the kernel reports other"):
        entered(wanted(("cap", "kill")), lambda: None)


def test_one_capability_too_many_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    set_them, more = linux.capset, 1 << CAPABILITIES["setuid"]
    monkeypatch.setattr(
        linux, "capset", lambda effective, permitted, rest: set_them(effective, permitted | more, rest)
    )
    with pytest.raises(Exception, match="the kernel reports other"):
        entered(wanted(("cap", "kill")), lambda: None)


def test_kept_capabilities_do_not_make_the_change_of_user_reversible() -> None:
    need_root()
    found = entered(wanted(("cap", "net_raw"), ("uid", "daemon")), lambda: [os.getresuid(), os.getresgid()])
    assert found == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ([("uid", "3999999"), ("gid", "5"), ("add-gid", "adm"), ("add-gid", "27")], {5, 4, 27}),
        ([("uid", "3999999"), ("gid", "5"), ("add-gid", "4"), ("no-initgroups", "")], {4}),
        ([("uid", "daemon"), ("no-initgroups", "")], set()),
        ([("add-gid", "4")], {0, 4}),
    ],
)
def test_supplementary_groups_are_the_requested_ones(settings: list[tuple[str, str]], groups: set[int]) -> None:
    need_root()
    found = entered(wanted(*settings), lambda: status("Groups")["Groups"], before=lambda: os.setgroups([0]))
    assert set(map(int, found.split())) == groups


def test_the_immediate_user_is_there_before_the_hooks_and_the_sockets(start_router: Start, directory: Path) -> None:
    need_root()
    directory.chmod(0o1777)
    path, note = directory / "socket", directory / "note"
    immediate = ("--immediate-uid", "daemon", "--immediate-gid", "games")
    router = start_router(*immediate, "--exec-asap", f"id -u >> {note}; id -g >> {note}", str(path))
    assert note.read_text().split() == ["1", "60"]
    assert (path.stat().st_uid, path.stat().st_gid) == (1, 60)
    assert of(router.pid, "Uid", "CapPrm") == ["1\t1\t1\t1", "0" * 16]


def test_the_umask_holds_for_hooks_and_sessions(start_router: Start, directory: Path) -> None:
    path, note = str(directory / "socket"), directory / "note"
    router = start_router("--umask", "037", "--hook-asap", f"create:{note}", path)
    client, shell = session_of(router, path)
    with client:
        assert of(router.pid, "Umask") == of(shell, "Umask") == ["0037"]
    assert note.stat().st_mode & 0o777 == 0o640


def test_the_second_directory_is_the_one_that_sessions_start_in(start_router: Start, directory: Path) -> None:
    path = str(directory / "socket")
    (directory / "second").mkdir()
    router = start_router("--chdir", str(directory), "--chdir2", str(directory / "second"), path)
    assert os.readlink(f"/proc/{router.pid}/cwd") == str(directory / "second")


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("--procname", "terminals"), "terminals"),
        (("--auto-procname",), "fastpty-router worker"),
        (("--procname-prefix", "a-", "--procname-append=-z", "--procname", "m"), "a-m-z"),
        (("--procname-prefix-spaced", "jail1"), "jail1 fastpty-router worker"),
        (("--procname", "x" * 5000), "x" * 20),
    ],
)
def test_the_name_of_the_process_is_seen_in_ps(
    arguments: tuple[str, ...], title: str, start_router: Start, directory: Path
) -> None:
    router = start_router(*arguments, str(directory / "socket"))
    seen = Path(f"/proc/{router.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert seen == title or (len(title) == 20 and seen.startswith(title))
    assert Path(f"/proc/{router.pid}/comm").read_text() == title[:15] + "\n"


def test_master_and_workers_have_their_own_names(start_router: Start, directory: Path) -> None:
    two = ("--forkptyrouter-processes", "2", "--procname", "worker", "--procname-master", "the-master")
    router = start_router(*two, str(directory / "socket"))
    router.wait_for_log("ready$", 2)
    assert Path(f"/proc/{router.process.pid}/comm").read_text() == "the-master\n"
    assert [Path(f"/proc/{pid}/comm").read_text() for pid in children(router.process.pid)] == ["worker\n"] * 2
    assert router.end(signal.SIGTERM) == 0


def test_without_a_name_the_command_line_stays(start_router: Start, directory: Path) -> None:
    router = start_router(str(directory / "socket"))
    assert b"fastpty.router" in Path(f"/proc/{router.pid}/cmdline").read_bytes()
