"""The command lines of README.md and of some pages in docs/ do what the text around them says.

They run as they are written, but with a directory of the test's own in place of /tmp, /run and /etc.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from tests.jail.test_namespaces import container
from tests.support.accounts import Login, connected_as, make_account, remove_account
from tests.support.client_harness import terminal_client
from tests.support.documents import Example, blocks, examples, sections
from tests.support.harness import Client, Router, frame
from tests.support.peers import need, need_root

README = ROOT / "README.md"
ALL = [*examples(README), *examples(ROOT / "docs" / "shared-pty.md")]
# Lines that tests/fresh/commands.sh runs on a fresh system.
INSTALLS = [example for example in ALL if example.section == "Install"]
# What to type after such a line, and what shows then.
TYPED = {
    "fastpty connect /tmp/first.socket": ("stty size", "31 97"),
    "socat -,raw,echo=0 UNIX-CONNECT:/tmp/first.socket": ("stty size", "24 80"),
    "fastpty connect --uwsgi /run/jail.socket": (
        "read name < /proc/sys/kernel/hostname; set -- /proc/[1-9]*; echo $name $#",
        "iaminajail 3",
    ),
    "fastpty connect /run/container.socket": (
        "read name < /proc/sys/kernel/hostname; echo name: $name",
        "name: boxed",
    ),
    "fastpty connect /tmp/shared.socket": ("stty size", "24 80"),
    "fastpty connect --uwsgi /tmp/sized.socket": ("stty size", "31 97"),
}
PORT = 7070
"""Of a router in README.md."""

# What such a line prints, as a regular expression.
PRINTED = {
    "fastpty connect /tmp/shell.socket -- df -h / | tr -d '\\r' | tail -n 1": r"\S+ .* \d+% /\n",
    "fastpty connect -w /usr -e NAME=value /tmp/shell.socket -- sh -c 'pwd; echo $NAME; exit 3'": r"/usr\r\nvalue\r\n",
    "fastpty exec /tmp/shell.socket -- sh -c 'echo output; echo error >&2; exit 3' 2>/dev/null": r"output\n",
    "fastpty cp /tmp/shell.socket README.md :/tmp/README.copy": "",
    "fastpty cp /tmp/shell.socket :/bin/ls /tmp/ls.copy": "",
    "echo one two three | fastpty exec /tmp/shell.socket -- wc -w | tr 3 4": r"4\n",
    f"fastpty connect --protocol fpty 127.0.0.1:{PORT} -- uname -r": re.escape(os.uname().release) + r"\r\n",
    "fastpty connect /tmp/df.socket </dev/null | tr -d '\\r' | tail -n 1": r"\S+ .* \d+% /\n",
    "echo 'uname -r; exit' | fastpty connect /tmp/shell.socket": r"(?s).*"
    + re.escape(os.uname().release)
    + r"\r\n.*",
}
# The exit statuses of such lines that do not end with 0.
STATUSES = {line: 3 for line in PRINTED if "exit 3" in line}
# In docs/security.md: to make certificates, to serve and to connect. In docs/performance.md: to measure memory.
CERTIFICATES = [block.text for block in blocks(ROOT / "docs" / "security.md")]
MEMORY = [block.text for block in blocks(ROOT / "docs" / "performance.md")]
PYTHON = [block.text for block in blocks(README) if block.language == "python"]
# Clients that see what others type, and type nothing themselves.
VIEWERS = {"fastpty connect /tmp/viewers.socket": "/tmp/shared.socket"}
SERVICE = "fastpty connect --uwsgi /run/fastpty/login.socket"


def here(text: str, directory: Path) -> str:
    """`text` with the test's directory in place of the directories of the machine, and a port of its own."""
    return re.sub(r"(?<![\w.{])/(tmp|run|etc)/", f"{directory}/", text).replace(f":{PORT}", f":{free_port()}")


@cache
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(example: Example, start_router: Callable[..., Router], directory: Path, pid: int = 0) -> None:
    """Writes the example's files and starts its router."""
    if "s root:" in sections(README).get(example.section, ""):
        need_root()
    written = {}
    for name, content in example.files:
        path = directory / os.path.basename(name)
        path.write_text(here(content, directory))
        written[name] = str(path)
    line = re.sub(r'"\$\(docker .*?\)"', str(pid), example.router)
    _, *arguments = shlex.split(line)
    start_router(*(written.get(word, here(word, directory)) for word in arguments))


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which the two commands are those of this checkout."""
    for name, module in (("fastpty", "fastpty"), ("fastpty-router", "fastpty.router")):
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}:$PYTHONPATH exec {sys.executable} -m {module} "$@"\n')
        command.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_every_command_line_is_tried() -> None:
    tried = {*TYPED, *PRINTED, *VIEWERS, SERVICE}
    lines = [example.line for example in ALL if example not in INSTALLS and not example.starts_a_router]
    assert sorted(set(lines)) == sorted(tried)
    routers = {example.line for example in ALL if example.starts_a_router}
    assert routers - {example.router for example in ALL} == set()


@pytest.mark.parametrize("line", TYPED)
def test_an_attached_terminal_shows_what_the_document_says(
    line: str, start_router: Callable[..., Router], directory: Path, path: str
) -> None:
    example = next(example for example in ALL if example.line == line)
    if line.startswith("socat "):
        need("socat")
    keys, shown = TYPED[line]
    command = ["env", f"PATH={path}", "sh", "-c", f"exec {here(line, directory)}"]
    if "docker" in example.router:
        need_root()
        with container("--uts", command="echo boxed >/proc/sys/kernel/hostname") as pid:
            start(example, start_router, directory, pid)
            type_and_leave(command, keys, shown)
        return
    start(example, start_router, directory)
    type_and_leave(command, keys, shown)


@pytest.mark.parametrize("line", VIEWERS)
def test_a_viewer_sees_what_others_type_and_types_nothing(
    line: str, start_router: Callable[..., Router], directory: Path, path: str
) -> None:
    example = next(example for example in ALL if example.line == line)
    start(example, start_router, directory)
    command = ["env", f"PATH={path}", "sh", "-c", f"exec {here(line, directory)}"]
    with terminal_client(command=command) as viewer, Client(here(VIEWERS[line], directory)) as other:
        viewer.type(b"echo vie''wer\r")
        other.send(b"echo oth''er\n")
        assert b"viewer" not in viewer.read_until(b"other\r\n")  # after the echo, where the word has quotes
        viewer.type(b"~.")
        viewer.read_until(b"disconnected")


def type_and_leave(command: list[str], keys: str, shown: str) -> None:
    with terminal_client(command=command, rows=31, columns=97) as client:
        seen = client.read_until(b"# " if os.geteuid() == 0 and "jail.socket" not in command[-1] else b"$ ")
        assert b"warning" not in seen
        client.type(f"{keys}\r".encode())
        client.read_until(f"\n{shown}\r\n".encode())
        if re.search("shared|sized", command[-1]):  # where `exit` ends the shell, and another one is started
            client.type(b"~.")
            client.read_until(b"disconnected")
        else:
            client.type(b"exit\r")
            assert client.wait() == 0


@pytest.mark.parametrize("line", PRINTED)
def test_a_pipeline_prints_what_the_document_says(
    line: str, start_router: Callable[..., Router], directory: Path, path: str
) -> None:
    example = next(example for example in ALL if example.line == line)
    start(example, start_router, directory)
    ended = subprocess.run(
        ["sh", "-c", here(line, directory)], env={**os.environ, "PATH": path}, capture_output=True, timeout=60
    )
    assert ended.stderr == b""
    assert ended.returncode == STATUSES.get(line, 0)
    assert re.fullmatch(PRINTED[line], ended.stdout.decode())


def test_the_lines_of_python_print_what_they_say(start_router: Callable[..., Router], directory: Path) -> None:
    (code,) = PYTHON
    start_router(f"{directory}/shell.socket")
    command = [sys.executable, "-c", here(code, directory)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    said = re.findall(r"#\s*(.*)$", code, re.M)
    assert ended.stdout.splitlines() == said


@pytest.fixture
def user(directory: Path) -> Iterator[Login]:
    name = f"fastpty-e-{os.getpid()}"
    yield make_account(name, directory / "home")
    remove_account(name)


def test_the_service_gives_each_user_a_login_shell_and_its_unit_starts_it(
    start_router: Callable[..., Router], directory: Path, user: Login
) -> None:
    example = next(example for example in ALL if example.line == SERVICE)
    (config, _), (_, unit) = example.files
    assert re.findall(r"^ExecStart=(.*)$", unit, re.M) == [f"/usr/local/bin/fastpty-router {config}"]
    assert re.findall(r"^RuntimeDirectory=(.*)$", unit, re.M) == ["fastpty"]
    (directory / "fastpty").mkdir()
    router = Example(example.section, example.files, f"fastpty-router {config}", "")
    start(router, start_router, directory)
    with Client(connected_as(f"{directory}/fastpty/login.socket", user.uid, user.gid)) as client:
        client.send(frame(0, payload=b"echo I am $(id -un), at home in $HOME; exit\n"))
        assert f"I am {user.name}, at home in {user.home}\r\n" in client.read_to_end().decode()


def test_the_lines_that_make_certificates_give_the_router_and_the_client_what_they_need(
    start_router: Callable[..., Router], directory: Path, path: str
) -> None:
    need("openssl")
    make, serve, attach = CERTIFICATES
    subprocess.run(["sh", "-ec", make], cwd=directory, check=True, capture_output=True)
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    _, *arguments = shlex.split(serve.replace("7777", port))
    start_router(*(f"{directory}/{word}" if re.search(r"\.(pem|key)$", word) else word for word in arguments))
    attached = subprocess.run(
        ["sh", "-c", f"echo 'echo 6 times 7 is $((6*7)); exit' | {attach.replace('7777', port)}"],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        timeout=60,
    )
    assert (attached.returncode, attached.stderr) == (0, b"")
    assert b"6 times 7 is 42\r\n" in attached.stdout


def test_the_lines_that_measure_memory_print_a_figure_for_supervisor_and_worker(directory: Path, path: str) -> None:
    (measure,) = MEMORY
    lines = ["sh", "-ec", here(measure, directory)]
    shown = subprocess.run(lines, env={**os.environ, "PATH": path}, stdout=subprocess.PIPE, text=True, check=True)
    assert re.fullmatch(r"(Pss: +\d+ kB\n){2}", shown.stdout)
    assert not (directory / "idle.socket").exists()
