"""Pid files locked by another process cannot make `--stop` and `--reload` signal a chosen process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.harness import PATIENCE_SECONDS, Router
from tests.support.peers import need, need_root

NOBODY = 65534

_HOLD = """
import fcntl, os, struct, sys
path, command, kind, uid = sys.argv[1], *map(int, sys.argv[2:])
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
file = os.open(path, os.O_RDONLY if kind == fcntl.F_RDLCK else os.O_RDWR)
fcntl.fcntl(file, command, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
"""

Hold = Callable[..., int]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process that locks a file until the test ends, and returns its id."""
    holders: list[subprocess.Popen[str]] = []

    def start(path: Path, command: int, kind: int, uid: int = 0) -> int:
        arguments = [sys.executable, "-c", _HOLD, str(path), *map(str, (command, kind, uid))]
        holders.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        stdout = holders[-1].stdout
        assert stdout is not None
        assert stdout.readline() == "locked\n"
        return holders[-1].pid

    yield start
    for holder in holders:
        holder.communicate(timeout=PATIENCE_SECONDS)
        assert holder.returncode == 0


@pytest.fixture
def file(directory: Path) -> Path:
    """A pid file that a killed router has left."""
    file = directory / "pid"
    file.write_text("1\n")
    file.chmod(0o644)
    return file


def error_of_stop(file: Path, *command: str) -> str:
    """The error of `--stop`. Its signals are blocked, and the test fails if it tries to send one."""
    calls = "kill,tkill,tgkill,pidfd_send_signal"
    trace = file.with_name("trace")
    ended = subprocess.run(
        [
            *command, need("strace"), "-f", "-o", trace, "-e", f"trace={calls}", "-e", f"inject={calls}:retval=0",
            sys.executable, "-m", "fastpty.router", "--stop", str(file),
        ],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert [line for line in trace.read_text().splitlines() if "(" in line and "+++" not in line] == []
    assert ended.returncode == 1
    return ended.stderr.removeprefix(f"fastpty-router: pidfile {file}")


@pytest.mark.parametrize("command", [fcntl.F_SETLK, fcntl.F_OFD_SETLK])
def test_a_reader_of_a_pid_file_cannot_choose_the_process_that_stop_signals(
    file: Path, hold: Hold, command: int
) -> None:
    need_root()
    hold(file, command, fcntl.F_RDLCK, NOBODY)
    assert error_of_stop(file) == ": no running router holds this pid file\n"


@pytest.mark.parametrize("command", [fcntl.F_SETLK, fcntl.F_OFD_SETLK])
def test_a_reader_of_a_pid_file_cannot_keep_a_router_from_starting(
    start_router: Callable[..., Router], directory: Path, file: Path, hold: Hold, command: int
) -> None:
    need_root()
    hold(file, command, fcntl.F_RDLCK, NOBODY)
    router = start_router(f"{directory}/s", "--pidfile", str(file))
    assert file.read_text() == f"{router.process.pid}\n"


UNNAMED = " is locked by a process whose pid is not visible here (in another pid namespace?)\n"


def test_a_lock_without_a_process_is_refused(file: Path, hold: Hold) -> None:
    """The kernel gives -1 for its owner, which means every process to kill(2)."""
    hold(file, fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
    assert error_of_stop(file) == UNNAMED


def test_a_lock_of_another_pid_namespace_is_refused(file: Path, hold: Hold) -> None:
    """The kernel gives 0 for its owner, which means the process group to kill(2)."""
    need_root()
    hold(file, fcntl.F_SETLK, fcntl.F_WRLCK)
    assert error_of_stop(file, need("unshare"), "--pid", "--fork", "--mount-proc") == UNNAMED


def test_a_pid_file_cannot_name_another_user_s_process(file: Path, hold: Hold) -> None:
    """A lock can outlive its process, and then names the next process with that number."""
    need_root()
    os.chown(file, NOBODY, NOBODY)
    stranger = hold(file, fcntl.F_SETLK, fcntl.F_WRLCK)
    assert error_of_stop(file) == f": process {stranger} does not belong to the file's owner (uid {NOBODY})\n"


def test_a_link_cannot_pass_for_a_pid_file(start_router: Callable[..., Router], directory: Path, file: Path) -> None:
    """Sessions may be able to write to the directory of `pidfile2`, and could have another router stopped."""
    start_router(f"{directory}/s", "--pidfile", f"{directory}/another")
    file.unlink()
    file.symlink_to(directory / "another")
    assert error_of_stop(file).endswith("Too many levels of symbolic links\n")


def test_a_router_that_has_changed_its_user_is_found_by_both_of_its_pid_files(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """One file belongs to root and the other to the new user."""
    need_root()
    (directory / "run").mkdir()
    os.chown(directory / "run", NOBODY, NOBODY)
    files = [directory / "pid", directory / "run" / "pid"]
    router = start_router(
        f"{directory}/s", "--uid", str(NOBODY), "--gid", str(NOBODY), "--pidfile", str(files[0]),
        "--pidfile2", str(files[1]),
    )  # fmt: skip
    assert [file.stat().st_uid for file in files] == [0, NOBODY]
    for count, file in enumerate(files, 1):
        subprocess.run([sys.executable, "-m", "fastpty.router", "--reload", str(file)], check=True)
        router.wait_for_log(r"\] reloaded", count)
