"""The four ini files and the Python script of the user's own document run as they are written."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client_harness import terminal_client
from tests.support.harness import PROMPT, Client, Router, children, eventually, frame
from tests.support.peers import need, need_root, need_seed

pytestmark = pytest.mark.whole_machine  # the files name an account and sockets


def ini_files() -> list[str]:
    document = need_seed("[uwsgi]")
    return re.findall(r"^\[uwsgi\]\n(?:[\w-]+ ?= ?.*\n?)+", document, re.M)


@pytest.fixture
def kratos() -> Iterator[pwd.struct_passwd]:
    """The account that the ini files name."""
    need_root()
    try:
        yield pwd.getpwnam("kratos")
        return
    except KeyError:
        pass
    subprocess.run(["useradd", "--user-group", "--no-create-home", "kratos"], check=True)
    yield pwd.getpwnam("kratos")
    subprocess.run(["userdel", "kratos"], check=True)


def sockets_of(text: str) -> list[tuple[str, bool]]:
    return [(path, kind == "urouter") for kind, path in re.findall(r"^forkpty-(u?router) = (\S+)$", text, re.M)]


def say(client: Client, framed: bool, text: bytes) -> None:
    client.send(frame(0, payload=text) if framed else text)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("flag", [[], ["--ini"]])
def test_an_ini_file_runs_as_it_stands(
    kratos: pwd.struct_passwd, start_router: Callable[..., Router], tmp_path: Path, number: int, flag: list[str]
) -> None:
    text = ini_files()[number]
    if "zsh" in text:
        need("zsh")
    file = tmp_path / "jail.ini"
    file.write_text(text)
    before = socket.gethostname()
    places = sockets_of(text)
    router = start_router(*flag, str(file), sockets=len(places))
    for path, framed in places:
        with Client(path) as client:
            say(client, framed, b"hostname; id -u; id -g; id -G; readlink /proc/$$/exe\n")
            numbers = b"%d\r\n%d\r\n%d\r\n" % (kratos.pw_uid, kratos.pw_gid, kratos.pw_gid)
            client.read_until(b"iaminajail\r\n" + numbers)
            client.read_until(b"/zsh\r\n" if "zsh" in text else b"\r\n")
            (shell,) = children(router.pid)
            assert_dropped_for_good(router.pid, kratos)
            assert_dropped_for_good(shell, kratos)
        eventually(lambda: not children(router.pid), "the session has ended")
    assert socket.gethostname() == before
    assert os.readlink("/proc/self/ns/uts") != os.readlink(f"/proc/{router.pid}/ns/uts")


def assert_dropped_for_good(pid: int, account: pwd.struct_passwd) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(account.pw_uid)] * 4
    assert status["Gid"].split() == [str(account.pw_gid)] * 4
    assert status["Groups"].split() == [str(account.pw_gid)]
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


def test_the_document_s_python_script_is_a_terminal(start_router: Callable[..., Router], directory: Path) -> None:
    script = re.search(r"^import socket\n.*?s\.send\(buf\)\n", need_seed("import select"), re.M | re.S)
    assert script
    (directory / "attach.py").write_text(script[0])
    start_router(f"{directory}/s")
    with terminal_client(f"{directory}/s", command=[sys.executable, f"{directory}/attach.py"]) as client:
        client.read_until(PROMPT)
        client.type(b"echo $((6*7))\r")
        client.read_until(b"42\r\n")
        client.type(b"exit\r")
        assert client.wait() == 0
