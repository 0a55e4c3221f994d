"""Files whose reads never return, and kernels that do not refuse descriptors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import need_root, preload


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


# A kernel before 6.16 knows no SO_PASSRIGHTS.
OLDER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return level == SOL_SOCKET && option == 83 ? (errno = ENOPROTOOPT, -1) : real(fd, level, option, value, size);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
    int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
    return level == SOL_SOCKET && option == 83 ? (errno = ENOPROTOOPT, -1) : real(fd, level, option, value, size);
}
"""


@pytest.fixture(params=["this kernel", "an older kernel"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The router's environment: for this kernel, and for one without SO_PASSRIGHTS."""
    return preload(tmp_path, OLDER) if request.param == "an older kernel" else {}
