"""What a START does before the program runs, and what clients may choose."""

from __future__ import annotations

import errno
import os
import pwd
import re
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty._spawn import Command
from fastpty.configuration.build import build
from fastpty.configuration.config import Config
from fastpty.configuration.language.setting import Setting
from fastpty.errors import RefusedError
from fastpty.sessions.program import Program
from fastpty.sessions.requests import Requests, parse
from fastpty.wire import extension
from tests.support.extension_client import ExtensionClient
from tests.support.harness import Router, children, descriptors, eventually
from tests.support.lease import leased
from tests.support.peers import need_root

Starts = Callable[..., Router]
Asks = Callable[..., ExtensionClient]

ENVIRONMENT, OFFERED = extension.ENVIRONMENT, extension.OFFERED_ENVIRONMENT
TELLS = 'stty size; echo "$TERM|$LANG|$LC_ALL|$SECRET|$(pwd)"'


@pytest.fixture
def ask(start_router: Starts, directory: Path) -> Iterator[Asks]:
    """Sends a START to a router, which the first call starts with `options`."""
    clients: list[ExtensionClient] = []
    path = str(directory / "socket")

    def start(*argv: str, options: tuple[str, ...] = (), **keywords: object) -> ExtensionClient:
        if not clients:
            start_router("--listen-raw", path, *options)
        clients.append(ExtensionClient(path))
        clients[-1].start(argv, **keywords)  # type: ignore[arg-type]
        return clients[-1]

    yield start
    for client in clients:
        client.sock.close()


def result(client: ExtensionClient) -> bytes:
    assert client.status().code == 0, client.output
    return client.output.strip().replace(b"\r\n", b"\n")


def test_the_start_of_a_session_is_logged_though_nothing_else_happens(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with ExtensionClient(path) as early:
        assert early.welcome
        with ExtensionClient(path) as other:  # the log has caught up when its session has ended
            other.start(["true"])
            assert other.status().code == 0
        router.wait_for_log("session 2: end: ")
        early.start(["true"])
        assert early.status().code == 0
        router.wait_for_log("session 1: start: ")


def test_the_programs_first_look_sees_size_term_and_language(ask: Asks, tmp_path: Path) -> None:
    client = ask(
        "sh",
        "-c",
        TELLS,
        window=(51, 132),
        term="screen.xterm-256color",
        more=[(OFFERED, b"LANG=de_DE.UTF-8"), (OFFERED, b"LC_ALL=C"), (OFFERED, b"SECRET=x")],
    )
    assert result(client) == f"51 132\nscreen.xterm-256color|de_DE.UTF-8|C||{os.getcwd()}".encode()


def test_the_configured_command_gets_them_too(ask: Asks) -> None:
    client = ask(options=("--command", "stty size; echo $TERM"), window=(7, 11), term="vt52")
    assert result(client) == b"7 11\nvt52"


def test_pixels_are_passed_on(ask: Asks) -> None:
    look = "import fcntl, struct; print(*struct.unpack('4H', fcntl.ioctl(0, 0x5413, bytes(8))))"
    window = (extension.WINDOW, extension.window(10, 20, 300, 400))
    client = ask("python3", "-c", look, window=None, more=[window])
    assert result(client) == b"10 20 300 400"


def test_without_a_size_the_configured_one_holds(ask: Asks) -> None:
    assert result(ask("stty", "size", window=None, options=("--rows", "12", "--cols", "34"))) == b"12 34"


def test_a_size_behind_start_replaces_that_of_start(ask: Asks, directory: Path) -> None:
    ask("true").status()
    with ExtensionClient(str(directory / "socket")) as client:
        both = extension.frames(
            extension.START,
            extension.items([(1, b"sh"), (1, b"-c"), (1, b"sleep 0.2; stty size"), (6, extension.window(1, 2))]),
        )
        client.sock.sendall(both + extension.frames(extension.SIZE, extension.window(3, 4)))
        assert result(client) == b"3 4"


@pytest.mark.parametrize("term", ["-x", "a/b", "x" * 65, "a%s", "", "ä"])
def test_a_term_that_could_do_harm_is_not_taken(term: str, ask: Asks) -> None:
    assert result(ask("sh", "-c", "echo $TERM", term=term, options=("--clear-env",))) == b"xterm-256color"


@pytest.mark.parametrize("value", [b"/etc/x", b"%n", b"x" * 65, b"a\0b", b"a\nb", b"\x1b[m", b"\x7f"])
def test_a_variable_that_could_do_harm_is_not_taken(value: bytes, ask: Asks) -> None:
    client = ask("sh", "-c", "echo ${LC_NAME-unset}", more=[(OFFERED, b"LC_NAME=" + value)])
    assert result(client) == b"unset"


def test_env_of_the_configuration_stands_above_what_clients_offer(ask: Asks) -> None:
    client = ask(
        *("sh", "-c", "echo $TERM $LANG"),
        options=("--env", "LANG=C", "--env", "TERM=dumb"),
        more=[(OFFERED, b"LANG=x")],
    )
    assert result(client) == b"dumb C"


def test_accept_env_names_what_is_taken(ask: Asks) -> None:
    offers = [(OFFERED, b"LANG=x"), (OFFERED, b"EDITOR=ed"), (OFFERED, b"MY_1=1")]
    options = ("--accept-env", "EDITOR MY_*", "--unenv", "LANG")
    client = ask("sh", "-c", "echo ${LANG-none} $EDITOR $MY_1", options=options, more=offers)
    assert result(client) == b"none ed 1"


def test_the_client_chooses_command_variables_and_directory(ask: Asks) -> None:
    client = ask(
        "sh", "-c", 'echo "$0 $1 $A|$B"; pwd', "one", "two words", more=[
            (ENVIRONMENT, b"A=/usr/b%n"), (ENVIRONMENT, b"B="), (extension.DIRECTORY, b"/usr")
        ]
    )  # fmt: skip
    assert result(client) == b"one two words /usr/b%n|\n/usr"


def test_a_command_is_searched_in_the_programs_path(ask: Asks, directory: Path) -> None:
    (directory / "first").mkdir()
    (directory / "second").mkdir()
    (directory / "first" / "tool").write_text("not executable")
    (directory / "second" / "tool").write_text("#!/bin/sh\necho found\n")
    (directory / "second" / "tool").chmod(0o755)
    path = f"PATH=/nowhere:{directory}/first:{directory}/second:/bin".encode()
    assert result(ask("tool", more=[(ENVIRONMENT, path)])) == b"found"


@pytest.mark.parametrize(
    ("argv", "more", "code", "text"),
    [
        (["no-such-command"], [], 2, b"cannot execute the command: No such file or directory"),
        (["/etc/passwd"], [], 13, b"cannot execute the command: Permission denied"),
        (["/no/such/file"], [], 2, b"cannot execute the command: No such file or directory"),
        ([""], [], 2, b"cannot execute the command: No such file or directory"),
        (
            ["sh"],
            [(extension.DIRECTORY, b"/no/such")],
            2,
            b"cannot change to the directory: No such file or directory",
        ),
        ([], [(extension.DIRECTORY, b"/etc/passwd")], 20, b"cannot change to the directory: Not a directory"),
    ],
)
def test_what_cannot_be_executed_is_an_error_and_never_started(
    argv: list[str], more: list[tuple[int, bytes]], code: int, text: bytes, ask: Asks
) -> None:
    client = ask(*argv, more=more)
    refusal = client.error()
    assert (refusal.code, refusal.errno, refusal.phase) == (extension.EXECUTE, code, extension.STARTING)
    assert refusal.text == text
    assert extension.STARTED not in [number for number, _ in client.messages]
    assert client.output == b""


def test_a_configured_command_that_cannot_be_executed_is_an_error(ask: Asks, directory: Path) -> None:
    command = directory / "command"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    assert ask(options=("--command", str(command))).status().code == 0
    command.unlink()
    refusal = ask().error()
    assert (refusal.code, refusal.errno) == (extension.EXECUTE, 2)


@pytest.mark.parametrize(
    "item",
    [(extension.ENVIRONMENT, b"NONAME"), (ENVIRONMENT, b"=x"), (1, b"a\0b"), (extension.WINDOW, b"123")],
)
def test_an_item_that_is_malformed_ends_the_session(item: tuple[int, bytes], ask: Asks) -> None:
    assert ask("true", more=[item]).error().code == extension.PROTOCOL


def test_an_item_that_must_be_understood_and_is_not_ends_the_session(ask: Asks) -> None:
    assert ask("true", more=[(255, b"")]).error().code == extension.UNSUPPORTED
    assert ask("true", more=[(254, b"")]).status().code == 0


CHOICES = [
    {"argv": ["true"]},
    {"more": [(ENVIRONMENT, b"LD_PRELOAD=/tmp/x.so")]},
    {"more": [(extension.DIRECTORY, b"/tmp")]},
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(
    "options", [("--command", "exec cat"), ("--command", "/bin/cat"), ("--client-command", "no")]
)
def test_a_forced_command_is_not_replaced(choice: dict[str, list[str]], options: tuple[str, ...], ask: Asks) -> None:
    client = ask(*choice.get("argv", []), options=options, more=choice.get("more", []))
    assert client.welcome.capabilities == extension.CAN_TERMINAL
    assert client.error().code == extension.REFUSED
    assert extension.STARTED not in [number for number, _ in client.messages]


def test_size_term_and_language_do_not_need_the_right_to_choose(ask: Asks) -> None:
    both = [(OFFERED, b"LANG=x"), (ENVIRONMENT, b"LC_ALL=y")]
    client = ask(options=("--command", f"exec sh -c '{TELLS}'"), more=both)
    assert result(client).startswith(b"30 100\nxterm|x|y|")


@pytest.mark.parametrize("command", ["/bin/rbash", "/usr/bin/tmux", "/usr/bin/git-shell", "/srv/menu/sh", "sh"])
def test_a_command_that_is_no_ordinary_shell_is_a_forced_command(command: str) -> None:
    """Whatever /etc/shells says: it lists rbash and tmux, too."""
    assert not Requests(configured(command=command)).may_choose
    assert Requests(configured(command=command, client_command="yes")).may_choose


@pytest.mark.parametrize("command", ["/bin/sh", "/bin/bash", "/usr/bin/zsh", "/usr/local/bin/fish"])
def test_an_ordinary_shell_leaves_the_choice(command: str) -> None:
    assert Requests(configured(command=command)).may_choose


def configured(**options: str) -> Config:
    settings = [Setting(name.replace("_", "-"), value) for name, value in options.items()]
    return build([Setting("listen-raw", "/tmp/unused"), *settings])[0]


@pytest.mark.parametrize("options", [("--command", "/bin/sh"), ("--command", "exec cat", "--client-command", "yes")])
def test_a_shell_leaves_the_choice_and_so_does_yes(options: tuple[str, ...], ask: Asks) -> None:
    assert result(ask("echo", "chosen", options=options)) == b"chosen"


def test_under_run_as_peer_the_accounts_shell_runs_the_command(ask: Asks) -> None:
    need_root()
    options = ("--run-as", "peer", "--allow-user", "root")
    client = ask("echo", "a b", "$HOME", "'", options=options)
    shell = os.path.basename(pwd.getpwuid(0).pw_shell)
    assert result(client) == b"a b $HOME '"
    client = ask("sh", "-c", "tr '\\0' ' ' < /proc/$PPID/cmdline; pwd; exit 0 # no exec")
    assert client.status().code == 0
    assert client.output.startswith(f"{shell} -c ".encode()) or b"/root" in client.output


@pytest.mark.parametrize("name", ["BASH_ENV", "ENV", "LD_PRELOAD", "PATH", "SHELLOPTS", "EDITOR"])
def test_under_run_as_peer_a_client_sets_only_variables_that_accept_env_names(name: str, ask: Asks) -> None:
    """A restricted shell, or a profile that runs one command, trusts its environment."""
    need_root()
    chosen = [(ENVIRONMENT, f"{name}=chosen".encode())]
    client = ask("true", options=("--run-as", "peer", "--allow-user", "root"), more=chosen)
    refusal = client.error()
    assert refusal.code == extension.REFUSED
    assert refusal.text == f"refused: clients may not choose this variable here: {name}".encode()
    assert ask("true", more=[(ENVIRONMENT, b"LC_ALL=C")]).status().code == 0


@pytest.mark.parametrize("options", [("--client-command", "yes"), ("--accept-env", "EDITOR")])
def test_under_run_as_peer_the_operator_can_accept_variables(options: tuple[str, ...], ask: Asks) -> None:
    need_root()
    options = ("--run-as", "peer", "--allow-user", "root", *options)
    client = ask("printenv", "EDITOR", options=options, more=[(ENVIRONMENT, b"EDITOR=ed")])
    assert result(client) == b"ed"


@pytest.mark.parametrize(
    ("argv", "path", "code"),
    [
        (["n" * 60_000], b":" * 60_000, errno.ENAMETOOLONG),
        (["n" * 256], b"/bin", errno.ENAMETOOLONG),
        (["n" * 255], b":" * 60_000 + b"/" + b"d" * 5000, errno.ENOENT),
        (["/" + "n" * 5000], b"/bin", errno.ENAMETOOLONG),
    ],
)
def test_a_long_name_or_path_does_not_hold_the_worker_up(argv: list[str], path: bytes, code: int, ask: Asks) -> None:
    refusal = ask(*argv, more=[(ENVIRONMENT, b"PATH=" + path)]).error()
    assert (refusal.code, refusal.errno) == (extension.EXECUTE, code)


def test_the_search_for_a_command_takes_no_memory_of_the_worker() -> None:
    """The child searches. Here the search would need 3 GB."""
    request = parse(extension.items([(1, b"n" * 60_000), (ENVIRONMENT, b"PATH=" + b":" * 60_000)]))
    granting = Requests(configured())
    tracemalloc.start()
    granted = granting.grant(request, Program("a shell", Command([b"/bin/sh"], [])))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert granted.command.path == b"n" * 60_000


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([(1, b"")] * 4097, b"START: more than 4096 items"),
        ([(OFFERED, b"LC_A=x")] * 65, b"START: more than 64 variables are offered"),
        (
            [(ENVIRONMENT, b"n" * 200_000 + b"=")],
            b"START: a variable is not NAME=VALUE with a name of at most 255 bytes",
        ),
    ],
)
def test_the_items_of_a_start_are_bounded(items: list[tuple[int, bytes]], text: bytes, ask: Asks) -> None:
    refusal = ask("true", more=items).error()
    assert (refusal.code, refusal.text) == (extension.PROTOCOL, text)


@pytest.mark.parametrize("name", [b"LC_\n", b"LC_\0A", b"LC_A\n", b"LC_" + b"A" * 62, b"", b"LC_\x1b[31m"])
def test_an_offered_variable_with_a_strange_name_is_not_taken(name: bytes, ask: Asks) -> None:
    client = ask(
        "sh",
        "-c",
        "env | grep -c ^LC_; true",
        options=("--unenv", "LC_ALL", "--unenv", "LC_CTYPE"),
        more=[(OFFERED, name + b"=x")],
    )
    assert result(client) == b"0"


def test_what_a_client_has_sent_is_escaped_and_short_in_what_it_is_told(ask: Asks) -> None:
    name = b"A\n\x1b[31m\xc2\x9b\xff" + b"B" * 200
    client = ask(options=("--command", "exec cat"), more=[(ENVIRONMENT, name + b"=x")])
    text = client.error().text
    assert text.startswith(b"refused: clients may not choose this variable here: A\\n\\x1b[31m\\x9b\\xff")
    assert len(text) < 250
    assert text.decode().isprintable()


def test_strange_names_do_not_fill_the_log(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path, "--command", "exec cat")
    for index in range(40):
        with ExtensionClient(path) as client:
            client.start(more=[(ENVIRONMENT, b"A%d=x" % index)])
            assert client.error().code == extension.REFUSED
    router.wait_for_log("refused [0-9]+ more clients of uid [0-9]+ on .*: clients may not choose this variable here$")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/etc/passwd"], "not started (cannot execute the command: Permission denied)"),
        (["/no/such"], "not started (cannot execute the command: No such file or directory)"),
    ],
)
def test_the_log_says_why_a_command_did_not_start(
    argv: list[str], reason: str, start_router: Starts, directory: Path
) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    with ExtensionClient(path) as client:
        client.start(argv)
        client.error()
    router.wait_for_log("end: " + re.escape(reason))


def test_a_start_that_hangs_ends_and_holds_nobody_up(ask: Asks, directory: Path) -> None:
    with leased(directory / "leased") as command:
        slow = ask(str(command))
        assert slow.welcome
        assert ask("echo", "meanwhile").status().code == 0
        assert slow.final is None
        slow.send(signal.SIGTERM)
        refusal = slow.error()
        assert (refusal.code, refusal.text) == (extension.REFUSED, b"cancelled")


def test_a_start_that_is_cancelled_leaves_no_pipe_open(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path, "--stop-timeout", "30")
    with leased(directory / "leased") as command, ExtensionClient(path) as client:
        assert client.welcome
        before = set(descriptors(router.pid).values())
        client.start([str(command)])
        eventually(lambda: new_pipes(router, before), "the child's report has a pipe")
        client.sock.close()
        eventually(lambda: not new_pipes(router, before), "the pipe is closed")


def new_pipes(router: Router, before: set[str]) -> list[str]:
    return [target for target in set(descriptors(router.pid).values()) - before if target.startswith("pipe:")]


@pytest.mark.parametrize("shell", ["/bin/rbash", "/usr/bin/git-shell", "/usr/sbin/nologin"])
def test_where_a_restricted_shell_starts_is_not_chosen_by_the_client(shell: str) -> None:
    request = parse(extension.items([(1, b"true"), (extension.DIRECTORY, b"/tmp")]))
    program = Program("x as y", Command([b"-"], [], path=shell.encode()), uid=1000)
    with pytest.raises(RefusedError, match="clients whose shell is restricted may not choose a directory here"):
        Requests(configured(run_as="peer")).grant(request, program)
    assert Requests(configured(run_as="peer", client_command="yes")).grant(request, program).command.directory


def test_a_client_that_leaves_during_the_start_leaves_no_process(start_router: Starts, directory: Path) -> None:
    path = str(directory / "socket")
    router = start_router("--listen-raw", path)
    for _ in range(20):
        with ExtensionClient(path) as client:
            client.start(["sleep", "1000"])
    eventually(lambda: not children(router.pid), "no child is left")


def test_under_run_as_peer_a_directory_that_is_missing_is_an_error(ask: Asks) -> None:
    need_root()
    options = ("--run-as", "peer", "--allow-user", "root")
    refusal = ask(options=options, more=[(extension.DIRECTORY, b"/no/such")]).error()
    assert (refusal.code, refusal.errno) == (extension.EXECUTE, 2)
