"""The TLS proxy: its user, its descriptors, and its replacement when it dies."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.system import child
from tests.support.first_steps import become_root_of_a_user_namespace
from tests.support.harness import Router, descriptors, eventually, process_gone
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, attached, proxy_of, status

Start = Callable[..., tuple[Router, int]]


def ids_of(pid: int, kind: str) -> set[int]:
    """Real, effective, saved and of the file system; kind: Uid or Gid."""
    found = re.search(rf"^{kind}:(.*)$", status(pid), re.MULTILINE)
    return {int(word) for word in found[1].split()} if found else set()


@pytest.mark.parametrize("options", [(), ("--run-as", "peer", "--tls-user", "alice=daemon")], ids=["root", "peer"])
def test_the_tls_process_of_root_runs_as_an_unused_user_without_rights(
    tls_router: Start, authority: Authority, options: tuple[str, ...]
) -> None:
    need_root()
    router, port = tls_router(*options, "--forkptyrouter-command", "id -un")
    assert attached(authority, port).stdout == (b"daemon\r\n" if options else b"root\r\n")
    proxy = proxy_of(router)
    (uid,) = ids_of(proxy, "Uid")
    assert ids_of(proxy, "Gid") == {uid}
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    with pytest.raises(KeyError):
        grp.getgrgid(uid)
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != proxy]
    assert not any(uid in ids_of(pid, "Uid") | ids_of(pid, "Gid") for pid in others)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{kind}:\t0000000000000000\n" in status(proxy)
    assert "Groups:\t \n" in status(proxy)
    assert "NoNewPrivs:\t1\n" in status(proxy)


def test_the_tls_processes_of_two_routers_cannot_signal_each_other(tls_router: Start) -> None:
    need_root()
    first, second = (proxy_of(tls_router()[0]) for _ in range(2))
    assert ids_of(first, "Uid").isdisjoint(ids_of(second, "Uid"))


def test_a_process_of_user_nobody_cannot_signal_the_tls_process(tls_router: Start) -> None:
    need_root()
    proxy = proxy_of(tls_router("--run-as", "peer", "--tls-user", "alice=daemon")[0])
    become = "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)"
    attempt = f"import os; {become}; os.kill({proxy}, 9)"
    ended = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True)
    assert "Operation not permitted" in ended.stderr
    assert not process_gone(proxy)


def test_no_session_can_read_the_tls_process_s_memory(tls_router: Start, authority: Authority) -> None:
    """Even as the same user, a session must not be able to read the key."""
    options = ("--uid", "nobody", "--gid", "nogroup") if os.geteuid() == 0 else ()
    router, port = tls_router(*options, "--forkptyrouter-command", "stty -echo; read word; cat /proc/$word/environ")
    proxy = proxy_of(router)
    said = attached(authority, port, text=f"{proxy}\n".encode()).stdout
    assert said.endswith(f"cat: /proc/{proxy}/environ: Permission denied\r\n".encode())


def test_the_tls_process_holds_its_sockets_and_the_log_and_nothing_else(
    authority: Authority, directory: Path
) -> None:
    need_root()  # nobody else may look at what the process holds
    log = directory / "log"
    log.touch()
    router = Router(
        "127.0.0.1:0", *authority.options("server"), "--logger", f"file:{log}", "--pidfile", f"{directory}/pid",
        "--forkptyrouter-stats", f"{directory}/stats", "--forkptyrouter-command", "echo IN",
    )  # fmt: skip
    try:
        eventually(lambda: "ready\n" in log.read_text(), "the router serves")
        os.kill(proxy_of(router), signal.SIGKILL)  # its successor is forked beside a worker
        eventually(lambda: "another one starts" in log.read_text(), "it is replaced")
        (port,) = re.findall(r"listening on 127.0.0.1:(\d+) ", log.read_text())
        assert attached(authority, int(port)).stdout == b"IN\r\n"
        proxy = proxy_of(router)
        eventually(lambda: "Threads:\t2\n" in status(proxy), "no connection is left")
        held = descriptors(proxy)
        assert all(held.pop(fd).startswith("/memfd:nothing") for fd in (0, 1))
        assert held.pop(2).startswith("pipe:")
        kinds = {re.sub(r".*(\(deleted\))$|^(socket:).*", r"\1\2", what) for what in held.values()}
        assert (kinds, len(held)) == ({"(deleted)", "socket:", str(log)}, 3)
        assert not re.search(r"^\S+ rw.s ", Path(f"/proc/{proxy}/maps").read_text(), re.MULTILINE)
    finally:
        router.end()


JAILS = {
    "none": (),
    "another root and user": ("--chroot", "/", "--uid", "nobody", "--gid", "nogroup"),
    "a pid namespace": ("--unshare", "pid,mount"),
}


@pytest.mark.parametrize("jail", JAILS)
def test_a_tls_process_that_dies_is_replaced_also_in_a_jail(
    tls_router: Start, authority: Authority, jail: str
) -> None:
    if JAILS[jail]:
        need_root()
    router, port = tls_router(*JAILS[jail], "--forkptyrouter-command", "echo IN")
    assert attached(authority, port).stdout == b"IN\r\n"
    os.kill(proxy_of(router), signal.SIGKILL)
    router.wait_for_log(r"the TLS proxy \d+ has ended \(killed by SIGKILL\); another one starts")
    assert attached(authority, port).stdout == b"IN\r\n"
    assert router.end() == 0


def test_a_stopped_tls_process_does_not_delay_the_end_of_the_router(tls_router: Start) -> None:
    setup = (
        "import sys; from fastpty import router; from fastpty.gateways import tls_gateway; "
        "tls_gateway._END_SECONDS = 0.2; sys.exit(router.main())"
    )
    router, _ = tls_router(program=["-c", setup])
    proxy = proxy_of(router)
    os.kill(proxy, signal.SIGSTOP)
    assert router.end() == 0
    assert process_gone(proxy)
    assert f"killed the TLS proxy {proxy}, which did not end" in router.log


def test_without_an_unused_user_the_router_warns_and_serves(tls_router: Start, authority: Authority) -> None:
    """Root of a user namespace without other ids, as in some containers."""
    router, port = tls_router("--forkptyrouter-command", "echo IN", first=become_root_of_a_user_namespace)
    router.wait_for_log("the TLS proxy runs as root: there is no unused user id that it could run as")
    assert attached(authority, port).stdout == b"IN\r\n"
    assert "CapEff:\t0000000000000000\n" in status(proxy_of(router))


def test_only_the_descriptors_that_are_named_stay_open() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        extra = os.dup(reader)
        child.keep_only([0, writer])
        still_open = {fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")}
        os._exit(0 if still_open == {0, writer} and extra not in still_open else 1)
    os.close(reader)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0
