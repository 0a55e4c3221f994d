"""The lines of the log: text, JSON and the journal's form, and the levels."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.service.test_background import session
from tests.support.harness import PATIENCE_SECONDS, Client, Router, eventually, run
from tests.support.peers import need_root
from tests.support.programs import broken_program
from tests.support.syslog import SYSLOG_SHIM, SyslogDaemon


def listens(path: str) -> bool:
    """True if a socket listens at this path (/proc/net/unix, flag SO_ACCEPTCON)."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(fields[-1] == path and fields[3] == "00010000" for fields in sockets)


def log_of(directory: Path, arguments: Sequence[str], words: str, journal: bool = False) -> list[str]:
    """Runs a router with one session until its log, in a file, has these words; returns the lines."""
    path = directory / "log"
    with open(path, "wb") as log:
        status = os.fstat(log.fileno())
        env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not journal)}"}
        command = [sys.executable, "-m", "fastpty.router", f"{directory}/s", *arguments]
        with subprocess.Popen(command, stderr=log, env=env) as router:
            try:
                eventually(lambda: listens(f"{directory}/s"), "the router listens")
                session(f"{directory}/s")
                eventually(lambda: words in path.read_text(), f"the log has {words!r}")
            finally:
                router.terminate()
            assert router.wait(PATIENCE_SECONDS) == 0
    return path.read_text().splitlines()


def events(lines: Sequence[str], event: str) -> list[dict[str, Any]]:
    return [entry for line in lines if (entry := json.loads(line)).get("event") == event]


def test_json_has_one_object_a_line_with_the_session_s_values(directory: Path) -> None:
    lines = log_of(directory, ["--log-format", "json"], '"event": "end"')
    assert all({"time", "level", "pid", "message"} <= set(json.loads(line)) for line in lines)
    for event in ("start", "end"):
        (entry,) = events(lines, event)
        assert entry["session"] == 1
        assert (entry["uid"], entry["user"]) == (os.geteuid(), pwd.getpwuid(os.geteuid()).pw_name)
        assert (entry["client_pid"], entry["command"], entry["shared"]) == (os.getpid(), "/bin/sh", None)
        assert (entry["listener"], entry["protocol"]) == (f"{directory}/s", "raw")
        assert re.fullmatch(r"pts/\d+", entry["tty"])
        assert entry["message"].startswith(f"session 1: {event}: ")


def test_a_line_of_json_that_is_too_long_is_shortened_and_stays_json(directory: Path) -> None:
    command = "read word; : " + '"' * 10_000
    lines = log_of(directory, ["--log-format", "json", "--forkptyrouter-command", command], "session 1: end")
    assert max(map(len, lines)) <= 4096
    assert any("session 1: start: " in json.loads(line)["message"] for line in lines)


@pytest.mark.parametrize(("line_format", "head"), [("text", r"<6>\[\d+\] \w"), ("json", r'<6>\{"')])
def test_a_line_for_the_journal_has_a_priority_and_no_time(directory: Path, line_format: str, head: str) -> None:
    lines = log_of(directory, ["--log-format", line_format], "session 1: end", journal=True)
    assert all(re.match(head, line) for line in lines)


def test_a_journal_that_is_not_standard_error_changes_nothing(directory: Path) -> None:
    lines = log_of(directory, [], "session 1: end")
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+Z fastpty-router\[\d+\] ", line) for line in lines)


def test_an_error_for_the_journal_has_the_priority_of_an_error(directory: Path) -> None:
    lines = log_of(
        directory, ["--forkptyrouter-command", broken_program(directory)], "session 1: refused", journal=True
    )
    assert any(re.match(r"<3>\[\d+\] session 1: refused ", line) for line in lines)


def test_log_level_leaves_out_what_is_less_important(directory: Path) -> None:
    arguments = ["--log-level", "error", "--forkptyrouter-command", broken_program(directory)]
    lines = log_of(directory, arguments, "refused")
    assert [line.partition("] ")[2].partition(" pid ")[0] for line in lines] == ["session 1: refused"]


def test_syslog_can_have_json(directory: Path) -> None:
    daemon = SyslogDaemon(f"{directory}/log")
    command = [f"{directory}/s", "--log-syslog", "--log-format", "json"]
    with subprocess.Popen([sys.executable, "-c", SYSLOG_SHIM.format(f"{directory}/log", command)]) as process:
        try:
            head, _, line = daemon.read_until(b"ready").partition(b"]: ")
            assert head.startswith(b"<30>")
            assert json.loads(line)["level"] == "info"
        finally:
            process.terminate()
            daemon.socket.close()


def test_a_request_format_of_uwsgi_changes_nothing(start_router: Callable[..., Router], directory: Path) -> None:
    router = start_router(f"{directory}/s", "--log-format", "%(addr) - %(user)")
    router.wait_for_log(r"^\d{4}-\d\d-\d\dT.* ready$")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--log-level", "debug"], "--log-level: must be error, warning, info, not 'debug'"),
        (["--log-format", "xml"], "--log-format: must be text or json, not 'xml'"),
    ],
)
def test_an_unknown_level_or_format_is_reported_in_one_line(
    directory: Path, arguments: list[str], words: str
) -> None:
    ended = run(f"{directory}/s", *arguments)
    assert (ended.returncode, ended.stderr) == (2, f"fastpty-router: {words}\n")


def test_a_client_of_another_pid_namespace_is_named_as_such(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    router = start_router(f"{directory}/s", "--unshare", "pid", "--forkptyrouter-command", "/bin/true")
    with Client(f"{directory}/s") as client:
        client.read_to_end()
    router.wait_for_log(r"session 1: start: pid 0 \(in another pid namespace\) uid 0 gid 0 \(root\) on ")
