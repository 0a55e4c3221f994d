"""File systems of a foreign root that never answer: no worker and no supervisor waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastpty.access import accounts
from fastpty.access.accounts import ForeignAccounts
from fastpty.access.limits import Seats
from fastpty.errors import RefusedError
from fastpty.system import foreign_root
from tests.support.accounts import connected_as, peer_router, talk_as
from tests.support.extension_client import ExtensionClient
from tests.support.harness import PATIENCE_SECONDS, Client, Router, children, descriptors, eventually, process_gone
from tests.support.jails import binds, refused, said, small_root, stuck_files
from tests.support.peers import need, need_root
from tests.support.stuck import STUCK

UID, GID = 54_321, 54_322
SILENT = "its file system does not answer within 5 s"

Start = Callable[..., Router]


class Jail:
    """A root with an account. `own` is for files of the router, `tools` is the first directory in PATH."""

    def __init__(self, directory: Path) -> None:
        need_root()
        directory.chmod(0o1777)
        self.root, self.socket = directory / "root", f"{directory}/s"
        small_root(self.root)
        self.outside = directory / "outside"
        for path in (self.outside, self.root / "etc", self.root / "own", self.root / "tools"):
            path.mkdir()
        (self.root / "etc/passwd").write_text(f"inside:x:{UID}:{GID}::/:/bin/sh\n")
        (self.root / "etc/group").touch()
        self.options = ("--unshare", "mount", *binds(self.root), "--chroot", str(self.root))
        self.options += ("--env", "PATH=/tools:/usr/bin:/bin")

    def has_outside_at(self, path: str) -> tuple[str, ...]:
        """The options, with the directory `outside` mounted here in the jail."""
        return (*self.options, f"--mount-post-jail=none {self.outside} {self.root}{path} bind")


@pytest.fixture
def jail(directory: Path) -> Jail:
    return Jail(directory)


@contextmanager
def bystander(connection: Client) -> Iterator[Callable[[], None]]:
    """A session; gives a function that fails unless the session goes on."""
    with connection as client:
        count = 0

        def goes_on() -> None:
            nonlocal count
            count += 1
            client.send(b"echo go''es on %d\n" % count)
            client.read_until(b"goes on %d\r\n" % count)

        goes_on()
        yield goes_on


# A router that waits for its foreign root longer than any test does.
PATIENT = (
    "-c",
    "import fastpty.system.foreign_root as f, sys\n"
    "f.SECONDS = 1000.0\n"
    "from fastpty.router import main\n"
    "sys.exit(main())\n",
)


def test_accounts_that_do_not_answer_delay_no_other_session(start_router: Start, jail: Jail) -> None:
    router = peer_router(start_router, jail.socket, *jail.options, "--stop-timeout", "1", program=PATIENT)
    with ExitStack() as stack:
        goes_on = stack.enter_context(bystander(Client(connected_as(jail.socket, UID, GID))))
        before = children(router.pid)
        stack.enter_context(stuck_files(jail.root / "etc", router.pid))
        stack.enter_context(Client(connected_as(jail.socket, UID, GID)))
        eventually(lambda: len(children(router.pid)) > len(before), "a process waits for the accounts")
        goes_on()
        (waiting,) = set(children(router.pid)) - set(before)
        eventually(lambda: children(waiting), "another one reads them")
        assert not [name for name in descriptors(waiting).values() if "ptmx" in name], "terminals of other sessions"
        assert router.end() == 0


def test_a_program_without_a_terminal_that_waits_for_a_file_delays_no_other_session(
    start_router: Start, jail: Jail, tmp_path: Path
) -> None:
    """It holds the lock of its standard output meanwhile, if that is a pipe: reading or closing that would wait."""
    (tmp_path / "stuck.c").write_text(STUCK)
    subprocess.run([need("cc"), "-w", "-o", jail.root / "tools/stuck", tmp_path / "stuck.c"], check=True)
    router = start_router("--listen-raw", jail.socket, *jail.options, "--stop-timeout", "1")
    with bystander(Client(jail.socket)) as goes_on, stuck_files(jail.root / "own", router.pid, silent=False):
        with ExtensionClient(jail.socket) as client:
            client.execute("stuck", "write", "/own/file")
            client.read_output_until(b"READY")
            reads = jail.root / "own.reads"
            eventually(lambda: reads.stat().st_size > 0, "the program is stuck")
        for _ in range(3):
            goes_on()
        assert router.end() == 0
        assert "does not stop" not in router.log


def test_a_client_whose_account_cannot_be_read_is_refused(start_router: Start, jail: Jail) -> None:
    router = peer_router(start_router, jail.socket, *jail.options)
    with stuck_files(jail.root / "etc", router.pid):
        why = f"the accounts of this root cannot be read: {SILENT}"
        with Client(connected_as(jail.socket, UID, GID)) as client:
            assert client.read_to_end() == f"fastpty: refused: {why}\r\n".encode()
        router.wait_for_log(f"session 1: refused pid .* uid {UID} .*: {why}$")
        assert router.end() == 0
    assert "session 1: start" not in router.log


def test_a_first_process_that_outlives_its_worker_ends_without_a_word(start_router: Start, jail: Jail) -> None:
    router = peer_router(start_router, jail.socket, *jail.options, program=PATIENT)
    (worker,) = router.workers
    with stuck_files(jail.root / "etc", router.pid), Client(connected_as(jail.socket, UID, GID)):
        eventually(lambda: [child for child in children(worker) if children(child)], "one waits for accounts")
        (first,) = [child for child in children(worker) if children(child)]
        os.kill(worker, signal.SIGKILL)
        router.wait_for_log("ready", 2)
    eventually(lambda: process_gone(first), "the accounts' file system has ended, and so has the process")
    assert router.end() == 0
    assert "Traceback" not in router.log


def test_a_client_without_an_account_is_logged_as_refused(start_router: Start, jail: Jail) -> None:
    router = peer_router(start_router, jail.socket, *jail.options)
    for _ in range(30):
        assert talk_as(jail.socket, 1, 1) == "fastpty: refused: uid 1 has no account here\r\n"
    assert talk_as(jail.socket, UID, GID, text="exit\n")
    (start,) = router.wait_for_log("session [0-9]+: start: .*")
    assert start[0].endswith(": /bin/sh as inside")
    router.wait_for_log(f"session [0-9]+: refused pid .* uid 1 gid 1 on {jail.socket} .raw.: uid 1 has no")
    router.wait_for_log("session 31: end: exit, exit status 0")


def test_only_a_few_processes_read_accounts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others wait, so that a file that never answers holds only these."""
    monkeypatch.setattr(foreign_root, "_is_entered", True)
    monkeypatch.setattr(foreign_root, "SECONDS", 0.5)
    monkeypatch.setattr(accounts, "_read", lambda path: "inside:x:7:8::/:/bin/sh\n" if "passwd" in path else "")
    seats = Seats()
    taken = [seats.take(0, 16) for _ in range(16)]
    assert None not in taken
    found = ForeignAccounts(seats)
    with pytest.raises(RefusedError, match=r"cannot be read: its file system does not answer within 0\.5 s"):
        found.find(7)
    seats.give_back(7)
    monkeypatch.setattr(foreign_root, "SECONDS", 30.0)
    assert found.find(7).name == "inside"


@pytest.mark.parametrize("run_as", [[], ["--run-as", "peer", "--allow-user", "root"]])
def test_a_directory_of_path_that_never_answers_delays_no_session(
    start_router: Start, jail: Jail, run_as: list[str]
) -> None:
    (jail.root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    router = start_router(*jail.options, *run_as, "--command", "id", jail.socket)
    with stuck_files(jail.root / "tools", router.pid):
        for count in (1, 2):
            with Client(jail.socket) as client:
                assert client.read_to_end().startswith(b"uid=0")
            os.kill(router.pid, signal.SIGKILL)
            router.wait_for_log("ready$", count + 1)
        assert router.end() == 0


def test_a_directory_of_path_that_never_answers_is_an_error_at_the_start(jail: Jail) -> None:
    with stuck_files(jail.outside):
        log = refused(*jail.has_outside_at("/tools"), "--command", "id", jail.socket)
    assert f"cannot look for the command in PATH: {SILENT}" in log


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("logto2", "cannot log to /own/file"),
        ("daemonize2", "cannot log to /own/file"),
        ("pidfile2", "cannot write pidfile /own/file"),
    ],
)
def test_a_file_that_never_answers_is_an_error_at_the_start(jail: Jail, option: str, error: str) -> None:
    with stuck_files(jail.outside):
        log = refused(*jail.has_outside_at("/own"), f"--{option}", "/own/file", jail.socket)
    assert f"fastpty-router: {error}: {SILENT}" in log


@contextmanager
def serving(jail: Jail, *options: str) -> Iterator[Router]:
    """A router whose log goes into the jail."""
    router = Router(*options, jail.socket)
    try:
        eventually(lambda: serves(jail.socket), "it serves")
        yield router
    finally:
        router.destroy()


def serves(path: str) -> bool:
    try:
        return said(path, "echo IN") == ["IN"]
    except (FileNotFoundError, ConnectionRefusedError):  # it has not bound the socket, or does not listen yet
        return False


def wait_for(log: Path, text: str) -> None:
    eventually(lambda: log.exists() and text in log.read_text(), f"{text!r} in the log")


def test_a_log_that_cannot_be_reopened_delays_nobody(jail: Jail) -> None:
    log = jail.root / "own/log"
    with ExitStack() as stack:
        router = stack.enter_context(serving(jail, *jail.options, "--logto2", "/own/log"))
        goes_on = stack.enter_context(bystander(Client(jail.socket)))
        stack.enter_context(stuck_files(jail.root / "own", router.pid))
        router.process.send_signal(signal.SIGHUP)
        goes_on()
        assert said(jail.socket, "echo IN") == ["IN"]
        wait_for(log, f"cannot reopen the log /own/log: {SILENT}")
        wait_for(log, "reload refused, keeping the old configuration: the jail has another root")
        wait_for(log, "session 3: end")
        assert router.end() == 0
    wait_for(log, "] stopped")


def test_the_log_is_complete_when_the_router_has_ended(jail: Jail) -> None:
    log = jail.root / "own/log"
    options = (*jail.options, "--unshare", "pid")  # the kernel kills the process that writes the log, too
    with serving(jail, *options, "--logto2", "/own/log") as router:
        assert router.end() == 0
        assert "] stopped\n" in log.read_text()


def test_a_log_whose_writes_never_end_delays_nobody(jail: Jail) -> None:
    options = (*jail.has_outside_at("/own"), "--logto2", "/own/log")
    with stuck_files(jail.outside, silent=False), serving(jail, *options) as router:
        assert said(jail.socket, "echo IN") == ["IN"]
        router.process.send_signal(signal.SIGHUP)
        assert said(jail.socket, "echo IN") == ["IN"]
        assert router.end() == 0


def test_a_pid_file_that_cannot_be_removed_does_not_delay_the_end(start_router: Start, jail: Jail) -> None:
    router = start_router(*jail.options, "--pidfile2", "/own/pid", "--vacuum", jail.socket)
    with stuck_files(jail.root / "own", router.pid):
        assert router.end() == 0
        assert not router._reader.is_alive(), "no process is left that holds the router's output"
    assert f"pidfile /own/pid was not removed: {SILENT}" in router.log


def test_a_pid_file_on_a_file_system_that_may_not_answer_is_refused(jail: Jail) -> None:
    """Its close at the router's end could block. A ramfs stands for FUSE, NFS and others."""
    mount = "--hook-as-root=mount:ramfs none /own"
    log = refused(*jail.options, mount, "--pidfile2", "/own/pid", jail.socket)
    why = "its file system may depend on another process: choose another directory"
    assert f"cannot write pidfile /own/pid: {why}" in log


def test_a_router_that_serves_uses_no_path_of_its_root_itself(jail: Jail) -> None:
    """Only the device 5:2 below a descriptor, which the kernel answers."""
    log, trace = jail.root / "own/log", jail.root.parent / "trace"
    router = Router(
        *("-f", "-qq", "-o", str(trace), "-e", "trace=%file", sys.executable, "-m", "fastpty.router", *jail.options),
        *(
            "--run-as",
            "peer",
            "--chmod-socket=666",
            "--command",
            "id",
            "--logto2",
            "/own/log",
            "--pidfile2",
            "/own/pid",
        ),
        *("--vacuum", jail.socket),
        program=("-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", need("strace")),
    )
    try:
        wait_for(log, "ready")
        (supervisor,) = children(router.process.pid)
        own = [supervisor, children(supervisor)[0]]
        begin = trace.stat().st_size
        assert talk_as(jail.socket, UID, GID).startswith(f"uid={UID}")
        os.kill(supervisor, signal.SIGHUP)
        wait_for(log, "reload refused")
        os.kill(own[1], signal.SIGKILL)
        eventually(lambda: log.read_text().count("] ready") == 2, "another worker serves")
        own.append(children(supervisor)[0])
        assert talk_as(jail.socket, UID, GID).startswith(f"uid={UID}")
        os.kill(supervisor, signal.SIGTERM)
        assert router.process.wait(PATIENCE_SECONDS) == 0
    finally:
        router.destroy()
    calls = [line.split(maxsplit=1) for line in trace.read_text()[begin:].splitlines()]
    paths = [call for pid, call in calls if int(pid) in own and '"' in call and "AT_EMPTY_PATH" not in call]
    assert [call for call in paths if '"ptmx"' not in call] == []
    assert paths, "the trace has the calls for the terminals"


def test_a_stuck_process_in_a_new_pid_namespace_does_not_delay_the_end(start_router: Start, jail: Jail) -> None:
    options = (*jail.options, "--unshare", "pid", "--stop-timeout", "1")
    router = peer_router(start_router, jail.socket, *options, program=PATIENT)
    worker = children(router.pid)[0]
    with stuck_files(jail.root / "etc", worker), Client(connected_as(jail.socket, UID, GID)):
        eventually(lambda: [reader for child in children(worker) for reader in children(child)], "one reads accounts")
        assert router.end() == 0
    assert "a killed process in the pid namespace does not end: not waiting for it any longer" in router.log
