"""A user cannot evade deny rules and limits with other ids in a user namespace."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastpty.access import subordinates
from fastpty.access.subordinates import Subordinates
from fastpty.errors import FastptyError
from tests.support.accounts import Login, connected_as, make_account, remove_account, talk_as
from tests.support.harness import PLAIN_PYTHON, Client, Router
from tests.support.peers import need, need_root

NAME = f"fastpty-denied-{os.getpid()}"  # tests run side by side
DAEMON, STRANGER = 1, 54_002
COUNT = 500
SUBORDINATE = 16_777_216 + COUNT * os.getpid()  # no other account of the machine has these


@pytest.fixture(scope="module")
def denied() -> Iterator[Login]:
    """An account with subordinate ids."""
    need_root()
    login = make_account(NAME, Path("/nonexistent"))
    try:
        for kind in ("uids", "gids"):
            ids = f"{SUBORDINATE}-{SUBORDINATE + COUNT - 1}"
            subprocess.run(["usermod", f"--add-sub{kind}", ids, NAME], check=True)
        yield login
    finally:
        remove_account(NAME)


def start(start_router: Callable[..., Router], directory: Path, *arguments: str, sockets: int = 1) -> str:
    path = f"{directory}/s"
    start_router("--chmod-socket=666", *arguments, "--forkptyrouter-command", "echo IN", path, sockets=sockets)
    return path


def refusal(uid: int) -> str:
    """What a client of this uid reads. Some have an account, and so a name."""
    try:
        who = f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        who = f"uid {uid}"
    return f"fastpty: refused: {who} is not allowed to connect\r\n"


@pytest.mark.parametrize("rule", [["--deny-user", NAME], ["--deny-group", f"{NAME}-more"]])
def test_a_denied_user_is_refused_under_its_subordinate_ids(
    start_router: Callable[..., Router], directory: Path, denied: Login, rule: list[str]
) -> None:
    path = start(start_router, directory, *rule)
    for uid in (denied.uid, SUBORDINATE, SUBORDINATE + COUNT - 1):
        assert talk_as(path, uid, SUBORDINATE) == refusal(uid)
    assert talk_as(path, DAEMON, SUBORDINATE) == refusal(DAEMON), "whose group is the denied user's"
    assert talk_as(path, DAEMON, DAEMON) == "IN\r\n"


def test_a_denied_user_is_refused_from_a_user_namespace_of_its_own(
    start_router: Callable[..., Router], directory: Path, denied: Login
) -> None:
    """It uses newuidmap(1)."""
    need("newuidmap")
    path = start(start_router, directory, "--deny-user", NAME)
    # Not the sanitizer's script: only setpriv itself may look into root's directories.
    words = f"setpriv --reuid {denied.uid} --regid {denied.gid} --clear-groups {PLAIN_PYTHON} -c".split()
    ended = subprocess.run([*words, _CONNECT_FROM_NAMESPACE, path, str(SUBORDINATE)], capture_output=True, timeout=60)
    assert ended.stdout.decode() == refusal(SUBORDINATE + 7), ended.stderr.decode()


_CONNECT_FROM_NAMESPACE = """
import ctypes, os, socket, subprocess, sys
path, first = sys.argv[1:]
ready, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    if ctypes.CDLL(None).unshare(0x10000000):  # CLONE_NEWUSER
        os._exit(1)
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.setuid(7)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        while data := client.recv(4096):
            os.write(1, data)
    os._exit(0)
os.read(ready[0], 1)
subprocess.run(["newuidmap", str(pid), "0", first, "100"], check=True)
os.write(go[1], b"x")
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("more", [[], ["--run-as", "peer"], ["--allow-user", NAME], ["--chroot", "/"]])
def test_a_denied_group_that_a_member_has_dropped_still_counts(
    start_router: Callable[..., Router], directory: Path, denied: Login, more: list[str]
) -> None:
    path = start(start_router, directory, "--deny-group", f"{NAME}-more", *more)
    expected = refusal(denied.uid)
    if "--chroot" in more:  # where the router looks no name up
        expected = expected.replace(f" ({NAME})", "")
    assert talk_as(path, denied.uid, denied.gid) == expected


def test_the_primary_group_of_an_account_counts_too(
    start_router: Callable[..., Router], directory: Path, denied: Login
) -> None:
    path = start(start_router, directory, "--deny-group", str(denied.gid))
    assert talk_as(path, denied.uid, DAEMON) == refusal(denied.uid)


def test_with_deny_rules_alone_a_uid_without_an_account_is_refused(
    start_router: Callable[..., Router], directory: Path
) -> None:
    need_root()
    path = start(start_router, directory, "--deny-user", "nobody")
    assert talk_as(path, STRANGER, STRANGER) == (
        f"fastpty: refused: uid {STRANGER} has no account, so the deny rules cannot be checked: "
        "only an allow-user rule admits it\r\n"
    )
    assert talk_as(path, DAEMON, DAEMON) == "IN\r\n"


def test_a_uid_without_an_account_can_be_allowed(start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    path = start(start_router, directory, "--deny-user", "nobody", "--allow-user", str(STRANGER))
    assert talk_as(path, STRANGER, STRANGER) == "IN\r\n"


def test_deny_rules_hold_for_the_statistics_in_the_same_way(
    start_router: Callable[..., Router], directory: Path, denied: Login
) -> None:
    stats = f"{directory}/stats"
    start(start_router, directory, "--deny-user", NAME, "--forkptyrouter-stats", stats, sockets=2)
    assert talk_as(stats, SUBORDINATE + 7, DAEMON) == refusal(SUBORDINATE + 7)


def test_limits_count_a_subordinate_id_as_its_owner(
    start_router: Callable[..., Router], directory: Path, denied: Login
) -> None:
    path = f"{directory}/s"
    start_router(
        "--chmod-socket=666", "--max-sessions-per-uid", "1", "--forkptyrouter-command", "echo IN; exec cat", path
    )
    with ExitStack() as stack:
        client = stack.enter_context(Client(connected_as(path, SUBORDINATE + 1, DAEMON)))
        client.read_until(b"IN")
        for uid in (denied.uid, SUBORDINATE + 2):
            assert "the limit of 1 session for your user is reached" in talk_as(path, uid, DAEMON)
        other = stack.enter_context(Client(path))
        other.read_until(b"IN")


def test_a_uid_that_is_not_mapped_here_is_recognised() -> None:
    need_root()
    code = (
        "from fastpty.system.user_namespace import is_unmapped\n"
        "from fastpty.configuration.command_line import configure\n"
        "print(is_unmapped(65534), is_unmapped(0))"
    )
    said = {}
    for where in ([], ["unshare", "--user", "--map-root-user"]):
        ended = subprocess.run([*where, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        said[bool(where)] = ended.stdout
    assert said == {False: "False False\n", True: "True False\n"}


def test_a_client_is_refused_if_its_groups_cannot_be_looked_up() -> None:
    """No process can be started for that without a descriptor."""
    code = (
        "import os\n"
        "from fastpty.configuration.command_line import configure\n"
        "from fastpty.access.peer import Peer\n"
        "from fastpty.access.rules import Rules\n"
        "rules = Rules(configure(['--deny-group', 'nogroup', '/none'])[0])\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.dup(0))\n"
        "except OSError: pass\n"
        "try: rules.check(Peer('', 1))\n"
        "except OSError as error: os.write(1, error.strerror.encode())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "Too many open files", ended.stderr


def test_subordinate_ranges_may_overlap_and_unknown_users_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("root:100:50\n1:120:10\nno-such-user:0:4294967295\nroot:5\n\n1:100:10\nroot:100:10\n")
    found = Subordinates(str(file))
    wanted = {99: set(), 100: {0, 1}, 109: {0, 1}, 110: {0}, 119: {0}, 120: {0, 1}, 129: {0, 1}, 130: {0}, 149: {0}}
    assert {number: set(found.owners(number)) for number in [*wanted, 150]} == {**wanted, 150: set()}


def test_a_file_of_subordinate_ids_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Subordinates(str(tmp_path / "none")).owners(0) == frozenset()
    with pytest.raises(FastptyError, match="cannot read"):
        Subordinates(str(tmp_path))
    monkeypatch.setattr(subordinates, "_BYTES_MOST", 10)
    (tmp_path / "long").write_text("root:1:100000\n")
    with pytest.raises(FastptyError, match="has more than 10 bytes"):
        Subordinates(str(tmp_path / "long"))
    os.mkfifo(tmp_path / "fifo")
    assert Subordinates(str(tmp_path / "fifo")).owners(0) == frozenset()  # and does not wait
