"""The unit of the README under a real systemd, which boots in a container over the files of this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.support import control_groups
from tests.support.documents import examples
from tests.support.peers import need, need_root

EXAMPLE = next(example for example in examples(ROOT / "README.md") if example.section == "As a service")
(CONFIG, OPTIONS), (UNIT, TEXT) = EXAMPLE.files
SOCKET = "/run/fastpty/login.socket"
USER = 1  # on Debian: daemon
STOPS = 3

# A program that ignores what an interactive shell ignores, and needs a second to end when it is hung up.
PROGRAM = """
trap '' TERM
trap 'sleep 1; echo last words; exit' HUP
echo READY
while :; do sleep 0.1; done
"""

DRIVER = """
[Service]
ExecStart={command}
StandardOutput=append:/result/log
StandardError=inherit
ExecStopPost=systemctl --no-block exit 0
"""

# Its arguments: a directory of its own, a control group's name, the files to add, and the arguments of systemd-nspawn.
BOOT = """
set -e
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [ -e $hierarchy/cgroup.procs ]; then
        mkdir $hierarchy/$2
        echo $$ >$hierarchy/$2/cgroup.procs
    fi
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$1"
cp -r "$3" "$1/upper"
mkdir "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
: >"$1/root/etc/machine-id"
directory=$1
shift 3
exec systemd-nspawn --quiet --register=no --keep-unit --boot --private-network --directory="$directory/root" "$@"
"""


@pytest.fixture
def group() -> Iterator[str]:
    """The name of a control group for the container, which is removed at the end."""
    name = f"fastpty-systemd-{os.getpid()}"
    yield name
    for hierarchy in ("", "unified", "systemd"):
        control_groups.remove(Path("/sys/fs/cgroup", hierarchy, name))


def written(root: Path, name: str, text: str, mode: int = 0o644) -> None:
    file = root / name.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def boot(added: Path, directory: Path, group: str) -> None:
    """Boots the machine's files with those `added`, up to driver.service, and returns when that has ended.

    `directory` is the container's /result.
    """
    work = directory.parent / "work"
    work.mkdir()
    visible = {str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"}
    binds = [f"--bind={directory}:/result", *(f"--bind-ro={path}" for path in sorted(visible))]
    container = ["sh", "-c", BOOT, "boot", str(work), group, str(added), *binds, "systemd.unit=driver.service"]
    ended = subprocess.run(
        [need("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *container],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("kill_mode", ["mixed", "control-group"])
def test_a_stop_under_systemd_gives_programs_their_time_and_leaves_nothing(
    kill_mode: str, tmp_path: Path, group: str
) -> None:
    need_root()
    need("systemd-nspawn")
    added, result = tmp_path / "added", tmp_path / "result"
    result.mkdir()
    unit, changed = re.subn(r"^KillMode=.*$", f"KillMode={kill_mode}", TEXT, flags=re.M)
    assert changed == 1
    written(added, UNIT, unit)
    written(added, CONFIG, f"{OPTIONS}command = exec /bin/sh /opt/program.sh\n")
    written(added, "/opt/program.sh", PROGRAM)
    python = f"PYTHONPATH={ROOT} exec {sys.executable}"
    written(added, "/usr/local/bin/fastpty-router", f'#!/bin/sh\n{python} -m fastpty.router "$@"\n', 0o755)
    driver = [sys.executable, f"{ROOT}/tests/support/unit_driver.py", "/result/stops", os.path.basename(UNIT)]
    command = shlex.join([*driver, SOCKET, str(USER), str(STOPS)])
    written(added, "/etc/systemd/system/driver.service", DRIVER.format(command=command))
    boot(added, result, group)
    assert (result / "log").read_text() == ""
    stops = json.loads((result / "stops").read_text())
    expected = {"left": [], "result": "success", "socket": False}
    assert [{key: stop[key] for key in expected} for stop in stops] == [expected] * STOPS
    assert ["\r\nlast words\r\n" in stop["output"] for stop in stops] == [True] * STOPS, stops
