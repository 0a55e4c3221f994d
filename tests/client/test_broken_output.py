"""Help, errors and reports of both commands where the output is closed, full, or in a limited encoding."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest

from tests import ROOT

CLIENT = [sys.executable, "-m", "fastpty"]
ROUTER = [sys.executable, "-c", "import sys; from fastpty.__main__ import router; sys.exit(router())"]

SHOWN = [
    [*CLIENT, "--help"],
    [*CLIENT, "--version"],
    [*CLIENT, "connect", "--help"],
    [*ROUTER, "--help"],
    [*ROUTER, "--version"],
    [*ROUTER, "--check", "/tmp/s"],
]
WRONG = [
    [*CLIENT],
    [*CLIENT, "connect", "/tmp/caf\udcc3\u00e9/s"],
    [*CLIENT, "--n\u00f6"],
    [*CLIENT, "connect", "\u00e9:1:2"],
    [*ROUTER, "--n\u00f6"],
    [*ROUTER, "/tmp/caf\udcc3\u00e9.ini"],
    [*ROUTER, "--check", "--rows", "\udcff\u20ac", "/tmp/s"],
]
# Each is empty in its turn, so that the locale decides where nothing else does.
ENVIRONMENTS = [
    dict(zip(("LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONCOERCECLOCALE", "TERM"), values, strict=True))
    for values in itertools.product(
        ("C", "C.UTF-8", "en_US.ISO-8859-1", "no_such"),
        ("", "ascii", "latin-1:strict"),
        ("", "0"),
        ("", "0"),
        ("", "x"),
    )
]


def name(command: list[str]) -> str:
    return ascii(" ".join(command[2:]).replace(ROUTER[2], "router"))


def environment(number: int) -> dict[str, str]:
    chosen = {key: value for key, value in ENVIRONMENTS[number % len(ENVIRONMENTS)].items() if value}
    return {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | chosen


def run(command: list[str], stdout: int, stderr: int = subprocess.PIPE, number: int = 0) -> tuple[int, bytes, bytes]:
    argv = [os.fsencode(word) for word in command]
    ended = subprocess.run(argv, cwd=ROOT, env=environment(number), stdout=stdout, stderr=stderr, timeout=60)
    return ended.returncode, ended.stdout or b"", ended.stderr or b""


@pytest.mark.parametrize("command", SHOWN, ids=name)
def test_output_to_a_pipe_without_a_reader_ends_a_command_quietly(command: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        assert run(command, write_end) == (-signal.SIGPIPE, b"", b"")
    finally:
        os.close(write_end)


@pytest.mark.parametrize("command", SHOWN, ids=name)
def test_output_that_cannot_be_written_is_reported_in_one_line_with_a_status(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        status, _, complaint = run(command, full.fileno())
    assert status != 0
    assert complaint.endswith(b": cannot write the output: No space left on device\n")
    assert complaint.count(b"\n") == 1


@pytest.mark.parametrize("command", SHOWN, ids=name)
def test_output_to_a_closed_descriptor_is_reported_in_one_line_with_a_status(command: list[str]) -> None:
    ended = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, capture_output=True, timeout=60)
    assert ended.returncode != 0
    assert b"cannot write the output" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", SHOWN + WRONG, ids=name)
def test_no_locale_causes_a_traceback(command: list[str]) -> None:
    for number in range(0, len(ENVIRONMENTS), 7):  # 7 has no factor in common with the lengths of the lists
        status, output, complaint = run(command, subprocess.PIPE, number=number)
        assert b"Traceback" not in complaint, environment(number)
        assert bool(output) == (command in SHOWN), environment(number)
        if command in WRONG:
            assert status in (2, 255), environment(number)
            lines = [line for line in complaint.splitlines() if line.startswith(b"fastpty")]
            assert len(lines) == 1, environment(number)


@pytest.mark.parametrize("command", WRONG, ids=name)
def test_an_error_that_cannot_be_printed_still_gives_its_status(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        assert run(command, subprocess.DEVNULL, full.fileno())[0] not in (0, 120)


def test_a_help_that_is_cut_short_by_head_ends_quietly() -> None:
    script = '{ "$@"; echo "status $?" >&2; } | head -n 1'
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *ROUTER, "--help"], cwd=ROOT, capture_output=True, timeout=60
    )
    assert ended.stdout.count(b"\n") == 1
    assert ended.stderr in (b"status 0\n", b"status 141\n")
