"""`fastpty connect` to a fastpty-router in tmux: the screen must look like that of a local shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.client_harness import CLIENT, piped_client, terminal_client
from tests.support.harness import Router, children, eventually
from tests.support.peers import need
from tests.support.programs import broken_program

PROMPT = "remote:"


class Screen:
    """A tmux of its own, with one window."""

    def __init__(self, directory: Path, columns: int, rows: int, command: list[str]) -> None:
        self._tmux = [need("tmux"), "-S", f"{directory}/tmux", "-f", "/dev/null"]
        environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [*self._tmux, "new-session", "-d", "-x", str(columns), "-y", str(rows), "env PS1=local: /bin/sh"],
            env=environment,
            cwd=ROOT,
            check=True,
        )
        try:
            self.wait_for("local:")
            self.type(" ".join(command), "Enter")
        except BaseException:
            self.close()
            raise

    def type(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def resize(self, columns: int, rows: int) -> None:
        subprocess.run([*self._tmux, "resize-window", "-x", str(columns), "-y", str(rows)], check=True)

    @property
    def shown(self) -> str:
        return subprocess.run([*self._tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True).stdout

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.shown, f"{text!r} on the screen")

    def wait_for_last_line(self, text: str) -> None:
        eventually(
            lambda: self.shown.rstrip().splitlines()[-1:] == [text], f"{text!r} in the last line:\n{self.shown}"
        )

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)


@pytest.fixture
def router(start_router: Callable[..., Router], directory: Path) -> Router:
    return start_router(
        f"{directory}/raw", "--forkpty-urouter", f"{directory}/uwsgi", "--env", f"PS1={PROMPT}", sockets=2
    )


@pytest.fixture(params=["uwsgi", "fpty"])
def screen(router: Router, directory: Path, request: pytest.FixtureRequest) -> Iterator[Screen]:
    """At the remote prompt, 132 columns by 43 rows, over the uwsgi socket, in both protocols that know the size."""
    opened = Screen(directory, 132, 43, [*CLIENT, "connect", "--protocol", request.param, f"{directory}/uwsgi"])
    try:
        opened.wait_for_last_line(PROMPT)
        yield opened
    finally:
        opened.close()


def test_less_fills_the_window_and_follows_its_size(screen: Screen) -> None:
    need("less")
    screen.type("seq 1 500 | less", "Enter")
    screen.wait_for("\n42\n:")
    screen.resize(100, 30)
    screen.wait_for("\n29\n:")
    screen.type("G")
    screen.wait_for("\n500\n(END)")
    screen.type("q")
    screen.wait_for(PROMPT)


def test_vi_edits_a_file(screen: Screen, directory: Path) -> None:
    need("vi")
    screen.type(f"vi {directory}/text", "Enter")
    screen.wait_for("~")
    screen.type("i", "first", "Enter", "second", "Escape", ":wq", "Enter")
    eventually((directory / "text").exists, "vi has written")
    screen.wait_for_last_line(PROMPT)
    assert (directory / "text").read_text() == "first\nsecond\n"


def test_keys_with_a_meaning_belong_to_the_remote_shell(screen: Screen) -> None:
    # From inside the job: between two of its own steps the shell can lose an interrupt.
    job = "sh -c 'echo st\"\"arted %s; exec sleep 1000'"
    screen.type(job % "one", "Enter")
    screen.wait_for("started one")
    screen.type("C-c")
    screen.wait_for("^C")
    screen.wait_for_last_line(PROMPT)
    screen.type(job % "two", "Enter")
    screen.wait_for("started two")
    screen.type("C-z")
    screen.wait_for("Stopped")
    # fg waits for its end: wait(1) returns for a job that is still known as stopped, and the shell keeps such.
    screen.type("kill -9 %1; fg", "Enter")
    screen.wait_for("Killed")
    screen.wait_for_last_line(PROMPT)
    screen.type("cat", "Enter", "typed", "Enter", "C-d")
    screen.wait_for("typed\ntyped\n")
    screen.wait_for_last_line(PROMPT)
    screen.type("C-d")
    screen.wait_for_last_line("local:")
    screen.type("echo status $?", "Enter")
    screen.wait_for("status 0")


def test_wide_characters_are_erased_whole(screen: Screen) -> None:
    """IUTF8: one backspace takes one character, not one byte of it."""
    screen.type("cat >/dev/null", "Enter", "aé", "BSpace", "b", "Enter")
    screen.wait_for("\nab\n")
    screen.type("C-d")


# The commands' options, and the address of a router for them.
WAYS = [
    (["connect"], "raw"),
    (["connect"], "uwsgi"),
    (["connect", "--protocol", "raw"], "raw"),
    (["connect", "--protocol", "uwsgi"], "uwsgi"),
]
LEGACY_WAYS = WAYS[2:]


@pytest.mark.parametrize(
    ("flags", "name"),
    [*WAYS, (["--pty-connect"], "raw"), (["--pty-uconnect"], "uwsgi"), (["connect", "--uwsgi"], "raw")],
)
def test_a_script_piped_in_runs_and_all_its_output_comes(
    router: Router, directory: Path, flags: list[str], name: str
) -> None:
    socket = f"{directory}/{name}"
    done = subprocess.run(
        [*CLIENT, *flags, socket],
        cwd=ROOT,
        input=b"stty -echo; seq 1 20000; echo en''d\n",
        capture_output=True,
        timeout=60,
    )
    assert b"".join(b"%d\r\n" % number for number in range(1, 20_001)) + b"end\r\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("flags", "name"), WAYS)
def test_a_paste_of_a_mebibyte_goes_through_whole(
    router: Router, directory: Path, flags: list[str], name: str
) -> None:
    socket = f"{directory}/{name}"
    text = b"".join(b"%07d %s\n" % (number, b"x" * 55) for number in range(16_384))
    assert len(text) == 1 << 20
    with terminal_client(*flags, "-e", "none", socket) as client:
        client.read_until(PROMPT.encode())
        client.type(b"stty raw -echo; echo re''ady; head -c %d | cmp - %s/text; echo sa''me; stty sane\r"
                    % (len(text), os.fsencode(directory)))  # fmt: skip
        (directory / "text").write_bytes(text)
        client.read_until(b"ready")
        client.type(text)
        assert b"differ" not in client.read_until(b"same")


@pytest.mark.parametrize(("flags", "name"), WAYS)
def test_a_killed_client_leaves_nothing_behind(router: Router, directory: Path, flags: list[str], name: str) -> None:
    with terminal_client(*flags, f"{directory}/{name}") as client:
        client.read_until(PROMPT.encode())
        client.type(b"sleep 1000\r")
        client.read_until(b"sleep 1000\r\n")
    router.wait_for_log("session 1: end: client left")
    eventually(lambda: not children(router.pid), "the shell is gone")


@pytest.mark.parametrize(("options", "status"), [([], 127), (["--protocol", "raw"], 255)])
def test_why_the_command_cannot_run_is_shown(
    start_router: Callable[..., Router], directory: Path, options: list[str], status: int
) -> None:
    program = broken_program(directory)
    start_router(f"{directory}/s", "--forkptyrouter-command", program)
    with piped_client("connect", *options, f"{directory}/s") as client:
        shown, complaint = client.communicate(timeout=60)
    assert (client.returncode, shown) == (status, b"")
    assert complaint == f"fastpty: cannot execute {program}: No such file or directory\n".encode()


def test_the_commands_are_installed() -> None:
    for command in ("fastpty", "fastpty-router"):
        program = Path(sysconfig.get_path("scripts")) / command
        assert subprocess.run([program, "--version"], check=True, capture_output=True).stdout.startswith(b"fastpty")


@pytest.mark.parametrize(
    ("flags", "name", "why"),
    [
        *((*way, "lost the connection: the router has ended; exit status unknown") for way in WAYS[:2]),
        *((*way, "the connection broke: the router has ended") for way in LEGACY_WAYS),
    ],
)
def test_a_killed_router_is_not_taken_for_a_session_that_ended(
    router: Router, directory: Path, flags: list[str], name: str, why: str
) -> None:
    with piped_client(*flags, f"{directory}/{name}") as client:
        assert client.stdout is not None
        assert client.stdout.read(1)
        os.kill(router.pid, signal.SIGKILL)
        _, complaint = client.communicate(timeout=60)
    assert complaint == f"fastpty: {why}\n".encode()
    assert client.returncode == 255
