"""Files whose reads never return."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import need_root


@pytest.fixture
def fuse(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serves a file system whose files never return data. When it ends, blocked processes go on."""
    need_root()
    mounted = directory / "mounted"
    mounted.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.fuse", str(mounted)], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        yield server
        server.kill()
    subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture
def stuck_files(directory: Path, fuse: subprocess.Popen[bytes]) -> Path:
    """The directory of that file system."""
    return directory / "mounted"
