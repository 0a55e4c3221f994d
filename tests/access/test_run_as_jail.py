"""`run-as peer` in a changed root."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import peer_router, talk_as
from tests.support.harness import Router
from tests.support.jails import binds, small_root
from tests.support.nss_module import with_hostile_module
from tests.support.peers import need_root

UID, GID, MORE = 54_321, 54_322, 54_323  # no account of the host has them

Start = Callable[..., Router]


@pytest.fixture
def root(directory: Path) -> Path:
    """A root with accounts of its own."""
    need_root()
    made = directory / "root"
    small_root(made)
    (made / "etc").mkdir()
    (made / "etc/passwd").write_text(f"root:x:0:0::/:/bin/sh\ninside:x:{UID}:{GID}::/usr:\n")
    (made / "etc/group").write_text(f"root:x:0:\nmore:x:{MORE}:other,inside\nothers:x:1:insider\n")
    return made


def jailed_router(start_router: Start, root: Path, *arguments: str) -> Router:
    """A router in this root whose sessions run as their clients."""
    jail = ("--unshare", "mount", *binds(root), "--chroot", str(root))
    return peer_router(start_router, f"{root.parent}/s", *jail, *arguments)


def test_in_a_changed_root_accounts_come_from_its_passwd_and_group_files(start_router: Start, root: Path) -> None:
    jailed_router(start_router, root, "--forkptyrouter-command", "id -u; id -g; id -G; pwd; echo $HOME $USER $SHELL")
    said = talk_as(f"{root.parent}/s", UID, 1).splitlines()
    assert said[:2] == [str(UID), str(GID)]
    assert sorted(said[2].split()) == [str(GID), str(MORE)]
    assert said[3:] == ["/usr", "/usr inside /bin/sh"]
    assert talk_as(f"{root.parent}/s", 65534, 65534) == "fastpty: refused: uid 65534 has no account here\r\n"


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_account_files_in_a_changed_root_must_be_writable_by_root_only(
    name: str, start_router: Start, root: Path
) -> None:
    """Whoever may write there could join any group, and a gid means the same outside."""
    jailed_router(start_router, root, "--forkptyrouter-command", "echo ran")
    refusal = f"fastpty: refused: /etc/{name} in the router's root can be written by users other than root\r\n"
    file = root / "etc" / name
    file.chmod(0o664)
    assert talk_as(f"{root.parent}/s", UID, GID) == refusal
    file.chmod(0o644)
    assert talk_as(f"{root.parent}/s", UID, GID) == "ran\r\n"
    os.chown(file, UID, GID)
    assert talk_as(f"{root.parent}/s", UID, GID) == refusal
    file.unlink()
    os.mkfifo(file)
    assert talk_as(f"{root.parent}/s", UID, GID) == refusal


def test_no_library_of_a_changed_root_is_loaded_into_the_router(start_router: Start, root: Path) -> None:
    """The router stays root, and others may control the files inside."""
    jail = ("--unshare", "mount", "--chroot", str(root), "--mount-post-jail", f"none /dev {root}/dev bind,rec")
    peer_router(start_router, f"{root.parent}/s", *jail, first=with_hostile_module(root))
    no_shell = "fastpty: cannot execute /bin/sh: No such file or directory\r\n"
    assert talk_as(f"{root.parent}/s", UID, GID).endswith(no_shell)
    assert talk_as(f"{root.parent}/s", 65534, 65534) == "fastpty: refused: uid 65534 has no account here\r\n"
    assert not (root / "loaded").exists()
