"""`fastpty connect ADDR -- COMMAND` in scripts: in pipelines, with closed descriptors, and many at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.harness import Router, children, eventually

Script = Callable[[str], tuple[int, bytes, str]]


@pytest.fixture
def router(start_router: Callable[..., Router], directory: Path) -> Router:
    return start_router(f"{directory}/s")


@pytest.fixture
def script(router: Router, directory: Path) -> Script:
    """Runs a shell script in which `c` is `fastpty connect ADDR`; returns its status, output and complaints."""

    def run(text: str) -> tuple[int, bytes, str]:
        define = f'c() {{ "{sys.executable}" -m fastpty connect "{directory}/s" "$@"; }}\n'
        ended = subprocess.run(["bash", "-c", define + text], cwd=ROOT, capture_output=True, timeout=60)
        return ended.returncode, ended.stdout, ended.stderr.decode()

    return run


def test_a_pipeline_gives_input_and_takes_output(script: Script) -> None:
    text = "seq 1 1000 | c -- sh -c 'stty -echo; grep 99' | tr -d '\\r' | tail -n 1"
    assert script(text) == (0, b"999\n", "")


def test_the_status_in_a_pipeline_is_the_program_s(script: Script) -> None:
    text = "c -- sh -c 'seq 1 10000; exit 4' </dev/null | tail -n 1; echo ${PIPESTATUS[0]}"
    assert script(text) == (0, b"10000\r\n4\n", "")


@pytest.mark.parametrize("command", ["yes", "sh -c 'trap \"\" HUP; yes'"])
def test_head_ends_the_client_and_the_program(router: Router, script: Script, command: str) -> None:
    """With 141, as a program that SIGPIPE ended."""
    assert script(f"c -- {command} </dev/null | head -n 1; echo ${{PIPESTATUS[@]}}") == (0, b"y\r\n141 0\n", "")
    eventually(lambda: not children(router.pid), "the program is gone")


def test_a_program_that_ends_ends_a_writer_of_endless_input(script: Script) -> None:
    assert script("yes | c -- true >/dev/null; echo ${PIPESTATUS[@]}") == (0, b"141 0\n", "")


def test_input_without_a_last_line_end_is_complete(script: Script) -> None:
    """The terminal echoes it, too, if it comes before the program turns that off."""
    status, output, complaint = script("printf 'no end' | c -- sh -c 'stty -echo; cat | tr a-z A-Z'")
    assert (status, output.removeprefix(b"no end"), complaint) == (0, b"NO END", "")


@pytest.mark.parametrize(
    ("closed", "ended"),
    [
        ("<&-", (3, b"out\r\n", "")),
        ("2>&-", (3, b"out\r\n", "")),
        ("<&- 2>&-", (3, b"out\r\n", "")),
        (">&-", (255, b"", "fastpty: cannot write the output: standard output is not open for writing\n")),
        (">&- 2>&-", (255, b"", "")),
    ],
)
def test_closed_descriptors(script: Script, closed: str, ended: tuple[int, bytes, str]) -> None:
    assert script(f"c -- sh -c 'echo out; exit 3' {closed}") == ended


def test_a_full_disk_is_said(script: Script) -> None:
    assert script("c -- echo out >/dev/full") == (
        255, b"", "fastpty: cannot write the output: No space left on device\n"
    )  # fmt: skip


def test_many_at_once_get_their_own_output_and_status(script: Script, router: Router) -> None:
    text = """
    run() { shown=$(c -- sh -c "echo $1; head -c 100000 /dev/zero | tr '\\\\0' $2; exit $1" </dev/null)
            echo $1 $? ${#shown} "$(tr -d $2 <<<"$shown" | tr -d '\\r\\n')"; }
    for number in $(seq 20); do run $number x & done
    wait
    """
    status, output, complaint = script(text)
    assert (status, complaint) == (0, "")
    expected = [[str(n), str(n), str(100_000 + len(str(n)) + 2), str(n)] for n in range(1, 21)]
    assert sorted(line.split() for line in output.decode().splitlines()) == sorted(expected)
    eventually(lambda: not children(router.pid), "all programs are gone")
