"""An account database that does not answer, such as one on the network: the worker waits for it for a moment only."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastpty.access import accounts, lookups
from fastpty.access.accounts import Account, NoAccountError
from fastpty.access.lookups import Lookups
from fastpty.access.peer import Peer
from fastpty.access.rules import Rules
from fastpty.configuration.command_line import configure
from fastpty.errors import RefusedError
from tests.support.accounts import connected_as, talk_as
from tests.support.first_steps import use_nsswitch
from tests.support.harness import Client, Router, eventually
from tests.support.peers import need, need_root

NO_ANSWER = "the account database does not answer: try again later"
KNOWN, ONLY_THERE, UNKNOWN = 1, 700_000, 700_001

# Waits as long as the file `slow` exists. Has one account.
MODULE = r"""
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

enum nss_status _nss_fastpty_getpwuid_r(uid_t uid, struct passwd *entry, char *room, size_t size, int *error)
{
    while (access(getenv("SLOW"), F_OK) == 0)
        usleep(10000);
    if (uid != 700000)
        return NSS_STATUS_NOTFOUND;
    *entry = (struct passwd){"there", "x", uid, uid, "", "/", "/bin/sh"};
    return NSS_STATUS_SUCCESS;
}
"""


class Database:
    """A module for account look-ups (nsswitch.conf(5)) that can be made slow."""

    def __init__(self, directory: Path) -> None:
        self.slow = directory / "slow"
        (directory / "module.c").write_text(MODULE)
        library = f"{directory}/libnss_fastpty.so.2"
        subprocess.run([need("cc"), "-shared", "-fPIC", "-o", library, "module.c"], cwd=directory, check=True)
        nsswitch = directory / "nsswitch.conf"
        nsswitch.write_text("passwd: files fastpty\ngroup: files\n")
        self.keywords = {
            "first": partial(use_nsswitch, nsswitch),
            "env": {"LD_LIBRARY_PATH": str(directory), "SLOW": str(self.slow)},
        }


@pytest.mark.parametrize("options", [("--deny-user", "games"), ("--run-as", "peer")])
def test_a_slow_account_database_delays_no_session(
    start_router: Callable[..., Router], directory: Path, options: tuple[str, ...]
) -> None:
    need_root()
    database = Database(directory)
    path = f"{directory}/s"
    router = start_router("--chmod-socket=666", *options, "--command", "cat", path, **database.keywords)
    with ExitStack() as stack:
        bystander = stack.enter_context(Client(connected_as(path, KNOWN, KNOWN)))
        bystander.send(b"first\n")
        bystander.read_until(b"first\r\n")
        database.slow.touch()
        for uid in (ONLY_THERE, UNKNOWN, UNKNOWN + 1):
            assert talk_as(path, uid, uid) == f"fastpty: refused: {NO_ANSWER}\r\n"
        bystander.send(b"second\n")
        bystander.read_until(b"second\r\n")
        database.slow.unlink()
        eventually(lambda: talk_as(path, ONLY_THERE, ONLY_THERE, text="in\n\x04").startswith("in"), "it is served")
        eventually(lambda: "no account" in talk_as(path, UNKNOWN, UNKNOWN), "the other one is not")
        database.slow.touch()
        assert NO_ANSWER in talk_as(path, UNKNOWN + 2, UNKNOWN)
        assert router.end() == 0
    database.slow.unlink()


def test_slow_answers_take_only_a_part_of_a_worker_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = [100.0], []
    monkeypatch.setattr(lookups, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Silent(Lookups):
        def _ask(self, uid: int) -> None:
            self._pending.append(uid)

        def _receive(self, seconds: float) -> None:
            clock[0] += seconds
            waits.append(round(seconds, 2))

    found = Silent()
    for uid in (1, 2):  # the second is asked while the first is not answered
        with pytest.raises(RefusedError, match=NO_ANSWER):
            found.find(uid)
    assert waits == [0, 1, 0], "the second does not wait"
    for uid, idle, wait in ((3, 0, 0.05), (4, 3, 0.6), (5, 60, 1.0)):
        found._pending.clear()
        waits.clear()
        clock[0] += idle
        with pytest.raises(RefusedError, match=NO_ANSWER):
            found.find(uid)
        assert waits == [0, pytest.approx(wait, abs=0.04)]


def test_look_ups_give_what_the_database_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Account(5, 6, tuple(range(65_536)), "name", "/", "/bin/sh")

    def account_of(uid: int) -> Account:
        if uid == 7:
            raise NoAccountError("uid 7 has no account here")
        if uid == 8:
            raise OSError(errno.EMFILE, "no descriptor")
        if uid == 9:
            os._exit(0)
        return many

    monkeypatch.setattr(accounts, "account_of", account_of)
    monkeypatch.setattr(lookups, "_PATIENCE_SECONDS", 30.0)
    found = Lookups()
    found._credit = 30.0
    assert found.find(5) == many
    with pytest.raises(NoAccountError, match="uid 7 has no account here"):
        found.find(7)
    with pytest.raises(OSError, match="Too many open files"):
        found.find(8)
    with pytest.raises(OSError, match="Connection timed out"):
        found.find(9)
    assert found.find(5) == many
    found.close_copies()


def test_a_late_answer_counts_for_the_next_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise no client could ever connect whose look-up takes longer than the worker waits."""
    asked = tmp_path / "asked"
    account = Account(5, 6, (), "name", "/", "/bin/sh")

    def account_of(uid: int) -> Account:
        with asked.open("a") as file:
            file.write("x")
        eventually((tmp_path / "go").exists, "the answer may come")
        return account

    monkeypatch.setattr(accounts, "account_of", account_of)
    found = Lookups()
    with pytest.raises(RefusedError, match=NO_ANSWER):
        found.find(5)
    (tmp_path / "go").touch()
    eventually(lambda: found._receive(0) or not found._pending, "the answer has come")
    select.select([], [], [], 0.1)
    assert found.find(5) == account
    assert asked.read_text() == "x"
    found.close_copies()


def test_a_denied_member_is_refused_while_its_groups_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an allow rule, a user without an account would be admitted."""
    rules = Rules(configure(["--allow-user", "daemon", "--deny-group", "nogroup", "/none"])[0])
    monkeypatch.setattr(Lookups, "_ask", lambda self, uid: None)
    with pytest.raises(RefusedError, match=NO_ANSWER):
        rules.check(Peer("", 1))
