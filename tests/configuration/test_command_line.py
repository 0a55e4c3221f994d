"""The command line, as far as reading it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastpty import __version__
from fastpty.configuration.command_line import configure, help_text, parse
from fastpty.configuration.language import loader
from fastpty.configuration.options import OPTIONS
from fastpty.errors import UsageError


def pairs(*argv: str) -> list[tuple[str, str | None]]:
    return [(setting.name, setting.value) for setting in parse(argv)]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: what the person sees, and the exit status."""
    program = "import sys; from fastpty.configuration.command_line import configure; configure(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=20, check=False
    )


def test_an_argument_is_a_raw_socket_and_one_that_ends_in_ini_a_file() -> None:
    assert pairs("/tmp/a", "x.ini") == [("forkpty-router", "/tmp/a"), ("ini", "x.ini")]


def test_flags_and_arguments_may_be_mixed() -> None:
    assert sorted(pairs("--uid", "daemon", "/tmp/a", "--strict", "/tmp/b")) == [
        ("forkpty-router", "/tmp/a"),
        ("forkpty-router", "/tmp/b"),
        ("strict", None),
        ("uid", "daemon"),
    ]


@pytest.mark.parametrize("name", [name for option in OPTIONS if option.metavar for name in option.names])
def test_every_spelling_is_a_flag_that_takes_its_value_after_an_equals_sign(name: str) -> None:
    assert pairs(f"--{name}=1") == [(name, "1")]


@pytest.mark.parametrize(
    "name", [name for option in OPTIONS if option.metavar and not option.bare for name in option.names]
)
def test_every_spelling_is_a_flag_that_takes_the_next_argument(name: str) -> None:
    assert pairs(f"--{name}", "a b") == [(name, "a b")]


def test_chmod_socket_without_a_value_does_not_swallow_the_next_argument() -> None:
    assert sorted(pairs("--chmod-socket", "/tmp/a")) == [
        ("chmod-socket", "0666"),
        ("forkpty-router", "/tmp/a"),
    ]
    assert pairs("--chmod-socket=660") == [("chmod-socket", "660")]


def test_after_two_dashes_everything_is_an_argument() -> None:
    assert pairs("--", "--strict", "--chmod-socket") == [
        ("forkpty-router", "--strict"),
        ("forkpty-router", "--chmod-socket"),
    ]


def test_repeated_flags_keep_their_order() -> None:
    assert pairs("--env", "A=1", "--unenv", "A", "--env=A=2") == [
        ("env", "A=1"),
        ("unenv", "A"),
        ("env", "A=2"),
    ]


def test_a_flag_wins_over_a_file_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "x.ini"
    file.write_text("[uwsgi]\nforkptyrouter-rows = 10\nforkpty-router = /tmp/a\n")
    for argv in (["--forkptyrouter-rows", "20", str(file)], ["--ini", str(file), "--forkptyrouter-rows=20"]):
        assert configure(argv)[0].rows == 20


def test_several_files_are_read_in_their_order(tmp_path: Path) -> None:
    for name, rows in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.ini").write_text(f"[uwsgi]\nforkptyrouter-rows = {rows}\n")
    settings = loader.load(parse([f"--ini={tmp_path}/b.ini", str(tmp_path / "a.ini")]), {}).settings
    assert [setting.value for setting in settings] == ["2", "1"]


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--exec-as-rot", "x"], r"unknown flag --exec-as-rot \(did you mean --exec-as-root\?\)"),
        (["--exec-as-rot=x"], r"unknown flag --exec-as-rot \(did you mean"),
        (["--zzz"], r"unknown flag --zzz \(--help lists all\)"),
        (["--forkptyrouter-row", "3"], r"unknown flag --forkptyrouter-row .*--forkptyrouter-rows"),
        (["-M"], "unknown flag -M"),
        (["--seccomp", "x"], "--seccomp is not supported yet"),
        (["--namespace", "/x"], "--namespace is not supported: use unshare = fs,pid,uts,ipc and pivot-root"),
        (["--if-env", "X"], "--if-env can stand in files only"),
        (["--uid"], "--uid: expected one argument"),
        (["--forkptyrouter-cmd"], "--forkptyrouter-cmd: expected one argument"),
        (["--uid", "--strict"], "--uid: expected one argument"),
        (["--env", "--chmod-socket"], "--env: expected one argument"),
        (["--master=no"], "--master: takes no value, but was given 'no'"),
    ],
)
def test_wrong_usage_is_refused_with_a_reason(argv: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=f"^{reason}"):
        parse(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["--bogus"],
        [],
        ["/tmp/a", "--uid", "nosuchuser"],
        ["/nonexistent/x.ini"],
        ["--chmod-socket=888", "/tmp/a"],
        ["0.0.0.0:7777"],
        ["--bo\ngus\x1b[31m"],
        ["/nonexistent/\n\udcff.ini"],
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_status_2(argv: list[str]) -> None:
    ended = run(*argv)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("fastpty-router: ")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr[:-1].isprintable()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_goes_to_stdout_and_ends_with_status_0(flag: str) -> None:
    ended = run(flag)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", help_text())


def test_help_fits_80_columns_and_names_every_option_and_default() -> None:
    shown = help_text()
    assert max(len(line) for line in shown.splitlines()) < 80
    assert shown.startswith("usage: fastpty-router ")
    words = " ".join(shown.split())
    for option in OPTIONS:
        assert all(f"--{name}" in words for name in option.names)
        assert option.help in words
        assert option.default is None or f"(default: {option.default})" in words
    assert "--chmod-socket[=MODE]" in words


def test_version_goes_to_stdout_and_ends_with_status_0() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"fastpty-router {__version__}\n")
