"""The router enters a container: the credentials, groups and environment of its processes, seen from outside."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastpty.errors import FastptyError
from fastpty.jail import privileges, security_label
from fastpty.jail import target as target_module
from fastpty.jail.target import Target, variables
from tests.support.containers import MAPPED, container, mask
from tests.support.control_groups import control_group
from tests.support.harness import Client, Router, children, eventually, process_gone
from tests.support.jails import in_child, said
from tests.support.peers import (
    need,
    need_control_group,
    need_kernel_thread,
    need_root,
    need_unified_control_groups,
)

Start = Callable[..., Router]
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@pytest.fixture
def path(directory: Path) -> str:
    directory.chmod(0o1777)
    return str(directory / "socket")


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()


def of(pid: int, *fields: str) -> list[str]:
    lines = dict(line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [" ".join(lines[field].split()) for field in fields]


def family(pid: int) -> list[int]:
    """Returns a process and all its descendants."""
    return [pid, *(found for child in children(pid) for found in family(child))]


def session(path: str) -> Client:
    client = Client(path)
    client.send(b"echo U''P-\n")
    client.read_until(b"UP-\r\n")
    return client


WAYS = ["setns-pid", "setns-directory", "setns-file", "setns-server"]


@pytest.mark.parametrize("ids", [(), ("--uid", "0", "--gid", "0")])
@pytest.mark.parametrize("way", ["setns-pid", "setns-directory"])
def test_nothing_has_ids_of_the_host_in_a_container_whose_ids_are_mapped(
    way: str, ids: tuple[str, ...], start_router: Start, path: str
) -> None:
    with container("user", "pid", "mount", mapped=True, commands=["mount -t proc proc /proc"]) as pid:
        how = ("--setns-pid", str(pid)) if way == "setns-pid" else ("--setns", f"/proc/{pid}/ns")
        router = start_router(*how, *ids, path)
        with session(path) as client:
            for each in family(router.process.pid):
                assert of(each, "Uid", "Gid") == [" ".join([str(MAPPED)] * 4)] * 2, each
                assert {*of(each, "Groups")[0].split()} <= {str(MAPPED)}, each
                assert os.readlink(f"/proc/{each}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
            client.send(b"echo x > /proc/sys/kernel/core_pattern || echo REFU''SED; id -u; echo E''ND-\n")
            seen = client.read_until(b"REFUSED", b"0\r\n", b"END-")
        assert b"65534" not in seen
        assert router.end() == 0


def own_of(pid: int) -> list[str]:
    return of(pid, "Uid", "Gid", "Groups", *SETS, "NoNewPrivs")


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("ids", "capabilities", "no_new_privs"),
    [
        ({"uid": 1000, "gid": 1001, "groups": [1002, 5]}, 0, True),
        ({"uid": 0, "gid": 0}, mask("chown", "kill", "net_raw", "setuid"), False),
    ],
)
def test_a_session_of_setns_pid_has_the_ids_and_rights_of_the_process_that_it_joins(
    mapped: bool,
    ids: dict[str, Any],
    capabilities: int,
    no_new_privs: bool,
    start_router: Start,
    path: str,
) -> None:
    with container(
        *("pid", "mount"),
        mapped=mapped,
        **ids,
        bounding=capabilities,
        no_new_privs=no_new_privs,
        commands=["mount -t proc proc /proc"],
    ) as pid:
        router = start_router("--setns-pid", str(pid), path)
        with session(path) as client:
            _, supervisor, worker, shell = family(router.process.pid)
            assert own_of(shell) == own_of(supervisor) == own_of(worker) == own_of(pid)
            client.send(b"mount -t tmpfs none /mnt || echo REFU''SED\n")
            client.read_until(b"REFUSED\r\n")
        assert router.end() == 0


def test_options_apply_on_top_of_the_credentials_of_the_joined_process(start_router: Start, path: str) -> None:
    kept = mask("chown", "kill", "net_raw")
    box = {"uid": 1000, "gid": 1000, "bounding": kept, "commands": ["mount -t proc proc /proc"]}
    with container("pid", "mount", **box) as pid:
        for asked, uid, sets in (
            (("--uid", "0", "--gid", "0"), 0, [0, kept, kept, kept, 0]),
            (("--uid", "games"), 5, [0, 0, 0, kept, 0]),
            (("--cap", "net_raw"), 1000, [mask("net_raw")] * 5),
        ):
            router = start_router("--setns-pid", str(pid), *asked, path)
            with session(path):
                shell = family(router.process.pid)[-1]
                assert of(shell, "Uid")[0].split() == [str(uid)] * 4
                assert of(shell, *SETS) == [f"{each:016x}" for each in sets]
            assert router.end() == 0


def test_a_set_uid_program_of_the_container_gains_no_capability_that_the_container_lacks(
    start_router: Start, path: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    shutil.copy(need("cat"), tmp_path / "cat")
    (tmp_path / "cat").chmod(0o4755)
    kept = mask("chown")
    commands = ["mount -t proc proc /proc", f"mount --bind {tmp_path} /mnt"]
    with container("pid", "mount", uid=1000, gid=1000, bounding=kept, commands=commands) as pid:
        router = start_router("--setns-pid", str(pid), "--uid", "games", path)
        seen = said(path, "/mnt/cat /proc/self/status | grep -E 'Cap(Prm|Bnd)'")
        assert seen == ["CapPrm:", f"{kept:016x}", "CapBnd:", f"{kept:016x}"]
        assert router.end() == 0


def test_a_session_of_setns_pid_is_in_the_control_groups_of_the_process_that_it_joins(
    start_router: Start, path: str
) -> None:
    with (
        control_group(need_control_group("memory")) as group,
        container("pid", "mount", cgroups=[group], commands=["mount -t proc proc /proc"]) as pid,
    ):
        router = start_router("--setns-pid", str(pid), path)
        with session(path):
            _, supervisor, worker, shell = family(router.process.pid)
            where = [Path(f"/proc/{each}/cgroup").read_text() for each in (pid, shell, supervisor, worker)]
            assert where[0] == where[1] != where[2] == where[3]
        assert router.end() == 0


def test_the_environment_directory_and_root_are_those_of_the_process_that_is_joined(
    start_router: Start, path: str
) -> None:
    environment = {"PATH": "/bin:/usr/bin", "INSIDE": "yes", "TZ": "Nowhere/Town"}
    with container(
        "pid", "mount", commands=["mount -t proc proc /proc"], directory="/usr", environment=environment
    ) as pid:
        for how in (("--setns-pid", str(pid)), ("--setns", f"/proc/{pid}/ns")):
            router = start_router(
                *how, "--env", "OURS=1", "--exec-as-root", "env > /proc/self/fd/2", path, env={"AWS_SECRET": "host's"}
            )
            seen = said(path, "pwd; env; tr '\\0' '\\n' < /proc/$$/environ")
            if how[0] == "--setns-pid":
                assert seen[0] == "/usr"
            assert {"INSIDE=yes", "TZ=Nowhere/Town", "PATH=/bin:/usr/bin", "OURS=1"} <= set(seen)
            assert "AWS_SECRET" not in " ".join(seen) + router.log
            assert "OURS=1" in router.log
            assert router.end() == 0


def test_without_a_known_process_the_environment_has_nothing_of_the_host(start_router: Start, path: str) -> None:
    with container("pid", "mount", commands=["mount -t proc proc /proc"]) as pid:
        router = start_router("--setns", f"/proc/{pid}/ns/mnt", path, env={"AWS_SECRET": "host's"})
        assert "AWS_SECRET" not in " ".join(said(path, "env"))
        assert router.end() == 0


def test_the_log_says_that_a_seccomp_filter_is_not_taken_over(start_router: Start, path: str) -> None:
    with container("uts", seccomp=True) as pid:
        router = start_router("--setns-pid", str(pid), path)
        line = f"setns-pid={pid}: its seccomp filter cannot be taken over: sessions run without it"
        assert len([each for each in router.lines if line in each]) == 1
        assert router.end() == 0


@pytest.mark.parametrize("kind", ["host", "zombie", "kernel"])
def test_setns_pid_refuses_a_process_that_is_not_in_a_container(kind: str, path: str) -> None:
    thread = need_kernel_thread() if kind == "kernel" else None
    with subprocess.Popen(["sleep", "0" if kind == "zombie" else "1000"]) as process:
        if kind == "zombie":
            eventually(lambda: process_gone(process.pid), "it has ended")
        pid = thread or process.pid
        router = Router("--setns-pid", str(pid), path)
        assert router.process.wait(30) == 1
        router.end()
        process.kill()
    reason = {
        "host": "this process is in no container: its namespaces are the router's own",
        "zombie": f"process {pid} has ended",
        "kernel": f"process {pid} is a thread of the kernel, not a process of a container",
    }[kind]
    assert router.lines == [f"fastpty-router: setns-pid={pid}: {reason}"]
    assert not os.path.exists(path)


def test_setns_pid_refuses_a_process_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may have its pid by then."""
    with container("uts") as pid:
        target = Target(pid)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: process_gone(pid), "it has ended")
        with target, pytest.raises(FastptyError, match=f"process {pid} has ended"):
            target.check_alive()


def test_reading_an_environment_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process places its environment in memory, and can keep others from reading it."""
    monkeypatch.setattr(target_module, "_ENVIRONMENT_SECONDS", 0.2)
    silent, other = os.pipe()
    with container("uts") as pid, Target(pid) as target:
        monkeypatch.setattr(Target, "open", lambda *_: silent)
        with pytest.raises(FastptyError, match=r"cannot be read within .* s: set clear-env"):
            target.environment()
    os.close(other)


def test_an_environment_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with container("uts") as pid, Target(pid) as target:
        monkeypatch.setattr(Target, "open", lambda *_: os.open("/", os.O_RDONLY))
        with pytest.raises(FastptyError, match="cannot be read: set clear-env"):
            target.environment()


def test_malformed_variables_of_a_foreign_environment_are_skipped() -> None:
    data = b"A=1\0=x\0B\0A=2\0C D=3\0E\x1b=4\0F=\xff\n\0"
    assert variables(data) == {"A": "1", "F": "\udcff\n"}


def test_a_system_that_would_make_the_router_traceable_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "suid_dumpable").write_text("1\n")
    monkeypatch.setattr(privileges, "_SUID_DUMPABLE", tmp_path / "suid_dumpable")
    with pytest.raises(FastptyError, match=r"fs.suid_dumpable = 1"):
        in_child(privileges.hide)


class Labelled(Target):
    """Simulates a process with a label, also on a machine without labels."""

    def __init__(self, label: str) -> None:
        self._label = label

    def read(self, name: str, limit: int = 0) -> str:
        assert name.startswith("attr/")
        return self._label


@pytest.mark.parametrize(
    ("module", "theirs", "ours", "wanted"),
    [
        ("apparmor", "docker-default (enforce)\n", "unconfined", "exec docker-default"),
        ("apparmor", "unconfined\n", "docker-default (enforce)", "exec unconfined"),
        ("apparmor", "docker-default (enforce)\n", "docker-default (enforce)", None),
        ("selinux", "system_u:system_r:container_t:s0:c1,c2\0", "x", "system_u:system_r:container_t:s0:c1,c2"),
        ("none", "", "", None),
    ],
)
def test_the_label_of_the_process_that_is_joined_is_asked_for(
    module: str, theirs: str, ours: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / module).write_text("Y\n")
    monkeypatch.setattr(security_label, "_APPARMOR", tmp_path / "apparmor")
    monkeypatch.setattr(security_label, "_SELINUX", tmp_path / "selinux")
    monkeypatch.setattr(security_label, "_own", lambda _: ours)
    found = security_label.of(Labelled(theirs))
    assert (found.text if found else None) == wanted


def test_a_label_that_cannot_be_set_is_an_error() -> None:
    with pytest.raises(FastptyError, match="cannot take the security label 'none-of-these'"):
        in_child(lambda: security_label.apply(security_label.Label("attr/none", "none-of-these")))


def test_a_frozen_container_delays_its_sessions_but_not_the_router(start_router: Start, path: str) -> None:
    """A session's first process enters the control group and is frozen there."""
    with (
        control_group(need_unified_control_groups()) as group,
        container("pid", "mount", cgroups=[group], commands=["mount -t proc proc /proc"]) as pid,
    ):
        router = start_router("--setns-pid", str(pid), "--forkptyrouter-processes", "1", path)
        (group / "cgroup.freeze").write_text("1")
        with Client(path), Client(path):
            router.wait_for_log("session [0-9]+: start", 2)
        (group / "cgroup.freeze").write_text("0")
        assert router.end() == 0


def test_with_session_cgroup_a_session_has_a_control_group_of_its_own(start_router: Start, path: str) -> None:
    with (
        control_group(need_unified_control_groups()) as group,
        container("pid", "mount", cgroups=[group], commands=["mount -t proc proc /proc"]) as pid,
    ):
        router = start_router("--setns-pid", str(pid), f"--session-cgroup={group.parent}", path)
        with session(path):
            shell = family(router.process.pid)[-1]
            (where,) = re.findall(r"^0::(.*)$", Path(f"/proc/{shell}/cgroup").read_text(), re.M)
            assert re.fullmatch(r"/fastpty-[0-9]+/[0-9]+-[0-9]+", where)
        assert router.end() == 0


def test_settings_passed_by_another_user_are_refused(path: str, tmp_path: Path) -> None:
    """A variable of the environment names them, and sudo may let a user pass variables to root."""
    fd = os.memfd_create("fastpty-settings", os.MFD_ALLOW_SEALING)
    os.fchown(fd, 1000, 1000)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    for text in (str(fd), "0", "x", "4000"):
        router = Router(path, env={"_FASTPTY_ANEW": text}, pass_fds=[fd])
        assert router.process.wait(30) == 1
        router.end()
        assert router.lines == ["fastpty-router: $_FASTPTY_ANEW is for the router itself: unset it"]
