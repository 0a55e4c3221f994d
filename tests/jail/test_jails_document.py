"""The examples of docs/jails.md do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.jail.test_namespaces import container
from tests.support.documents import blocks
from tests.support.harness import Router
from tests.support.jails import AS_NOBODY, said
from tests.support.peers import need, need_root

# The line that starts an example, the examples by the names of their sockets, and the lines that mount a devpts.
START, *_INI, DEVPTS = [block.text for block in blocks(ROOT / "docs" / "jails.md")]
EXAMPLES = {re.findall(r"^listen-raw = /(?:run/fpty|tmp)/(\w+)\.socket$", text, re.M)[0]: text for text in _INI}
# What to type in a session, and the words that come.
SEEN = {
    "name": ("hostname; id -un", ["iaminajail", "nobody"]),
    "container": ("set -- /proc/[1-9]*; echo $#; ip -o link | wc -l", ["3", "1"]),
    "root": ("pwd; id -un; echo /*; ls /old | wc -l; touch /usr/x 2>/dev/null || echo no",
             ["/", "nobody", "/bin", "/dev", "/etc", "/lib", "/lib64", "/old", "/proc", "/usr", "0", "no"]),
    "mine": ("hostname; id -u", ["mine", "0"]),
    "running": ("hostname", ["boxed"]),
    "ping": ("id -un; grep CapEff /proc/self/status", ["nobody", "CapEff:", "0000000000002000"]),
}  # fmt: skip


def test_every_example_is_tried() -> None:
    assert set(EXAMPLES) == set(SEEN)


@pytest.mark.parametrize("name", SEEN)
def test_an_example_does_what_it_says(
    name: str, start_router: Callable[..., Router], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    need("ip")
    command, words = SEEN[name]
    with container("--uts", command="hostname boxed") as pid:
        router = start(EXAMPLES[name].replace("4711", str(pid)), start_router, directory, monkeypatch)
        assert said(f"{directory}/{name}.socket", command) == words
        assert router.end() == 0
    assert os.path.isdir("/proc/1")


def start(ini: str, start_router: Callable[..., Router], directory: Path, monkeypatch: pytest.MonkeyPatch) -> Router:
    """Does what the document says with an example, but in `directory` in place of /run/fpty and /tmp."""
    monkeypatch.chdir(directory)
    directory.chmod(0o1777)
    make, serve = here(START, directory).splitlines()
    Path("jail.ini").write_text(here(ini, directory))
    if re.search(r"^unshare = .*\buser\b", ini, re.M):  # the example for any user
        return start_router(*shlex.split(serve)[1:], program=AS_NOBODY)
    subprocess.run(["sh", "-ec", make], check=True)
    return start_router(*shlex.split(serve)[1:])


def here(text: str, directory: Path) -> str:
    return re.sub(r"/run/fpty\b|(?<=listen-raw = )/tmp\b", str(directory), text)


def test_a_jail_can_have_a_devpts_of_its_own(
    start_router: Callable[..., Router], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    devices = "exec-post-jail = mount --rbind /dev /run/fpty/root/dev\n"
    own = devices.replace("--rbind /dev", "-t tmpfs none").replace("\n", " && mkdir /run/fpty/root/dev/pts\n")
    ini = EXAMPLES["root"].replace(devices, own) + DEVPTS
    assert own in ini
    start(ini, start_router, directory, monkeypatch)
    assert said(f"{directory}/root.socket", "tty; echo /dev/* /dev/pts/*") == [
        *("/dev/pts/0", "/dev/ptmx", "/dev/pts", "/dev/pts/0", "/dev/pts/ptmx")
    ]
