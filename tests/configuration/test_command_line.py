"""Parsing the command line, and the texts of --help and --help-all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastpty import __version__
from fastpty.configuration import help as help_texts
from fastpty.configuration.command_line import configure, parse
from fastpty.configuration.language import loader
from fastpty.configuration.options import OPTIONS
from fastpty.errors import UsageError


def pairs(*argv: str) -> list[tuple[str, str | None]]:
    return [(setting.name, setting.value) for setting in parse(argv)]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own, for its output and exit status."""
    program = "import sys; from fastpty.configuration.command_line import configure; configure(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=20, check=False
    )


def test_an_argument_is_a_socket_unless_its_ending_is_that_of_a_file_format() -> None:
    assert pairs("/nonexistent/a", "x.ini") == [("listen-raw", "/nonexistent/a"), ("ini", "x.ini")]
    assert pairs("x.xml", "x.toml") == [("xml", "x.xml"), ("toml", "x.toml")]


@pytest.mark.parametrize("between", [[], ["--strict"], ["--"]])
def test_a_second_socket_is_an_error_that_says_what_to_write(between: list[str]) -> None:
    with pytest.raises(
        UsageError, match=r"^@b is a second SOCKET: write --listen-raw before each one that you want$"
    ):
        parse(["@a", *between, "@b"])


def test_a_value_that_needs_an_equals_sign_is_not_taken_for_a_socket() -> None:
    advice = "^--chmod-socket 660 would listen on a socket file named 660: write --chmod-socket=660, or ./660"
    with pytest.raises(UsageError, match=advice):
        parse(["--listen-raw", "/nonexistent/a", "--chmod-socket", "660"])
    assert pairs("--chmod-socket", "./660") == [("chmod-socket", "0666"), ("listen-raw", "./660")]


@pytest.mark.parametrize("name", ["app.conf", "app.cfg", "README"])
def test_a_file_without_a_known_ending_is_not_taken_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README").touch()
    with pytest.raises(UsageError, match=f"^{name} is a file, not a socket: write --ini {name} to read options from"):
        parse([name])
    assert pairs(f"--listen-raw={name}") == [("listen-raw", name)]


def test_flags_and_arguments_may_be_mixed() -> None:
    assert sorted(pairs("--uid", "daemon", "/nonexistent/a", "--strict", "x.ini")) == [
        ("ini", "x.ini"),
        ("listen-raw", "/nonexistent/a"),
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
    assert sorted(pairs("--chmod-socket", "/nonexistent/a")) == [
        ("chmod-socket", "0666"),
        ("listen-raw", "/nonexistent/a"),
    ]
    assert pairs("--chmod-socket=660") == [("chmod-socket", "660")]


def test_after_two_dashes_everything_is_an_argument() -> None:
    assert pairs("--", "--strict", "x.ini") == [("listen-raw", "--strict"), ("ini", "x.ini")]


def test_repeated_flags_keep_their_order() -> None:
    assert pairs("--env", "A=1", "--unenv", "A", "--env=A=2") == [
        ("env", "A=1"),
        ("unenv", "A"),
        ("env", "A=2"),
    ]


def test_a_flag_wins_over_a_file_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "x.ini"
    file.write_text("[uwsgi]\nforkptyrouter-rows = 10\nforkpty-router = /nonexistent/a\n")
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
        (["--exec-as-rot", "x"], r"unknown option --exec-as-rot \(did you mean --exec-as-root\?\)"),
        (["--exec-as-rot=x"], r"unknown option --exec-as-rot \(did you mean"),
        (["--zzz"], r"unknown option --zzz: fastpty-router --help-all shows all"),
        (["--forkptyrouter-row", "3"], r"unknown option --forkptyrouter-row .*--forkptyrouter-rows"),
        (["-M"], "unknown option -M"),
        (["--seccomp", "x"], "--seccomp is not supported"),
        (["--namespace", "/x"], "--namespace is not supported: use unshare = fs,pid,uts,ipc and pivot-root"),
        (["--if-env", "X"], "--if-env works in configuration files only"),
        (["--uid"], "--uid: needs a value"),
        (["--forkptyrouter-cmd"], "--forkptyrouter-cmd: needs a value"),
        (["--uid", "--strict"], "--uid: needs a value"),
        (["--env", "--chmod-socket"], "--env: needs a value"),
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
        ["/nonexistent/a", "--uid", "nosuchuser"],
        ["/nonexistent/x.ini"],
        ["--chmod-socket=888", "/nonexistent/a"],
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


@pytest.mark.parametrize(
    ("flag", "text"), [("--help", help_texts.short()), ("-h", help_texts.short()), ("--help-all", help_texts.full())]
)
def test_help_goes_to_stdout_and_ends_with_status_0(flag: str, text: str) -> None:
    ended = run(flag)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", text)


@pytest.mark.parametrize("text", [help_texts.short(), help_texts.full()])
def test_help_fits_80_columns_and_is_ascii(text: str) -> None:
    assert max(len(line) for line in text.splitlines()) < 80
    assert text.startswith("usage: fastpty-router ")
    assert text.isascii()


def test_help_is_one_screen_with_one_line_for_each_usual_option() -> None:
    lines = help_texts.short().splitlines()
    assert len(lines) <= 40
    usual = [option for option in OPTIONS if option.usual]
    assert [line.split()[0] for line in lines if line.startswith(("  --", "  -h"))] == [
        "-h," if option.name == "help" else option.spelling.split()[0] for option in usual
    ]
    assert all(option.summary in help_texts.short() for option in usual)


def test_help_all_has_every_option_name_and_default() -> None:
    words = " ".join(help_texts.full().split())
    for option in OPTIONS:
        assert all(f"--{name}" in words for name in option.names)
        assert option.help in words
        assert option.default is None or f"Default: {option.default}." in words
    assert "--chmod-socket[=MODE]" in words


def test_version_goes_to_stdout_and_ends_with_status_0() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"fastpty-router {__version__}\n")
