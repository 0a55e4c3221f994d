"""Error messages when the kernel refuses a namespace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.peers import need, need_root

UNSHARE_IN_A_CHROOT = """
import os, sys
from fastpty.jail import namespaces
from fastpty.errors import FastptyError
os.chroot(sys.argv[1])
os.setresuid(65534, 65534, 65534)
try:
    namespaces.unshare("unshare", ["user", "uts"])
except FastptyError as error:
    print(error)
"""


def test_in_a_chroot_the_message_says_that_user_namespaces_are_never_permitted_there(tmp_path: Path) -> None:
    need_root()
    argv = [sys.executable, "-c", UNSHARE_IN_A_CHROOT, str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.startswith("unshare=user,uts: the kernel permits no user namespace here: it never does in a chroot (")


def test_at_the_limit_of_namespaces_the_message_names_the_limit() -> None:
    """The test lowers the limit in a user namespace of its own."""
    script = 'echo 0 >/proc/sys/user/max_uts_namespaces; exec "$@"'
    router = [sys.executable, "-m", "fastpty.router", "--unshare", "uts", "@fastpty-test-limit"]
    argv = [need("unshare"), "--user", "--map-root-user", "sh", "-c", script, "sh", *router]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(
        "unshare=uts: there are too many namespaces: raise the limit in /proc/sys/user, max_NAME_namespaces"
    )
