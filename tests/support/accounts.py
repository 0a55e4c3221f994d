"""Accounts for tests, and clients that connect with other users' ids."""

from __future__ import annotations

import grp
import pwd
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.harness import PLAIN_PYTHON, Router
from tests.support.peers import need, need_root

_CONNECT = """
import os, socket, sys
path, uid, gid, groups, text = sys.argv[1:]
os.setgroups([int(group) for group in groups.split(",") if group])
os.setresgid(*[int(gid)] * 3)
os.setresuid(*[int(uid)] * 3)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(path)
    client.settimeout(30)
    with client.makefile("rb") as output:
        # A refused client gets its line, and the router may have closed already.
        try:
            client.sendall(text.encode())
        except OSError:
            pass
        sys.stdout.buffer.write(output.read())
"""

_CONNECT_ONLY = """
import os, socket, sys
number, path, uid, gid = sys.argv[1:]
os.setgroups([])
os.setresgid(*[int(gid)] * 3)
os.setresuid(*[int(uid)] * 3)
address = "\\0" + path[1:] if path.startswith("@") else path
socket.socket(fileno=int(number)).connect(address)
"""


@dataclass(frozen=True)
class Login:
    """An account that make_account() created."""

    name: str
    uid: int
    gid: int
    more: int  # the second group's gid
    home: Path


def make_account(name: str, home: Path, shell: str = "/bin/sh") -> Login:
    """Creates a user with a home and a second group, `NAME-more`. remove_account() removes them."""
    need_root()
    need("useradd")
    remove_account(name)
    subprocess.run(["groupadd", f"{name}-more"], check=True)
    subprocess.run(
        ["useradd", "-M", "-d", str(home), "-s", shell, "-U", "-G", f"{name}-more", name],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    entry = pwd.getpwnam(name)
    return Login(name, entry.pw_uid, entry.pw_gid, grp.getgrnam(f"{name}-more").gr_gid, home)


def remove_account(name: str) -> None:
    """Removes a user and its groups, if they exist, even if a process of another test has the same uid."""
    for command in (["userdel", "--force", name], ["groupdel", name], ["groupdel", f"{name}-more"]):
        with suppress(subprocess.CalledProcessError):
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def peer_router(start_router: Callable[..., Router], path: str, *arguments: str, **keywords: object) -> Router:
    """A router on `path` that every account may use, and whose sessions run as their clients."""
    need_root()
    return start_router("--run-as", "peer", "--chmod-socket=666", *arguments, path, **keywords)


def connected_as(path: str, uid: int, gid: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A connection with these ids as SO_PEERCRED, which the kernel records at connect(2) (unix(7)). path: or @name."""
    need_root()
    connection = socket.socket(socket.AF_UNIX, kind)
    number = connection.fileno()
    argv = [PLAIN_PYTHON, "-c", _CONNECT_ONLY, str(number), path, str(uid), str(gid)]
    subprocess.run(argv, pass_fds=[number], check=True, timeout=60)
    return connection


def talk_as(path: str, uid: int, gid: int, groups: Sequence[int] = (), text: str = "") -> str:
    """Connects with these ids, sends `text`, and returns everything that the router sends."""
    need_root()
    arguments = [path, str(uid), str(gid), ",".join(map(str, groups)), text]
    ended = subprocess.run([PLAIN_PYTHON, "-c", _CONNECT, *arguments], capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()
