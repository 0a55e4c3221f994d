"""Files whose reads never return."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import need_root


@pytest.fixture
def stuck_files(directory: Path) -> Iterator[Path]:
    """A directory of files whose reads never return, until the test ends."""
    need_root()
    mounted = directory / "mounted"
    mounted.mkdir()
    with subprocess.Popen([sys.executable, "-m", "tests.support.fuse", str(mounted)], stdout=subprocess.PIPE) as fuse:
        assert fuse.stdout is not None
        assert fuse.stdout.readline() == b"mounted\n"
        yield mounted
        fuse.kill()
    subprocess.run(["umount", "-l", mounted], check=True)
