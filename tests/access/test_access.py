"""Rules about users and groups: they are applied before a program is started."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import talk_as
from tests.support.harness import Client, Router, children, run
from tests.support.peers import need_root

ALICE, BOB = 1, 54_002  # daemon, which has an account, and one that has none
STAFF, EXTRA = 54_010, 54_011


def open_router(start_router: Callable[..., Router], directory: Path, *arguments: str, sockets: int = 1) -> Router:
    need_root()
    command = ["--forkptyrouter-command", "echo IN"]
    return start_router("--chmod-socket=666", *arguments, *command, f"{directory}/s", sockets=sockets)


@pytest.mark.parametrize(
    ("rules", "client", "comes_in"),
    [
        ([], (BOB, STAFF, []), True),
        (["--allow-user", str(ALICE)], (ALICE, STAFF, []), True),
        (["--allow-user", str(ALICE)], (BOB, STAFF, []), False),
        (["--allow-user", str(ALICE), "--allow-user", str(BOB)], (BOB, STAFF, []), True),
        (["--allow-group", str(STAFF)], (BOB, STAFF, []), True),
        (["--allow-group", str(STAFF)], (BOB, EXTRA, [STAFF]), True),
        (["--allow-group", str(STAFF)], (BOB, EXTRA, []), False),
        (["--allow-user", str(ALICE), "--allow-group", str(STAFF)], (BOB, STAFF, []), True),
        (["--deny-user", str(BOB)], (BOB, STAFF, []), False),
        (["--deny-user", str(BOB)], (ALICE, STAFF, []), True),
        (["--deny-group", str(STAFF)], (BOB, EXTRA, [STAFF]), False),
        (["--allow-user", str(BOB), "--deny-group", str(EXTRA)], (BOB, STAFF, [EXTRA]), False),
        (["--allow-user", str(BOB), "--deny-user", str(BOB)], (BOB, STAFF, []), False),
        (["--allow-user", str(ALICE)], (0, 0, []), False),
        (["--allow-user", "root"], (0, 0, []), True),
    ],
)
def test_rules_decide_by_the_client_s_uid_and_groups(
    start_router: Callable[..., Router],
    directory: Path,
    rules: list[str],
    client: tuple[int, int, list[int]],
    comes_in: bool,
) -> None:
    """The client is a uid, a gid and supplementary groups."""
    uid, gid, groups = client
    open_router(start_router, directory, *rules)
    said = talk_as(f"{directory}/s", uid, gid, groups)
    who = "uid 0 (root)" if uid == 0 else f"uid {uid}"
    assert said == ("IN\r\n" if comes_in else f"fastpty: refused: {who} is not allowed to connect\r\n")


def test_a_member_of_400_groups_is_recognised_by_the_last(
    start_router: Callable[..., Router], directory: Path
) -> None:
    open_router(start_router, directory, "--allow-group", "60399")
    assert talk_as(f"{directory}/s", BOB, STAFF, range(60_000, 60_400)) == "IN\r\n"


def test_a_refusal_starts_nothing_and_is_logged_in_one_line_with_pid_uid_and_gid(
    start_router: Callable[..., Router], directory: Path
) -> None:
    ran = directory / "ran"
    ran.touch(mode=0o666)
    router = start_router(
        "--chmod-socket=666", "--deny-user", str(BOB), "--forkptyrouter-command", f"echo x >> {ran}", f"{directory}/s"
    )
    talk_as(f"{directory}/s", BOB, STAFF)
    router.wait_for_log(
        rf"session 1: refused pid \d+ uid {BOB} gid {STAFF} on .*/s \(raw\): uid {BOB} is not allowed to connect$"
    )
    assert ran.read_text() == ""
    assert children(router.pid) == []
    assert router.end() == 0
    assert router.log.count("session 1: ") == 1


def test_rules_hold_for_the_uwsgi_protocol_and_in_every_worker(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    start_router(
        "--chmod-socket=666", "--forkpty-urouter", f"{directory}/s", "--allow-user", str(ALICE),
        "--forkptyrouter-processes", "2", "--forkptyrouter-command", "echo IN",
    )  # fmt: skip
    for _ in range(4):
        assert talk_as(f"{directory}/s", ALICE, STAFF) == "IN\r\n"
        assert "is not allowed to connect" in talk_as(f"{directory}/s", BOB, STAFF)


def test_rules_and_limits_hold_for_a_shared_terminal(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path = f"{directory}/s"
    router = start_router(
        "--pty-socket", path, "--chmod-socket=666", "--pty-exec", "printf SEEN; exec cat",
        "--deny-user", str(BOB), "--max-sessions", "1",
    )  # fmt: skip
    assert talk_as(path, BOB, STAFF) == f"fastpty: refused: uid {BOB} is not allowed to connect\r\n"
    with Client(path) as client:
        client.read_until(b"SEEN")
        assert talk_as(path, ALICE, STAFF).startswith("fastpty: refused: the limit of 1 session is reached")
        client.send(b"still here\n")
        client.read_until(b"still here\r\n")
    router.wait_for_log(rf"refused pid \d+ uid {BOB} gid {STAFF} on .*/s \(pty\)")


def test_a_rule_makes_an_abstract_name_private(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    name = f"fastpty-rule-{directory.name}"
    start_router(f"@{name}", "--allow-user", str(ALICE), "--forkptyrouter-command", "echo IN")
    with Client(f"\0{name}") as client:
        assert b"uid 0 (root) is not allowed to connect" in client.read_to_end()


@pytest.mark.parametrize("option", ["--forkpty-router", "--forkpty-urouter", "--pty-socket"])
def test_an_abstract_name_without_a_rule_is_warned_of(
    start_router: Callable[..., Router], directory: Path, option: str
) -> None:
    router = start_router(option, f"@fastpty-norule-{directory.name}")
    router.wait_for_log("warning: @fastpty-norule-.* has no file mode, .* allow-user or allow-group")


def test_an_abstract_name_of_statistics_without_a_rule_is_warned_of(
    start_router: Callable[..., Router], directory: Path
) -> None:
    name = f"@fastpty-stats-{directory.name}"
    router = start_router(f"{directory}/s", "--forkptyrouter-stats", name, sockets=2)
    router.wait_for_log("warning: @fastpty-stats-.* has no file mode, .* can read the statistics: add")
    name = f"@fastpty-ruled-{directory.name}"
    ruled = start_router(f"{directory}/t", "--forkptyrouter-stats", name, "--allow-user", "root", sockets=2)
    assert "warning" not in ruled.log


@pytest.mark.parametrize("rule", [["--allow-user", str(ALICE)], ["--deny-group", str(EXTRA)]])
def test_only_clients_that_the_rules_allow_get_statistics(
    start_router: Callable[..., Router], directory: Path, rule: list[str]
) -> None:
    """Statistics reveal when somebody types."""
    path = f"{directory}/stats"
    router = open_router(start_router, directory, "--forkptyrouter-stats", path, *rule, sockets=2)
    assert talk_as(path, BOB, STAFF, [EXTRA]) == f"fastpty: refused: uid {BOB} is not allowed to connect\r\n"
    assert '"pid"' in talk_as(path, ALICE, STAFF)
    router.wait_for_log(
        rf"statistics: refused pid \d+ uid {BOB} gid {STAFF} on {path} \(stats\): uid {BOB} is not allowed"
    )


def test_a_client_that_is_refused_statistics_over_http_gets_an_http_403(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/stats"
    open_router(
        start_router, directory, "--forkptyrouter-stats", path, "--stats-http", "--deny-user", str(BOB), sockets=2
    )
    assert talk_as(path, BOB, STAFF).startswith("HTTP/1.0 403 ")


def test_root_gets_statistics_even_if_run_as_peer_refuses_it_a_session(
    start_router: Callable[..., Router], directory: Path
) -> None:
    path = f"{directory}/stats"
    open_router(start_router, directory, "--forkptyrouter-stats", path, "--run-as", "peer", sockets=2)
    assert '"pid"' in talk_as(path, 0, 0)


def test_a_new_rule_holds_for_the_statistics_after_a_reload(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path, file = f"{directory}/stats", directory / "x.ini"
    lines = f"[uwsgi]\nforkpty-router = {directory}/s\nforkptyrouter-stats = {path}\nchmod-socket = 666\n"
    file.write_text(lines)
    router = start_router(str(file), sockets=2)
    assert '"pid"' in talk_as(path, BOB, STAFF)
    file.write_text(f"{lines}deny-user = {BOB}\n")
    router.process.send_signal(signal.SIGHUP)
    router.wait_for_log("reloaded")
    assert "is not allowed to connect" in talk_as(path, BOB, STAFF)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["127.0.0.1:0", "--allow-user", "root"], "127.0.0.1:0 would admit nobody"),
        (["127.0.0.1:0", "--deny-user", "nobody"], "127.0.0.1:0 would admit nobody"),
        (["--pty-socket", "127.0.0.1:0", "--allow-user", "root"], "127.0.0.1:0 would admit nobody"),
        (
            ["/tmp/x", "--allow-user", "root", "--forkptyrouter-stats", "127.0.0.1:0"],
            "127.0.0.1:0 would serve statistics to nobody",
        ),
        (["127.0.0.1:0", "--run-as", "peer"], "127.0.0.1:0 would admit nobody"),
        (["/tmp/x", "--allow-user", "nobodyy"], "no user 'nobodyy' here (did you mean 'nobody'?)"),
        (["/tmp/x", "--deny-group", "nogrou"], "no group 'nogrou' here (did you mean 'nogroup'?)"),
        (["/tmp/x", "--run-as", "root"], "'root' is not supported: the only value is peer"),
        (["/tmp/x", "--run-as", "peer", "--uid", "nobody"], "run-as peer needs root to start each session"),
        (["/tmp/x", "--run-as", "peer", "--gid", "nogroup"], "run-as peer needs root to start each session"),
    ],
)
def test_rules_that_cannot_work_are_refused_at_the_start(arguments: list[str], words: str) -> None:
    ended = run(*arguments)
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.returncode == 2


def test_with_rules_an_inherited_tcp_socket_refuses_everybody(start_router: Callable[..., Router]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        router = start_router(f"fd://{server.fileno()}", "--deny-user", "nobody", pass_fds=[server.fileno()])
        with Client(("127.0.0.1", server.getsockname()[1])) as client:
            assert b"the access rules need to know your user" in client.read_to_end()
        router.wait_for_log("refused 127.0.0.1 port")


def test_with_rules_an_inherited_tcp_socket_gives_nobody_statistics(
    start_router: Callable[..., Router], directory: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        start_router(
            f"{directory}/s", "--forkptyrouter-stats", f"fd://{server.fileno()}", "--deny-user", "nobody",
            sockets=2, pass_fds=[server.fileno()],
        )  # fmt: skip
        with Client(("127.0.0.1", server.getsockname()[1])) as client:
            assert b"the access rules need to know your user" in client.read_to_end()
