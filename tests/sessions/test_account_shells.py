"""Under `run-as peer` the account's shell runs a client's command: it gets the client's words, whatever they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastpty.wire import extension
from tests.support.accounts import Login, connected_as, make_account, remove_account
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router
from tests.support.peers import need, need_root

Starts = Callable[..., Router]

NAME = "fpty-shells"
SHELLS = ["bash", "dash", "zsh", "fish"]
WORDS = [
    "\\", "; echo PWNED #", "'", "\\'", "\\\\'", "''", "'\\''", "$HOME", "`id`", "$(id)", "a b", "", "*", "~", "!",
    "!!", "a\nb", "%s", "=ls", "{a,b}", "(echo x)", "\\n", '"', "&", "|", "^", "#", "[a]", "?", "<", "\t",
    "ä", "-", "\\",
]  # fmt: skip


@dataclass
class Account:
    """An account, and a router that runs its commands."""

    login: Login
    path: str

    def start(self, *argv: str) -> ExtensionClient:
        """Runs a command as the account."""
        client = ExtensionClient(connected_as(self.path, self.login.uid, self.login.gid))
        client.sock.settimeout(30)
        client.start(argv, more=[(extension.ENVIRONMENT, f"PATH={self.login.home}:/usr/bin:/bin".encode())])
        return client

    def run(self, *argv: str) -> tuple[int, bytes]:
        """Runs a command as the account. Returns its exit status and output."""
        with self.start(*argv) as client:
            return client.status().code, client.output.replace(b"\r\n", b"\n")

    def make(self, name: str) -> None:
        """Puts a program into the account's PATH that prints its arguments."""
        (self.login.home / name).write_text("#!/bin/sh\nprintf '[%s]' program \"$@\"\n")
        (self.login.home / name).chmod(0o755)


@pytest.fixture
def account(request: pytest.FixtureRequest, start_router: Starts, directory: Path) -> Iterator[Account]:
    """An account with the shell that the parameter names."""
    need_root()
    home = directory / "home"
    home.mkdir(mode=0o755)
    login = make_account(NAME, home, need(request.param))
    os.chown(home, login.uid, login.gid)
    path = str(directory / "socket")
    start_router("--fpty-router", path, "--run-as", "peer", "--chmod-socket=666", "--client-command", "yes")
    yield Account(login, path)
    remove_account(NAME)


def every_shell() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("account", SHELLS, indirect=True)


@every_shell()
def test_the_shell_gets_a_clients_words_as_they_are(account: Account) -> None:
    expected = "".join(f"[{word}]\n" for word in WORDS)
    assert account.run("printf", "[%s]\\n", *WORDS) == (0, expected.encode())


@every_shell()
def test_the_shell_takes_the_first_word_for_the_name_of_a_program(account: Account) -> None:
    for name in ["A=B", "=ls", "a@b", "a:b", "a+b", "it's", "a\\b", "a b", "{a,b}", "~", "a%b"]:
        account.make(name)
        assert account.run(name, "/bin/echo", "x") == (0, b"[program][/bin/echo][x]"), name


@pytest.mark.parametrize("account", ["bash", "dash", "zsh"], indirect=True)
def test_the_shell_takes_no_word_for_a_keyword(account: Account) -> None:
    """To fish a word is one although it is quoted."""
    for name in ["if", "while", "case", "{", "!", "function"]:
        account.make(name)
        assert account.run(name, "true") == (0, b"[program][true]"), name


@pytest.mark.parametrize("account", ["git-shell"], indirect=True)
def test_git_shell_serves_a_repository_of_any_name(account: Account) -> None:
    git = need("git")
    for name in ["repository", "it's", "a b", "a!b", "a\\b"]:
        repository = account.login.home / name
        subprocess.run([git, "init", "-q", "--bare", repository], check=True)
        for folder, _, files in os.walk(repository):
            for each in [folder, *(os.path.join(folder, file) for file in files)]:
                shutil.chown(each, account.login.uid, account.login.gid)
        with account.start("git-receive-pack", str(repository)) as client:
            client.read_output_until(b"report-status")


@pytest.mark.parametrize("account", ["git-shell"], indirect=True)
@pytest.mark.parametrize("argv", [["id"], ["sh", "-c", "id"], ["git-upload-pack;id", "x"], ["git-shell", "-c", "id"]])
def test_git_shell_stays_restricted(argv: list[str], account: Account) -> None:
    status, output = account.run(*argv)
    assert status != 0
    assert b"uid=" not in output
