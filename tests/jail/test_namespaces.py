"""A real router in new or existing namespaces, inspected from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.harness import Client, Router, children, eventually, process_gone
from tests.support.jails import AS_NOBODY, NOBODY, said
from tests.support.peers import need, need_root

Start = Callable[..., Router]


def namespace(pid: int | str, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")


def innermost(pid: int) -> int:
    """Follows a chain of only children to its last process, the router inside."""
    while found := children(pid):
        (pid,) = found
    return pid


@pytest.fixture
def path(directory: Path) -> str:
    directory.chmod(0o1777)
    return str(directory / "socket")


@pytest.mark.parametrize("names", ["pid", "pid,mount", "user,pid,mount,net,uts,ipc,cgroup,time"])
def test_in_a_pid_namespace_the_supervisor_is_process_1_and_sessions_see_only_it_and_the_worker(
    names: str, start_router: Start, path: str
) -> None:
    need_root()
    router = start_router("--unshare", names, path)
    init, inside = children(router.process.pid)[0], innermost(router.process.pid)
    assert Path(f"/proc/{inside}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "2"
    for name in names.split(","):
        kind = {"mount": "mnt"}.get(name, name)
        assert namespace(inside, kind) == namespace(init, kind) != namespace("self", kind), kind
    # Process 1, which is the supervisor, the worker and the shell.
    seen = said(path, "echo $PPID $$; echo /proc/[0-9]*")
    assert seen[:2] == ["2", seen[1]]
    if "mount" in names:
        assert sorted(seen[2:]) == sorted(f"/proc/{pid}" for pid in (1, 2, int(seen[1])))


def test_process_1_reaps_orphans(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "pid", path)
    init = children(router.process.pid)[0]
    with Client(path) as client:
        client.send(b"(setsid sleep 0.1 &); exec sleep 100\n")
        eventually(lambda: len(children(init)) == 2, "the orphan has become a child of process 1")
        eventually(lambda: len(children(init)) == 1, "the orphan is reaped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_the_outer_process_stops_the_router_in_order(number: int, start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "pid,mount", path)
    inside = innermost(router.process.pid)
    assert router.end(number) == 0
    assert "stopped" in router.log
    assert process_gone(inside)
    assert not os.path.exists(path)


def test_when_the_outer_process_is_killed_all_ends_even_after_a_change_of_user(
    start_router: Start, path: str
) -> None:
    need_root()
    router = start_router("--unshare", "pid", "--uid", "daemon", path)
    inside = innermost(router.process.pid)
    router.process.kill()
    eventually(lambda: process_gone(inside), "the router inside has ended")


def test_a_killed_supervisor_inside_ends_all_with_a_status_and_a_reason(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "pid", path)
    with Client(path) as client:
        client.send(b"echo $$-\n")
        client.read_until(b"-\r\n")
        os.kill(children(router.process.pid)[0], signal.SIGKILL)
        assert router.process.wait(30) == 1
        client.read_to_end()
    router.end()
    assert "the process in the pid namespace was killed by signal 9" in router.log
    assert not os.path.exists(path)


def test_a_signal_while_the_jail_is_entered_ends_the_start(path: str) -> None:
    need_root()
    router = Router(
        "--unshare", "pid", "--hook-as-root", "print:waiting", "--hook-as-root", "wait_for_fs:/none", path
    )
    router.wait_for_log("waiting")
    assert router.end(signal.SIGTERM) == 0
    assert not os.path.exists(path)


def test_the_process_inside_ends_if_the_one_outside_is_killed_while_the_jail_is_entered(path: str) -> None:
    need_root()
    router = Router(
        "--unshare", "pid", "--hook-as-root", "print:waiting", "--hook-as-root", "wait_for_fs:/none", path
    )
    router.wait_for_log("waiting")
    inside = innermost(router.process.pid)
    router.end(signal.SIGKILL)
    eventually(lambda: process_gone(inside), "the inner process has ended", 10)


def test_several_workers_live_in_the_pid_namespace(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "pid,mount", "--forkptyrouter-processes", "2", path)
    router.wait_for_log("ready$", 2)
    assert said(path, "cat /proc/1/comm && echo $PPID")[1] in ("2", "3")


def test_an_ordinary_user_is_root_inside_and_itself_outside(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "user,uts", "--hook-as-root", "hostname:inside", path, program=AS_NOBODY)
    assert namespace(router.pid, "user") != namespace("self", "user")
    assert Path(f"/proc/{router.pid}/uid_map").read_text().split() == ["0", str(NOBODY), "1"]
    assert Path(f"/proc/{router.pid}/gid_map").read_text().split() == ["0", str(NOBODY), "1"]
    assert Path(f"/proc/{router.pid}/setgroups").read_text().strip() == "deny"
    with Client(path) as client:
        client.send(b"id -u; hostname; echo DONE-\n")
        client.read_until(b"0\r\n", b"inside\r\n", b"DONE-\r\n")
        (shell,) = children(router.pid)
        assert os.stat(f"/proc/{shell}").st_uid == NOBODY
        assert Path(f"/proc/{shell}/status").read_text().split("Uid:")[1].split()[0] == str(NOBODY)
    assert socket.gethostname() != "inside"


def test_an_ordinary_user_gets_a_whole_container(start_router: Start, path: str) -> None:
    need_root()
    ids = ("--uid", "0", "--gid", "0")  # what he is inside anyway
    router = start_router("--unshare", "user,pid,mount,ipc,uts,net,cgroup", *ids, path, program=AS_NOBODY)
    inside = innermost(router.process.pid)
    for kind in ("user", "pid", "mnt", "ipc", "uts", "net", "cgroup"):
        assert namespace(inside, kind) != namespace("self", kind), kind
    assert said(path, "id -u; cat /proc/1/comm | wc -l; ls /proc | grep -c '^[0-9]'")[:2] == ["0", "1"]


def test_root_keeps_all_ids_in_its_user_namespace(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "user", "--uid", "daemon", path)
    assert namespace(router.pid, "user") != namespace("self", "user")
    own = Path("/proc/self/uid_map").read_text().split()
    assert Path(f"/proc/{router.pid}/uid_map").read_text().split() == own
    assert said(path, "id -un; cat /proc/self/setgroups") == ["daemon", "allow"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["--uid", "daemon"], "uid 1 needs root: in a user namespace"),
        (["--gid", "daemon"], "gid 1 needs root: in a user namespace"),
        (["--add-gid", "0"], "add-gid 0 needs root"),
        (["--immediate-uid", "daemon"], "immediate-uid 1 needs root"),
    ],
)
def test_an_ordinary_user_gets_an_error_for_what_a_user_namespace_cannot_give(
    settings: list[str], reason: str, path: str
) -> None:
    need_root()
    router = Router("--unshare", "user", *settings, path, program=AS_NOBODY)
    assert router.process.wait(30) == 1
    router.end()
    assert reason in router.log


def test_a_time_namespace_is_entered_by_the_router_itself(start_router: Start, path: str) -> None:
    need_root()
    router = start_router("--unshare", "time", path)
    assert namespace(router.pid, "time") == namespace(router.pid, "time_for_children") != namespace("self", "time")


def test_unshare2_comes_after_the_change_of_root(start_router: Start, path: str, tmp_path: Path) -> None:
    need_root()
    note = tmp_path / "note"
    arguments = ("--unshare", "uts", "--exec-post-jail", f"readlink /proc/self/ns/ipc /proc/self/ns/uts > {note}")
    router = start_router(*arguments, "--unshare2", "ipc,pid", path)
    inside = innermost(router.process.pid)
    ipc, uts = note.read_text().split()
    assert ipc == namespace("self", "ipc") != namespace(inside, "ipc")
    assert uts == namespace(inside, "uts")
    assert namespace(inside, "pid") != namespace("self", "pid")


@contextmanager
def container(*flags: str, command: str) -> Iterator[int]:
    """Starts a process in new namespaces, waits for its first line, and gives its pid here."""
    with subprocess.Popen(
        [need("unshare"), *flags, "--fork", "--kill-child", "sh", "-c", f"{command}; echo ready; exec sleep 1000"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield innermost(process.pid)
        finally:
            process.kill()


KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


def test_setns_pid_enters_all_namespaces_of_a_container_with_its_root_and_directory(
    start_router: Start, path: str, tmp_path: Path
) -> None:
    need_root()
    root = tmp_path / "root"
    for name in ("bin", "usr", "lib", "lib64", "dev", "proc", "home"):
        (root / name).mkdir(parents=True)
    binds = " && ".join(f"mount --rbind /{name} {root}/{name}" for name in ("bin", "usr", "lib", "lib64", "dev"))
    command = f"{binds} && mount -t proc proc {root}/proc && hostname boxed && cd {root} && exec chroot . sh -c '"
    command += "cd /home && echo ready && exec sleep 1000'"
    with container("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", command=command) as pid:
        router = start_router("--setns-pid", str(pid), path)
        inside = innermost(router.process.pid)
        for kind in KINDS:
            assert namespace(inside, kind) == namespace(pid, kind) != namespace("self", kind), kind
        assert said(path, "pwd; hostname; echo /*; cat /proc/1/comm") == [
            *("/home", "boxed", "/bin", "/dev", "/home", "/lib", "/lib64", "/proc", "/usr", "sleep")
        ]
        assert router.end() == 0


def test_setns_pid_enters_the_container_of_an_ordinary_user_as_its_root(start_router: Start, path: str) -> None:
    need_root()
    with container("--user", "--map-root-user", "--mount", "--uts", command="hostname boxed") as pid:
        router = start_router("--setns-pid", str(pid), path)
        for kind in ("user", "mnt", "uts"):
            assert namespace(router.pid, kind) == namespace(pid, kind) != namespace("self", kind), kind
        assert said(path, "id -u; hostname") == ["0", "boxed"]
        assert router.end() == 0


def test_setns_pid_ends_with_the_container(start_router: Start, path: str) -> None:
    need_root()
    with container("--pid", command="true") as pid:
        router = start_router("--setns-pid", str(pid), path)
    assert router.process.wait(30) == 1
    router.end()
    assert "was killed by signal 9" in router.log


def test_setns_enters_a_directory_of_namespaces_or_one_file(start_router: Start, directory: Path) -> None:
    need_root()
    with container("--net", "--uts", "--pid", command="hostname boxed") as pid:
        router = start_router("--setns", f"/proc/{pid}/ns", str(directory / "all"))
        inside = innermost(router.process.pid)
        for kind in ("net", "uts", "pid"):
            assert namespace(inside, kind) == namespace(pid, kind) != namespace("self", kind), kind
        assert router.end() == 0
        router = start_router("--setns", f"/proc/{pid}/ns/uts", str(directory / "one"))
        assert namespace(router.pid, "uts") == namespace(pid, "uts")
        assert namespace(router.pid, "net") == namespace("self", "net")


def test_setns_takes_the_namespaces_that_a_real_uwsgi_serves(start_router: Start, path: str, tmp_path: Path) -> None:
    need_root()
    served = f"{tmp_path}/ns.socket"
    (tmp_path / "server.ini").write_text(
        f"[uwsgi]\nmaster = true\nplugins = corerouter,forkptyrouter\nforkpty-router = {tmp_path}/other\n"
        f"unshare = uts,ipc\nhook-as-root = hostname:served\nsetns-socket = {served}\n"
    )
    # It is waited for, so both may be started at once.
    with subprocess.Popen([need("uwsgi"), str(tmp_path / "server.ini")], stderr=subprocess.DEVNULL) as server:
        try:
            router = start_router("--setns", served, path)
            assert namespace(router.pid, "uts") == namespace(server.pid, "uts") != namespace("self", "uts")
            assert namespace(router.pid, "ipc") == namespace(server.pid, "ipc") != namespace("self", "ipc")
            assert said(path, "hostname") == ["served"]
            assert router.end() == 0
        finally:
            server.send_signal(signal.SIGINT)


SERVER_OF_SETNS = """
import os, socket, struct, sys
where, uid = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(where.replace("@", "\\0"))
    if not where.startswith("@"):
        os.chmod(where, 0o666)
    namespace = os.open("/proc/self/ns/uts", os.O_RDONLY)
    os.setresuid(*[int(uid)] * 3)
    listener.listen()
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        try:
            socket.send_fds(client, [b"uwsgi-setns" + struct.pack("i", 1)], [namespace])
        except BrokenPipeError:
            pass
"""


@contextmanager
def server_of_setns(where: str, uid: int) -> Iterator[int]:
    """Starts a process that serves its uts namespace as uWSGI does, and gives its pid."""
    argv = [need("unshare"), "--uts", sys.executable, "-c", SERVER_OF_SETNS, where, str(uid)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield server.pid
        finally:
            server.kill()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_setns_refuses_namespaces_that_another_user_serves(
    kind: str, start_router: Start, path: str, tmp_path: Path
) -> None:
    """Any user can take an abstract name first, and would choose the programs in its mount namespace."""
    need_root()
    where = f"{tmp_path}/served" if kind == "path" else f"@{tmp_path}/served"
    with server_of_setns(where, NOBODY):
        router = Router("--setns", where, path)
        assert router.process.wait(30) == 1
        router.end()
        reason = f"the server there runs as uid {NOBODY}: only a server of root or of this user is trusted"
        assert router.lines == [f"fastpty-router: setns={where}: {reason}"]
    with server_of_setns(f"{where}-2", 0) as server:
        router = start_router("--setns", f"{where}-2", path)
        assert namespace(router.pid, "uts") == namespace(server, "uts") != namespace("self", "uts")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--setns-pid", "4194304"], "setns-pid=4194304: there is no such process: is the container running?"),
        (["--setns", "/etc"], "setns=/etc: there are no namespaces there: give /proc/PID/ns, or use setns-pid"),
        (["--setns", "/etc/passwd"], "setns=/etc/passwd: this file is not a namespace"),
    ],
)
def test_missing_namespaces_are_an_error(arguments: list[str], reason: str, path: str) -> None:
    need_root()
    router = Router(*arguments, path)
    assert router.process.wait(30) == 1
    router.end()
    assert reason in router.log
    assert not os.path.exists(path)


def test_without_root_setns_is_an_error_with_a_reason(path: str) -> None:
    need_root()
    router = Router("--setns-pid", str(os.getpid()), path, program=AS_NOBODY)
    assert router.process.wait(30) == 1
    router.end()
    assert (
        "Permission denied (it needs root)" in router.log or "Operation not permitted (it needs root)" in router.log
    )
