"""The examples of docs/jails.md do what they say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.jail.test_namespaces import container
from tests.support.harness import Router
from tests.support.jails import AS_NOBODY, said
from tests.support.peers import need, need_root

DOCUMENT = ROOT / "docs" / "jails.md"
_BLOCK = re.compile(r"```ini\n(?P<text>\[fastpty\]\nlisten-raw = /run/fpty/(?P<name>\w+)\.socket\n.*?)```", re.S)
EXAMPLES = {match["name"]: match["text"] for match in _BLOCK.finditer(DOCUMENT.read_text())}
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
def test_an_example_does_what_it_says(name: str, start_router: Callable[..., Router], directory: Path) -> None:
    need_root()
    need("ip")
    directory.chmod(0o1777)
    (directory / "root").mkdir()
    ini = directory / "jail.ini"
    program = {"program": AS_NOBODY} if name == "mine" else {}
    command, words = SEEN[name]
    with container("--uts", command="hostname boxed") as pid:
        ini.write_text(EXAMPLES[name].replace("/run/fpty", str(directory)).replace("4711", str(pid)))
        router = start_router(str(ini), **program)
        assert said(f"{directory}/{name}.socket", command) == words
        assert router.end() == 0
    assert os.path.isdir("/proc/1")
