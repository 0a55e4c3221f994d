"""Mistakes are refused: misspelt options, contradicting flags. --check finds what would make a start fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastpty.configuration import uwsgi_keys
from fastpty.configuration.build import build
from fastpty.configuration.command_line import parse
from fastpty.configuration.language import blocks, loader
from fastpty.configuration.options import BY_NAME
from fastpty.configuration.uwsgi_keys import IGNORED, WITHOUT_MEANING, is_confining, misspelt
from fastpty.errors import UsageError
from tests.support.client_harness import ROOT
from tests.support.harness import Client, Router, run
from tests.support.peers import need, need_root
from tests.support.tls_harness import Authority


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def warnings_of(*argv: str, **environ: str) -> list[str]:
    loaded = loader.load(parse(argv), environ)
    return loaded.warnings + build(loaded.settings)[1]


MISSPELT = [
    ("uidd", "uid"), ("UID", "uid"), ("unshar", "unshare"), ("allow-usr", "allow-user"), ("allow_user", "allow-user"),
    ("denyuser", "deny-user"), ("chrot", "chroot"), ("no-new-priv", "no-new-privs"),
    ("sesion-cgruop", "session-cgroup"),
    ("runas", "run-as"), ("cgruop", "cgroup"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "meant"), MISSPELT)
def test_a_misspelt_key_stops_the_start_even_in_a_uwsgi_section(key: str, meant: str) -> None:
    Path("x.ini").write_text(f"[uwsgi]\nforkpty-router = s\n{key} = www-data\n")
    with pytest.raises(UsageError, match=rf"^x\.ini:3: unknown option '{key}' \(did you mean '{meant}'\?\)$"):
        warnings_of("x.ini")


@pytest.mark.parametrize(
    ("name", "content", "origin"),
    [
        ("x.ini", "[fastpty]\nforkpty-router = s\n[fastpy]\nuid = www-data\n", "x.ini:3"),
        ("x.ini", "[UWSGI]\nuid = www-data\n[uwsgi]\nforkpty-router = s\n", "x.ini:1"),
        ("x.json", '{"uwsgi": {"forkpty-router": "s"}, "uwsg": {"uid": "www-data"}}', "x.json:1"),
        ("x.toml", "[uwsgi]\nforkpty-router = 's'\n[fastpyt]\nuid = 'www-data'\n", "x.toml:3"),
    ],
)
def test_a_misspelt_section_stops_the_start(name: str, content: str, origin: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(UsageError, match=rf"^{origin}: nothing reads the section '\w+' \(did you mean '\w+'\?\)$"):
        warnings_of(name)


def test_a_section_with_another_name_is_ignored() -> None:
    Path("x.ini").write_text("[uwsgi]\nforkpty-router = s\n[app]\nuid = www-data\n[nginx]\nuid = 1\n")
    assert warnings_of("x.ini") == []


@pytest.mark.parametrize("prefix", ["UWSGI_", "FASTPTY_"])
def test_a_misspelt_variable_stops_the_start(prefix: str) -> None:
    with pytest.raises(UsageError, match=r"ALLOW_USR: unknown option 'allow-usr' \(did you mean 'allow-user'\?\)$"):
        warnings_of("s", **{f"{prefix}ALLOW_USR": "kratos"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.ini", "[fastpty]\nforkpty-router = s\nprocesses = 2\n"),
        ("x.json", '{"uwsgi": {"forkpty-router": "s",\n\n"processes": 2}}'),
        ("x.yaml", "uwsgi:\n  forkpty-router: s\n  processes: 2\n"),
        ("x.toml", '[uwsgi]\nforkpty-router = "s"\nprocesses = 2\n'),
    ],
)
def test_every_unknown_key_is_an_error_outside_of_uwsgi_s_sections(name: str, content: str) -> None:
    Path(name).write_text(content)
    with pytest.raises(UsageError, match=rf"^{name}:3: unknown option 'processes'"):
        warnings_of(name)


def test_a_name_set_on_the_command_line_must_be_an_option_or_be_used() -> None:
    with pytest.raises(UsageError, match=r"^command line: unknown option 'shell'$"):
        warnings_of("--set", "shell=x", "s")
    assert warnings_of("--set", "shell=x", "--forkptyrouter-command=%(shell)", "s") == []


def test_a_made_up_key_that_is_used_is_allowed_everywhere() -> None:
    Path("x.ini").write_text("[fastpty]\nforkpty-router = s\nuidd = 0\nuid = %(uidd)\n")
    assert warnings_of("x.ini") == []


def test_no_option_of_uwsgi_counts_as_misspelt() -> None:
    shown = subprocess.run(
        [need("uwsgi"), "--plugins", "corerouter,forkptyrouter,pty", "--help"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    theirs = set(re.findall(r"^ +(?:-.\|)?--([A-Za-z0-9_-]+)", shown.stdout, re.MULTILINE))
    known = {*BY_NAME, *IGNORED, *blocks.WORDS, *WITHOUT_MEANING}
    assert len(theirs) > 700
    assert {name: misspelt(name) for name in theirs - known if not is_confining(name) and misspelt(name)} == {}
    assert not uwsgi_keys._NOT_MISSPELT & known


# Flags that contradict each other


@pytest.mark.parametrize(
    ("others", "named"),
    [
        (["--check"], "--check"),
        (["--reload", "other"], "--reload"),
        (["--stop", "other"], "--stop"),
        (["/tmp/s"], "/tmp/s"),
        (["x.ini"], "x.ini"),
        (["--uid=0"], "--uid"),
    ],
)
def test_an_option_beside_stop_is_refused_and_nothing_is_stopped(
    start_router: Callable[..., Router], directory: Path, others: list[str], named: str
) -> None:
    start_router(f"{directory}/s", "--pidfile", f"{directory}/pid", "--forkptyrouter-command", "echo HERE")
    for argv in (["--stop", f"{directory}/pid", *others], [*others, "--stop", f"{directory}/pid"]):
        ended = run(*argv)
        assert ended.returncode == 2
        assert re.fullmatch(
            rf"fastpty-router: --(stop|reload) takes no other options: remove ({re.escape(named)}|--stop)\n",
            ended.stderr,
        )
    with Client(f"{directory}/s") as client:
        assert client.read_to_end() == b"HERE\r\n"


# What --check finds


REFUSED = [
    (["/tmp/no/such/directory/s"], "cannot listen on /tmp/no/such/directory/s: its directory does not exist"),
    (["file"], "file is a file, not a socket: write --ini file"),
    (["--listen-raw=file"], "cannot listen on file: something else is there"),
    (["x.conf"], "x.conf is a file, not a socket: write --ini x.conf"),
    (["s", "--rows=0"], "--rows: '0' is not a whole number from 1 to 65535"),
    (["s", "--command=bsh"], "command: cannot execute 'bsh': it is not in PATH"),
    (["s", "--command=/no/such/sh"], "command: cannot execute '/no/such/sh': there is no such file"),
    (["s", "--command=./file"], "command: cannot execute './file': permission denied"),
    (["--pty-socket=s", "--pty-exec=bsh"], "pty-exec: cannot execute 'bsh'"),
    (
        ["s", "--pidfile2", "/tmp/no/such/directory/pid"],
        "pidfile2: cannot write /tmp/no/such/directory/pid: its direc",
    ),
    (
        ["s", "--logto2", "/tmp/no/such/directory/log"],
        "logto2: cannot write /tmp/no/such/directory/log: its directory",
    ),
    (["192.0.2.1:7777", "--insecure-tcp"], "cannot listen on 192.0.2.1:7777: "),
    (["s", "--logto", "/tmp/no/such/directory/log"], "logto: cannot write /tmp/no/such/directory/log: its directory"),
    (["s", "--logger", "file:/tmp/no/such/log"], "logger: cannot write /tmp/no/such/log: its directory"),
    (["s", "--daemonize", "/tmp"], "daemonize: cannot write /tmp: something else is there"),
    (["s", "--pidfile", "/tmp/no/such/directory/pid"], "pidfile: cannot write /tmp/no/such/directory/pid: its direc"),
    (["s", "--setns", "/tmp/no/such/ns"], "setns: cannot enter /tmp/no/such/ns: No such file"),
    (["s", "--session-cgroup=/tmp"], "session-cgroup: /tmp is not a version 2 cgroup"),
    (["--pty-socket", "fd://3", "--pty-input"], "pty-input needs a pty-socket with an address"),
    (["s", "--tls-cert", "no", "--tls-key", "no", "--tls-ca", "no"], "tls-ca: "),
    (["s", "--chdir", "/tmp/no/such/directory"], "chdir: cannot enter /tmp/no/such/directory: "),
]


@pytest.mark.parametrize(("argv", "line"), REFUSED)
def test_check_refuses_what_a_start_would_refuse(folder: Path, argv: list[str], line: str) -> None:
    Path("file").touch()
    before = sorted(os.listdir(folder))
    ended = run("--check", *argv)
    assert ended.stderr.startswith(f"fastpty-router: {line}")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert run(*argv).returncode in (1, 2)
    assert sorted(set(os.listdir(folder)) - {"s", "s.lock"}) == before


def test_check_looks_for_the_working_directory_in_the_new_root(folder: Path) -> None:
    need_root()
    (folder / "root" / "work").mkdir(parents=True)
    (folder / "root" / "link").symlink_to("/work")
    argv = ["--check", "s", "--chroot", str(folder / "root")]
    for good in ("/work", "/link", "/"):
        assert run(*argv, "--chdir", good).returncode == 0
    ended = run(*argv, "--chdir2", str(folder))
    assert ended.returncode == 2
    assert f"chdir2: cannot enter {folder}: it is not a directory in {folder}/root" in ended.stderr


# Python starts as root, since another account may be unable to read the checkout.
CHECK_AS_ORDINARY_USER = """
import os, sys
from fastpty.configuration import command_line
from fastpty.jail import preflight
from fastpty.router import main
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(*[54001] * 3)
    os.setresuid(*[54001] * 3)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--chroot", "/tmp"], "chroot needs root"),
        (["--uid", "0"], "uid 0 needs root"),
        (["--run-as", "peer"], "run-as peer needs root"),
        (["--chown-socket", "root"], "only root can give the socket to another owner"),
        (["--cap", "kill"], "cap needs root"),
        (["--listen-raw=/proc/s"], "permission denied"),
    ],
)
def test_check_by_an_ordinary_user_sees_missing_rights(directory: Path, argv: list[str], line: str) -> None:
    program = [sys.executable, "-c", CHECK_AS_ORDINARY_USER, "--check", f"{directory}/s", *argv]
    directory.chmod(0o777)
    ended = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert line in ended.stderr


def test_check_reads_the_files_of_tls(authority: Authority) -> None:
    argv = ["--check", "127.0.0.1:0", *authority.options("router")]
    assert run(*argv).returncode == 0
    for option in ("--tls-cert", "--tls-key", "--tls-ca"):
        ended = run(*argv, option, "/dev/null")  # of two the last one counts
        assert ended.returncode == 2
        assert "cannot be used" in ended.stderr


def test_check_works_while_the_router_runs(start_router: Callable[..., Router], directory: Path) -> None:
    argv = [f"{directory}/s", "--pidfile", f"{directory}/pid", "--logto", f"{directory}/log"]
    start_router(*argv[:3])
    assert run("--check", *argv).returncode == 0


def test_check_accepts_a_missing_directory_that_a_hook_may_make() -> None:
    need_root()
    assert run("--check", "/tmp/no/such/s", "--exec-asap", "true").returncode == 0
    assert run("--check", "s", "--chroot", "/tmp/no/such", "--exec-pre-jail", "true").returncode == 0
