"""Reads the files for TLS, without the ssl module, which is slow to load."""

from __future__ import annotations

import os
import stat

from fastpty.errors import UsageError
from fastpty.system.records import dataclass

_BYTES_MOST = 1 << 20


@dataclass(frozen=True)
class Identity:
    """Paths of PEM files: the certificate with its chain, its key, and the trusted authorities."""

    certificate: str
    key: str
    authorities: str


def read_pem(option: str, path: str, *, is_secret: bool = False) -> bytes:
    """Reads the file that `option` names. Never waits, even for a FIFO.

    A user who can write to the file decides who gets a shell. So this raises UsageError if other users may write to
    it, or if it cannot be read. is_secret: other users must not be able to read it, either.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            problem = _problem(os.fstat(file.fileno()), is_secret)
            content = b"" if problem else file.read(_BYTES_MOST + 1)
    except OSError as error:
        problem = error.strerror
    except ValueError:
        problem = "its name holds a NUL byte"
    if not problem and len(content) > _BYTES_MOST:
        problem = "it is larger than 1 MiB"
    if problem:
        raise UsageError(f"{option}: {path} cannot be used: {problem}")
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _problem(status: os.stat_result, is_secret: bool) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_uid not in {0, os.geteuid()}:
        return f"it belongs to uid {status.st_uid}, neither root nor the user who starts this: chown it to root"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "users other than its owner may write to it: chmod go-w"
    # On Debian, a group of daemons may read keys (root:ssl-cert, mode 0640).
    if is_secret and status.st_mode & stat.S_IROTH:
        return "every user may read the key: chmod o-r, and replace the key if others have had the chance to read it"
    return None
