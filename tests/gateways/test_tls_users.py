"""Certificates that are mapped to users of the machine: `tls-user`."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastpty.access.peer import name_behind_tls, peer_behind_tls
from fastpty.errors import RefusedError
from tests.support.accounts import Login, make_account, remove_account
from tests.support.harness import Router, run
from tests.support.peers import need_root
from tests.support.tls_harness import Authority, attached, connected, read_to_end

Start = Callable[..., tuple[Router, int]]

NAME = f"fastpty-tls-{os.getpid()}"  # not another pytest's that runs at the same time
NO_USER = b"fastpty: refused: the access rules need to know your user, which this connection does not carry\n"


@pytest.fixture
def login(directory: Path) -> Iterator[Login]:
    home = directory / "home"
    home.mkdir()
    try:
        yield make_account(NAME, home)
    finally:
        remove_account(NAME)


def test_a_certificate_s_user_gets_a_session_of_its_own_account(
    tls_router: Start, authority: Authority, login: Login
) -> None:
    router, port = tls_router(
        "--run-as", "peer", "--tls-user", f"alice={NAME}", "--forkptyrouter-command", "id -u; id -G; echo $HOME; pwd"
    )
    uid, groups, *homes = attached(authority, port).stdout.split(b"\r\n")[:-1]
    assert int(uid) == login.uid
    assert {int(group) for group in groups.split()} == {login.gid, login.more}
    assert homes == [os.fsencode(login.home)] * 2
    router.wait_for_log(
        rf"start: TLS client 127\.0\.0\.1 port \d+ alice uid {login.uid} \({NAME}\) on .*: .* as {NAME}$"
    )


def test_a_certificate_without_a_user_gets_no_account(tls_router: Start, authority: Authority, login: Login) -> None:
    router, port = tls_router("--run-as", "peer", "--tls-user", f"alice={NAME}", "--allow-tls-name", "localhost")
    assert attached(authority, port, name="bob").stderr == NO_USER
    router.wait_for_log(r"refused TLS client 127\.0\.0\.1 port \d+ bob on ")


def test_a_certificate_for_root_gets_a_session_only_if_root_is_allowed_by_name(
    tls_router: Start, authority: Authority
) -> None:
    need_root()
    names = ("--run-as", "peer", "--tls-user", "alice=root", "--allow-tls-name", "alice")
    _, port = tls_router(*names, "--forkptyrouter-command", "echo IN")
    assert b"root is not allowed to connect" in attached(authority, port).stderr
    _, port = tls_router(*names, "--allow-user", "root", "--forkptyrouter-command", "echo IN")
    assert attached(authority, port).stdout == b"IN\r\n"


@pytest.mark.parametrize(
    ("rules", "comes_in"),
    [
        (["--allow-user", NAME], True),
        (["--allow-group", f"{NAME}-more"], True),
        (["--allow-user", "daemon"], False),
        (["--allow-user", "daemon", "--allow-tls-name", "alice"], True),
        (["--deny-user", NAME], False),
        (["--deny-group", f"{NAME}-more"], False),
        (["--deny-user", NAME, "--allow-tls-name", "alice"], False),
    ],
)
def test_the_rules_about_users_hold_for_those_of_certificates(
    tls_router: Start, authority: Authority, login: Login, rules: list[str], comes_in: bool
) -> None:
    _, port = tls_router("--tls-user", f"alice={NAME}", *rules, "--forkptyrouter-command", "echo IN")
    refusal = f"fastpty: refused: uid {login.uid} ({NAME}) is not allowed to connect\n".encode()
    ended = attached(authority, port)
    assert (ended.stdout, ended.stderr) == ((b"IN\r\n", b"") if comes_in else (b"", refusal))


def test_with_user_rules_a_certificate_without_a_user_is_refused(tls_router: Start, authority: Authority) -> None:
    _, port = tls_router("--tls-user", "alice=daemon", "--allow-user", "daemon")
    assert attached(authority, port, name="bob").stderr == NO_USER


def test_certificates_of_one_user_share_its_session_limit(tls_router: Start, authority: Authority) -> None:
    users = ("--tls-user", "alice=daemon", "--tls-user", "bob=daemon", "--tls-user", "carol=nobody")
    _, port = tls_router(*users, "--max-sessions-per-uid", "1", "--forkptyrouter-command", "printf R; cat")
    with connected(authority, port, "alice") as first:
        assert first.recv(1) == b"R"
        with connected(authority, port, "bob") as second:
            assert b"the limit of 1 session for your user is reached" in read_to_end(second)
        with connected(authority, port, "carol") as other:
            assert other.recv(1) == b"R"


def test_a_certificate_of_two_users_is_refused(tls_router: Start, authority: Authority) -> None:
    router, port = tls_router("--tls-user", "alice=daemon", "--tls-user", "ops@example.org=nobody")
    ended = attached(authority, port, extra=",email:ops@example.org")
    assert ended.stderr == b"fastpty: refused: no name of your certificate is allowed to connect\n"
    router.wait_for_log("refused: its names stand for more than one tls-user")


def test_a_compromised_proxy_can_claim_only_users_of_tls_user(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as relay, socket.socket(socket.AF_UNIX) as proxy:
        relay.bind(f"{directory}/relay")
        relay.listen()
        proxy.bind(name_behind_tls(secrets.token_hex(16), 0, "127.0.0.1 port 1 root"))
        proxy.connect(f"{directory}/relay")
        with relay.accept()[0] as connection:
            with pytest.raises(RefusedError, match="uid 0 is not listed in tls-user"):
                peer_behind_tls(connection, {1, 2}, is_admitted=True, groups_of=None)
            assert peer_behind_tls(connection, {0}, is_admitted=True, groups_of=None).uid == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-user", "alice=root"], "tls-user needs TLS"),
        (["--tls-user", "alice"], "'alice' is not NAME=USER"),
        (["--tls-user", "alice=nobodie"], "no user 'nobodie' here (did you mean 'nobody'?)"),
        (
            ["--tls-cert", "/x", "--tls-key", "/x", "--tls-ca", "/x", "--tls-user", "a=0", "--tls-user", "a=1"],
            "tls-user: a is given two users (uids 0 and 1): keep one",
        ),
    ],
)
def test_invalid_tls_user_values_are_refused_at_the_start(arguments: list[str], words: str) -> None:
    ended = run(*arguments, "127.0.0.1:0")
    assert words in ended.stderr
    assert (ended.stderr.count("\n"), ended.returncode) == (1, 2)
