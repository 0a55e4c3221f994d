"""A command is found as execvp(3) finds it; one that cannot be executed stops the start, not each client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.system import executables
from tests.support.harness import Client, Router, run
from tests.support.peers import need_root
from tests.support.reloads import reload

Start = Callable[..., Router]


@pytest.fixture
def tool(directory: Path) -> Path:
    """A program in a directory of its own."""
    path = directory / "bin" / "tool"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho here I am\n")
    path.chmod(0o755)
    path.parent.chmod(0o755)
    directory.chmod(0o755)
    return path


def said(path: Path) -> bytes:
    with Client(str(path)) as client:
        return client.read_to_end()


@pytest.mark.parametrize("option", ["--listen-raw", "--pty-socket"])
def test_a_bare_command_is_looked_up_in_path(start_router: Start, directory: Path, tool: Path, option: str) -> None:
    command = ["--command", "tool", "--pty-once"] if option == "--pty-socket" else ["--command", "tool"]
    start_router(option, f"{directory}/s", *command, env={"PATH": f"/nonexistent:{tool.parent}:/bin:/usr/bin"})
    assert said(directory / "s") == b"here I am\r\n"


def test_path_is_that_of_the_sessions(start_router: Start, directory: Path, tool: Path) -> None:
    start_router(f"{directory}/s", "--command", "tool", "--env", f"PATH={tool.parent}")
    assert said(directory / "s") == b"here I am\r\n"


def test_a_bare_command_is_looked_up_for_each_peer(start_router: Start, directory: Path, tool: Path) -> None:
    need_root()
    start_router(
        f"{directory}/s", "--run-as", "peer", "--allow-user", "root", "--command", "tool",
        "--env", f"PATH={tool.parent}",
    )  # fmt: skip
    assert said(directory / "s") == b"here I am\r\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nosuchtool", "'nosuchtool': it is not in PATH (/bin:/usr/bin): give its full path"),
        ("/nonexistent/tool", "'/nonexistent/tool': there is no such file"),
        ("/etc", "'/etc': permission denied"),
        ("/etc/passwd", "'/etc/passwd': permission denied"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--check",)])
def test_a_command_that_cannot_be_executed_stops_the_start_and_the_check(
    directory: Path, command: str, reason: str, flags: tuple[str, ...]
) -> None:
    ended = run(f"{directory}/s", "--command", command, *flags, PATH="/bin:/usr/bin")
    assert ended.stderr.endswith(f"fastpty-router: command: cannot execute {reason}\n")
    assert (ended.returncode, ended.stdout) == (2 if flags else 1, "")
    assert not (directory / "s").exists()


def test_a_command_that_the_jail_may_have_is_a_warning_of_the_check(directory: Path) -> None:
    for jail in (["--unshare", "mount,user"], ["--exec-as-user", "true"]):
        ended = run("--check", f"{directory}/s", "--command", "nosuchtool", *jail)
        assert ended.returncode == 0
        assert "warning: command: outside the jail: cannot execute 'nosuchtool': it is not in PATH" in ended.stderr


def test_the_first_word_of_a_command_with_arguments_is_a_warning_of_the_check(directory: Path) -> None:
    for command, warned in (("nosuchtool -l", 1), ("bash -l", 0), ("exec nosuchtool", 0), ("A=1 nosuchtool", 0)):
        ended = run("--check", f"{directory}/s", "--command", command)
        assert (ended.returncode, ended.stderr.count("cannot execute 'nosuchtool'")) == (0, warned)


def test_a_reload_to_a_command_that_cannot_be_executed_is_refused(start_router: Start, directory: Path) -> None:
    ini = directory / "x.ini"
    ini.write_text(f"[fastpty]\nlisten-raw = {directory}/s\ncommand = echo old\n")
    router = start_router(str(ini))
    ini.write_text(f"[fastpty]\nlisten-raw = {directory}/s\ncommand = nosuchtool\n")
    router.process.send_signal(1)
    router.wait_for_log("reload refused, keeping the old configuration: command: cannot execute 'nosuchtool'")
    assert said(directory / "s") == b"old\r\n"
    ini.write_text(f"[fastpty]\nlisten-raw = {directory}/s\ncommand = id\n")
    reload(router, 1)
    assert said(directory / "s").startswith(b"uid=")


def test_the_lookup_goes_on_after_a_file_that_may_not_be_executed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").touch()
    (tmp_path / "b" / "tool").chmod(0o755)
    assert executables.find("tool", f"{tmp_path}/a:{tmp_path}/b") == f"{tmp_path}/b/tool"
    with pytest.raises(PermissionError):
        executables.find("tool", f"{tmp_path}/a:/nonexistent")
    with pytest.raises(FileNotFoundError):
        executables.find("tool", "/nonexistent")
    assert executables.find("sh", None).endswith("bin/sh")
