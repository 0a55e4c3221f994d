"""The output of `--check`, `show-config` and `print`, from real processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.configuration.options import OPTIONS
from tests.support.harness import Client, Router, run
from tests.support.peers import need_root


def shown(ended: subprocess.CompletedProcess[str]) -> dict[str, list[tuple[str, str]]]:
    """The origin and value of each option in the output of --check."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in ended.stdout.splitlines():
        origin, _, setting = line.partition("  ")
        name, equals, value = setting.strip().partition(" = ")
        assert equals
        found.setdefault(name, []).append((origin, value))
    return found


def test_check_shows_each_value_with_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "jail.ini").write_text(
        "[uwsgi]\nset-ph = base=%d\nforkpty-router = %(base)raw\ninclude = more.json\nforkptyrouter-rows = 1\n"
        "for = A B\nenv = %(_)=x\nendfor\nforkptyrouter-rows = 2\nmaster\n"
    )
    (tmp_path / "more.json").write_text('{"uwsgi": {\n"forkpty-urouter": "%n"}}')
    ended = run(
        "--check", "--max-sessions=7", "jail.ini", cwd=tmp_path, UWSGI_LISTEN="7", FASTPTY_FORKPTYROUTER_COLS="99"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = shown(ended)
    assert found["listen-raw"] == [("jail.ini:3", f"{tmp_path}/raw")]
    assert found["listen-uwsgi"] == [("more.json:2", "more")]
    assert found["rows"] == [("jail.ini:9", "2")]
    assert found["cols"] == [("$FASTPTY_FORKPTYROUTER_COLS", "99")]
    assert found["backlog"] == [("$UWSGI_LISTEN", "7")]
    assert found["max-sessions"] == [("command line", "7")]
    assert found["master"] == [("jail.ini:10", "true")]
    assert found["env"] == [("jail.ini:7", "A=x"), ("jail.ini:7", "B=x")]
    assert found["chmod-socket"] == [("default", "0600")]
    assert set(found) == {"max-sessions", "master", "env", "listen-uwsgi", "listen-raw"} | {
        option.name for option in OPTIONS if option.field and option.default is not None
    }


MAY, MAY_NOT = "clients may choose a command", "clients may not choose a command"


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ([], f"auto ({MAY}: command is not set)"),
        (["--command", "/bin/sh"], f"auto ({MAY}: command is an ordinary shell)"),
        (["--command", "exec sh"], f"auto ({MAY_NOT}: command is not an ordinary shell)"),
        (["--command", "/bin/sh", "--client-command", "no"], "no"),
        (["--client-command", "yes"], "yes"),
        (
            ["--run-as", "peer", "--allow-user", "0"],
            f"auto ({MAY}, and variables that accept-env names: command is not set)",
        ),
    ],
)
def test_check_shows_whether_clients_may_choose_a_command(options: list[str], value: str, tmp_path: Path) -> None:
    if "peer" in options:
        need_root()
    ended = run("--check", "s", *options, cwd=tmp_path)
    assert [shown_value for _, shown_value in shown(ended)["client-command"]] == [value], ended.stderr


def test_check_binds_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nforkpty-router = s\nexec-asap = touch ran\n")
    assert run("--check", "x.ini", cwd=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["x.ini"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("forkptyrouter-rows = 70000", "x.ini:3: forkptyrouter-rows: '70000' is not a whole number from 1 to 65535"),
        ("strict\nbogus = 1", "x.ini:4: unknown option 'bogus'"),
        ("if-env =", "x.ini:3: if-env needs a value"),
    ],
)
def test_check_reports_an_error_in_one_line_with_status_2(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "x.ini").write_text(f"[uwsgi]\nforkpty-router = s\n{lines}\n")
    ended = run("--check", "x.ini", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"fastpty-router: {message}\n")


@pytest.mark.parametrize("option", ["pidfile", "logto", "session-cgroup", "chdir", "command"])
def test_check_names_the_line_of_a_path_that_a_start_could_not_use(tmp_path: Path, option: str) -> None:
    (tmp_path / "x.toml").write_text(f"[fastpty]\nlisten-raw = 's'\n{option} = '/no/such/place'\n")
    ended = run("--check", "x.toml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"fastpty-router: x.toml:3: {option}: ")


def test_check_shows_warnings_too(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nforkpty-router = s\nbogus = %q\x1b\n")
    ended = run("--check", "x.ini", cwd=tmp_path)
    assert ended.returncode == 0
    assert ended.stderr == (
        "fastpty-router: warning: x.ini:3: '%q' is not a variable and is removed (write %% for a %)\n"
        "fastpty-router: warning: x.ini:3: unknown option 'bogus'; ignored\n"
    )


def test_check_shows_the_warnings_before_an_error(tmp_path: Path) -> None:
    """A quoted path is not found. The warning says why."""
    (tmp_path / "x.ini").write_text('[fastpty]\nlisten-raw = "/tmp/s"\n')
    ended = run("--check", "x.ini", cwd=tmp_path)
    warning, error = ended.stderr.splitlines()
    assert warning.startswith("fastpty-router: warning: x.ini:2: listen-raw: the quotes are part of the value")
    assert error.startswith('fastpty-router: cannot listen on "/tmp/s": ')
    assert (ended.returncode, ended.stdout) == (2, "")


def test_the_output_of_check_and_show_config_is_safe_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nforkpty-router = s\nenv = A=%[[31m\nprint = %[[1m\nshow-config\n")
    ended = run("--check", "x.ini", cwd=tmp_path)
    assert "A=\\x1b[31m" in ended.stdout
    assert "\x1b" not in ended.stdout + ended.stderr


def test_show_config_and_print_go_to_the_log_and_the_router_runs(
    start_router: Callable[..., Router], directory: Path
) -> None:
    (directory / "x.ini").write_text(
        f"[uwsgi]\nset-ph = dir={directory}\nforkpty-router = %(dir)/s\nprint = in %(dir)\nshow-config = true\nmaster\n"
    )
    router = start_router(str(directory / "x.ini"))
    listing = router.log.partition(f"in {directory}\n")[2].partition(";end of configuration\n")[0]
    assert listing == (
        f";fastpty-router configuration\n[uwsgi]\nini = {directory}/x.ini\nset-ph = dir={directory}\n"
        f"dir = {directory}\nforkpty-router = {directory}/s\nprint = in {directory}\n"
        "show-config = true\nmaster = true\n"
    )
    with Client(str(directory / "s")) as client:
        client.send(b"exit\n")
        client.read_to_end()


def test_show_config_can_be_false(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nforkpty-router = s\nshow-config = false\n")
    assert run("--check", "x.ini", cwd=tmp_path).stderr == ""


def test_a_router_can_be_configured_by_the_environment_alone(
    start_router: Callable[..., Router], directory: Path
) -> None:
    start_router(env={"UWSGI_FORKPTY_ROUTER": f"{directory}/s", "FASTPTY_FORKPTYROUTER_COMMAND": "echo from $TERM"})
    with Client(str(directory / "s")) as client:
        assert client.read_to_end().startswith(b"from ")
