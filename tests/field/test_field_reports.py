"""Situations that people report about terminals in containers, each with the programs that they name.

docs/field-reports.md says which test belongs to which report. Tests run over both protocols, except those of window
sizes, which only the uwsgi protocol has.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client_harness import terminal_client
from tests.support.harness import Client, Router, children, eventually, frame, process_gone
from tests.support.peers import need, need_root

PROMPT = b"remote:"


class Session:
    """A client of one session, which types lines and reads until a text has come."""

    def __init__(self, router: Router, client: Client, framed: bool) -> None:
        self.router, self.client, self.framed = router, client, framed

    def type(self, text: str) -> None:
        data = text.encode()
        self.client.send(frame(0, payload=data) if self.framed else data)

    def line(self, command: str, *answers: str) -> None:
        """Types a command, and reads its answers and the prompt after them."""
        self.type(command + "\r")
        self.client.read_until(b"\n", *(answer.encode() for answer in answers), PROMPT)

    def until(self, *texts: str) -> str:
        return self.client.read_until(*(text.encode() for text in texts)).decode()

    def expect_end(self, how: str) -> str:
        """Reads to the end of the connection; the log must say that the session ended in this way. All output."""
        output = self.client.read_to_end().decode()
        self.router.wait_for_log(f"session 1: end: {how}")
        return output


@pytest.fixture(params=["raw", "uwsgi"])
def run(
    request: pytest.FixtureRequest, start_router: Callable[..., Router], directory: Path
) -> Callable[..., Session]:
    """Starts a router with this command and connects to it."""

    def start(command: str, *arguments: str) -> Session:
        framed = request.param == "uwsgi"
        option = "--forkpty-urouter" if framed else "--forkpty-router"
        environment = ("--env", f"PS1={PROMPT.decode()}", "--env", "HISTFILE=/dev/null")
        path = f"{directory}/socket"
        router = start_router(option, path, "--forkptyrouter-command", command, *environment, *arguments)
        return Session(router, Client(path), framed)

    return start


BASH = "exec bash --norc --noprofile --noediting"


def test_a_shell_has_job_control_and_says_nothing_about_its_terminal(run: Callable[..., Session]) -> None:
    session = run(BASH)
    assert session.until(PROMPT.decode()) == PROMPT.decode()  # no "cannot set terminal process group"
    session.type("sleep 1000\r")
    session.until("sleep 1000\r\n")
    eventually(lambda: foreground_is(session, "sleep"), "the job is in the foreground")
    session.type("\x1a")
    session.until("Stopped", PROMPT.decode())
    session.type("fg\r")
    eventually(lambda: foreground_is(session, "sleep"), "the job is in the foreground again")
    session.type("\x03")
    session.until(PROMPT.decode())
    session.type("exit 9\r")
    session.expect_end("exit, exit status 9")


def foreground_is(session: Session, name: str) -> bool:
    """True if the terminal's foreground process group is led by a program of this name."""
    for leader in children(session.router.pid):
        group = Path(f"/proc/{leader}/stat").read_text().rpartition(") ")[2].split()[5]
        return Path(f"/proc/{group}/comm").read_text() == f"{name}\n"
    return False


def test_job_control_works_in_a_shell_within_a_shell(run: Callable[..., Session]) -> None:
    session = run(BASH)
    session.until(PROMPT.decode())
    session.line("export PS1")
    session.line("bash --norc --noprofile --noediting")
    session.line("sh")
    session.type("cat\r")
    session.type("typed\r")
    session.until("typed\r\n", "typed\r\n")
    session.type("\x1a")
    session.until("Stopped", PROMPT.decode())
    session.type("fg\r")
    eventually(lambda: foreground_is(session, "cat"), "the job is in the foreground again")
    session.type("\x03")
    session.until(PROMPT.decode())
    session.line("exit 0")
    session.line("exit 0")
    session.type("exit 0\r")
    session.expect_end("exit, exit status 0")


def test_a_password_is_not_echoed(run: Callable[..., Session]) -> None:
    session = run("printf 'Password: '; stty -echo; read -r word; stty echo; printf '\\n%s characters\\n' ${#word}")
    session.until("Password: ")
    eventually(lambda: not terminal_echoes(session), "echo is off")
    session.type("hunter2\r")
    output = session.expect_end("exit, exit status 0")
    assert "7 characters" in output
    assert "hunter2" not in output


def terminal_echoes(session: Session) -> bool:
    (leader,) = children(session.router.pid)
    terminal = os.open(f"/proc/{leader}/fd/0", os.O_RDWR | os.O_NOCTTY)
    try:
        return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
    finally:
        os.close(terminal)


def test_a_line_that_is_too_long_is_cut_as_a_bare_terminal_cuts_it(run: Callable[..., Session]) -> None:
    """A terminal in canonical mode holds 4,095 bytes of a line (termios(3)). The next line is whole."""
    program = "stty -echo; printf READY; read -r long; read -r next; printf '%s %s' ${#long} $next"
    session = run(program)
    session.until("READY")
    session.type("x" * 5000 + "\nwhole\n")
    output = session.expect_end("exit, exit status 0")
    assert output.endswith(on_a_bare_terminal(program, b"x" * 5000 + b"\nwhole\n"))
    assert output.endswith("4095 whole")


def on_a_bare_terminal(program: str, typed: bytes) -> str:
    """What the program writes after READY, on a terminal that nothing relays."""
    with terminal_client("-c", program, command=["/bin/sh"]) as shell:
        shell.read_until(b"READY")
        shell.type(typed)
        shell.wait()
        return shell.shown.decode()


def test_tty_names_a_terminal_that_exists_and_dev_tty_is_it(run: Callable[..., Session]) -> None:
    session = run('tty; exec test -c "$(tty)" -a -r /dev/tty -a -t 0 -a -t 1 -a -t 2 && : >/dev/tty')
    output = session.expect_end("exit, exit status 0")
    assert re.fullmatch(r"/dev/pts/\d+\r\n", output)


def test_login_gives_a_shell_though_it_hangs_its_terminal_up(run: Callable[..., Session]) -> None:
    need_root()
    session = run(f"exec {need('login')} -f root")
    session.until("# ")
    session.type("echo $((6*7)); exit\r")
    assert "42\r\n" in session.expect_end("exit, exit status 0")


def test_agetty_gives_a_shell(run: Callable[..., Session]) -> None:
    need_root()
    session = run(f"exec {need('agetty')} --noclear --autologin root - xterm")
    session.until("# ")  # what agetty itself says may be lost when login hangs the terminal up
    session.type("echo $((6*7)); exit\r")
    assert "42\r\n" in session.expect_end("exit, exit status 0")


def test_script_records_a_shell_and_hands_its_status_on(run: Callable[..., Session], directory: Path) -> None:
    session = run(
        f"exec {need('script')} -qec 'stty size; exit 7' {directory}/typescript", "--forkptyrouter-rows", "50"
    )
    assert "50 80" in session.expect_end("exit, exit status 7")
    assert "50 80" in (directory / "typescript").read_text()


def test_su_gives_another_user_s_shell_on_the_same_terminal(run: Callable[..., Session]) -> None:
    need_root()
    session = run(f"tty; exec {need('su')} -s /bin/sh daemon -c 'tty; id -un; exit 5'")
    first, second, user = session.expect_end("exit, exit status 5").split()
    assert (first, user) == (second, "daemon")


def test_sudo_runs_a_command_with_the_session_s_window(run: Callable[..., Session]) -> None:
    need_root()
    session = run(
        f"exec {need('sudo')} -n -u daemon sh -c 'stty size; id -un; exit 6'", "--forkptyrouter-cols", "132"
    )
    assert session.expect_end("exit, exit status 6").split() == ["24", "132", "daemon"]


@pytest.mark.parametrize("multiplexer", ["tmux", "screen"])
def test_a_terminal_multiplexer_runs_inside_and_detaches(
    run: Callable[..., Session], directory: Path, multiplexer: str
) -> None:
    program = need(multiplexer)
    os.chmod(directory, 0o700)  # screen insists
    (directory / "tmux.conf").write_text("set -g assume-paste-time 0\n")  # else fast keys are text, not commands
    start, detach, end = {
        "tmux": ("-f $DIR/tmux.conf -S $DIR/tmux new", "\x02d", "-S $DIR/tmux kill-server"),
        "screen": ("-c /dev/null -S x", "\x01d", "-S x -X quit"),
    }[multiplexer]
    environment = {"TERM": "xterm", "DIR": str(directory), "SCREENDIR": str(directory)}
    session = run(BASH, *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")))
    session.until(PROMPT.decode())
    try:
        session.type(f"{program} {start} sh -c 'echo in''side; exec cat'\r")
        session.until("inside")
        session.type("typed")
        session.until("typed")
        session.type(detach)
        session.until("detached", PROMPT.decode())
        session.type(f"{program} {end}; exit 3\r")
        session.expect_end("exit, exit status 3")
    finally:  # a multiplexer outlives the session
        subprocess.run(["sh", "-c", f"{program} {end}"], env={**os.environ, **environment}, capture_output=True)


def test_a_session_is_not_entered_in_utmp(run: Callable[..., Session]) -> None:
    """Only login and its like do that: a router often cannot, and need not, write there."""
    session = run("tty; who")
    terminal, *users = session.expect_end("exit, exit status 0").splitlines()
    assert not [line for line in users if terminal.removeprefix("/dev/") in line.split()]


VHANGUP = "exec python3 -c 'import ctypes, signal; print(1, flush=True); ctypes.CDLL(None).vhangup(); signal.pause()'"


def test_a_program_that_hangs_its_terminal_up_ends_its_session(run: Callable[..., Session]) -> None:
    need_root()
    run(VHANGUP).expect_end(".*killed by SIGHUP")


def test_output_written_just_before_the_exit_arrives(run: Callable[..., Session]) -> None:
    session = run("seq 100000; exit 3")
    assert session.expect_end("exit, exit status 3") == "".join(f"{number}\r\n" for number in range(1, 100_001))


def test_input_that_ends_within_a_block_ends_bash(run: Callable[..., Session]) -> None:
    session = run(BASH)
    session.type("if true; then\n")
    session.client.half_close()
    assert "syntax error: unexpected end of file" in session.expect_end("exit, exit status 2")


def test_input_that_ends_within_a_block_leaves_zsh_to_its_client(run: Callable[..., Session]) -> None:
    need("zsh")
    session = run("exec zsh -f")
    session.type("if true; then\n")
    session.client.half_close()
    session.until("then>")
    session.client.socket.close()
    session.router.wait_for_log("session 1: end: client left")


def test_input_that_ends_within_script_leaves_the_session_to_its_client(run: Callable[..., Session]) -> None:
    session = run("exec script -q -c 'echo READY; cat' /dev/null")
    session.until("READY")
    session.client.half_close()
    session.client.socket.close()
    session.router.wait_for_log("session 1: end: client left")


def test_each_control_key_is_passed_on_at_once(run: Callable[..., Session]) -> None:
    """No key is held back as the first of a detach sequence."""
    session = run("stty raw -echo; printf READY; exec cat")
    session.until("READY")
    for key in range(256):
        session.client.send(frame(0, payload=bytes([key])) if session.framed else bytes([key]))
        assert session.client.read_exactly(1) == bytes([key])


def test_window_changes_during_a_flood_of_output_end_at_the_last_size(
    start_router: Callable[..., Router], directory: Path
) -> None:
    program = "trap 'stty size' WINCH; while :; do seq 1000; done"
    path = f"{directory}/socket"
    start_router("--forkpty-urouter", path, "--forkptyrouter-command", f'exec bash -c "{program}"')
    with Client(path) as client:
        client.read_until(b"1000\r\n")
        for rows in range(1, 301):
            client.send(frame(100, rows) + frame(101, 2 * rows))
        client.read_until(b"300 600\r\n")
        client.frame(signal.SIGKILL)
        client.read_to_end()


def test_a_prompt_and_what_is_typed_wrap_at_the_window_s_width(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/socket"
    start_router(
        "--forkpty-urouter", path, "--forkptyrouter-command", "exec bash --norc --noprofile", "--env", "TERM=xterm"
    )
    with Client(path) as client:
        client.send(frame(100, 40) + frame(101, 132))
        client.frame(0, payload=b"stty size; kill -WINCH $$; echo $LINES,$COLUMNS; exit\r")
        assert b"40,132" in client.read_until(b"40,132")


def test_a_client_that_dies_takes_its_shell_and_job_along(run: Callable[..., Session]) -> None:
    session = run(BASH)
    session.until(PROMPT.decode())
    session.type("sleep 1000\r")
    session.until("sleep 1000\r\n")
    eventually(lambda: foreground_is(session, "sleep"), "the job is in the foreground")
    (shell,) = children(session.router.pid)
    (job,) = children(shell)
    session.client.socket.close()
    eventually(lambda: process_gone(shell) and process_gone(job), "both have ended")


DEVPTS = "mount -t devpts -o newinstance,ptmxmode={0} devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx"
IN_NAMESPACE = """
import os, sys
os.execvp("unshare", ["unshare", "-m", "sh", "-c", sys.argv[1] + ' && exec "$@"', "sh", *sys.argv[2:]])
"""


def own_terminals(mode: str) -> tuple[str, ...]:
    """A program for a router in a mount namespace that has a devpts of its own, whose ptmx has this mode."""
    need("unshare")
    return ("-c", IN_NAMESPACE, DEVPTS.format(mode), sys.executable, "-m", "fastpty.router")


def test_where_the_terminals_are_a_container_s_own_tty_names_one_of_those(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = f"{directory}/socket"
    start_router(path, "--forkptyrouter-command", "tty; test -c $(tty) && ls /dev/pts", program=own_terminals("666"))
    with Client(path) as client:
        assert client.read_to_end().split() == [b"/dev/pts/0", b"0", b"ptmx"]


def test_where_users_may_not_open_terminals_the_client_reads_why(
    start_router: Callable[..., Router], directory: Path
) -> None:
    """ptmxmode=000 is the kernel's default for a devpts."""
    need_root()
    path = f"{directory}/socket"
    router = start_router(path, "--uid", "daemon", "--chmod-socket=666", program=own_terminals("000"))
    with Client(path) as client:
        assert client.read_to_end() == b"fastpty: cannot open a pseudo-terminal: Permission denied\r\n"
    router.wait_for_log("cannot open a pseudo-terminal: Permission denied")
