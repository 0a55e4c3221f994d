"""The README's examples with `uid`, with another directory and another user of the jail."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.accounts import make_account, remove_account
from tests.support.harness import Client, Router
from tests.support.peers import need_root

README = (ROOT / "README.md").read_text()


KRATOS = f"fastpty-k-{os.getpid()}"  # in place of the user in jail.ini, which has no home


@pytest.fixture
def kratos(directory: Path) -> Iterator[None]:
    make_account(KRATOS, directory / "home")
    yield
    remove_account(KRATOS)


def in_root_s_home() -> None:
    os.chdir(pwd.getpwuid(0).pw_dir)


ROUTER = ("-P", "-m", "fastpty.router")  # root's home may hold a checkout named fastpty, which is no module


def say_who(path: str, prompt: bytes) -> str:
    """The output of a shell that a person attaches to, until it has answered one line."""
    with Client(path) as client:
        client.read_until(prompt)
        client.send(b"echo I am $(id -un), $USER, at home in $HOME; exit\n")
        return client.read_to_end().decode()


def test_the_command_with_uid_gives_a_shell_at_home_in_that_account(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    line = next(line for line in README.splitlines() if re.match(r"    fastpty-router .*--uid ", line))
    program, *arguments = shlex.split(line, comments=True)
    assert program == "fastpty-router"
    words = [word.replace("/run/", f"{directory}/") for word in arguments]
    start_router(*words, preexec=in_root_s_home, program=ROUTER)
    user = arguments[arguments.index("--uid") + 1]
    said = say_who(f"{directory}/fpty.socket", b"$ ")
    assert f"I am {user}, {user}, at home in {pwd.getpwnam(user).pw_dir}\r\n" in said
    assert "denied" not in said


def test_the_jail_of_the_file_gives_a_shell_at_home_in_its_account(
    start_router: Callable[..., Router], directory: Path, kratos: None
) -> None:
    need_root()
    file = directory / "jail.ini"
    found = re.search(r"```ini\n(.*?)```", README, re.S)
    assert found is not None
    file.write_text(found[1].replace("/tmp/", f"{directory}/").replace("nobody", KRATOS))
    router = start_router(str(file), sockets=2, preexec=in_root_s_home, program=ROUTER)
    said = say_who(f"{directory}/jail-raw.socket", b"$ ")
    assert f"I am {KRATOS}, {KRATOS}, at home in {directory}/home\r\n" in said
    assert "denied" not in said
    assert router.end() == 0
